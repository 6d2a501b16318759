package credentials_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

func auth(userPassword string) string { return base64.StdEncoding.EncodeToString([]byte(userPassword)) }

// write replaces a file by rename, as those who rotate secrets do.
func write(t *testing.T, file, content string) string {
	t.Helper()
	if err := os.WriteFile(file+".tmp", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".tmp", file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNamedLogins(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "logins.yaml"), `
robot: {username: user, password: "p:w"}
cloud:
  identity_token: refresh
`)
	s, err := credentials.New(credentials.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if name := s.Name("ghcr.io", "acme/app", "robot"); name != "robot" {
		t.Errorf("configured: %q", name)
	}
	if name := s.Name("ghcr.io", "acme/app", ""); name != "" {
		t.Errorf("not configured: %q", name)
	}
	for name, want := range map[string]credentials.Credential{
		"":      {},
		"robot": {Name: "robot", Username: "user", Password: "p:w"},
		"cloud": {Name: "cloud", IdentityToken: "refresh"},
	} {
		if got, err := s.Get(t.Context(), name, "ghcr.io"); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := s.Get(t.Context(), "nobody", "ghcr.io"); !errors.Is(err, fault.CredentialUnusable) {
		t.Errorf("an unknown name: %v", err)
	}

	write(t, file, "robot: {username: user, password: rotated}\n")
	if got, err := s.Get(t.Context(), "robot", "ghcr.io"); err != nil || got.Password != "rotated" {
		t.Errorf("after rotation: %v, %v", got, err)
	}
	write(t, file, "robot: [half written")
	if got, err := s.Get(t.Context(), "robot", "ghcr.io"); err != nil || got.Password != "rotated" {
		t.Errorf("a broken file drops the last good one: %v, %v", got, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "robot", "ghcr.io"); !errors.Is(err, fault.CredentialUnusable) {
		t.Errorf("after removal: %v", err)
	}
}

func TestBrokenFileIsRefusedAtTheStart(t *testing.T) {
	for name, content := range map[string]string{
		"unknown key":   "robot: {username: user, pasword: hunter2}\n",
		"no secret":     "robot: {username: user}\n",
		"not a map":     "- hunter2\n",
		"broken":        "robot: {username: [hunter2\n",
		"colon":         "'docker:x': {username: user, password: hunter2}\n",
		"broken docker": `{"auths": ["hunter2"]}`,
	} {
		file := write(t, filepath.Join(t.TempDir(), "logins"), content)
		_, err := credentials.New(credentials.Options{File: file})
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
}

func TestWhichLoginOpensARepository(t *testing.T) {
	dir := t.TempDir()
	docker := write(t, filepath.Join(dir, "config.json"), fmt.Sprintf(`{"auths": {
		"https://index.docker.io/v1/": {"auth": %q},
		"quay.io": {"auth": %q},
		"quay.io/acme/team": {"auth": %q},
		"https://old.example/v2/": {"auth": %q},
		"ghcr.io": {"auth": %q},
		"token.example": {"auth": %q, "identitytoken": "idt"},
		"empty.example": {}
	}}`, auth("hub:1"), auth("quay:2"), auth("team:3"), auth("old:4"), auth("docker:5"), auth("<token>:x")))
	spin := write(t, filepath.Join(dir, "registry-auth.json"), fmt.Sprintf(`{"auths": {"ghcr.io": %q}}`, auth("spin:6\n")))
	s, err := credentials.New(credentials.Options{SpinFile: spin, Docker: true, DockerConfig: docker})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ registry, repository, user, password, token string }{
		{"docker.io", "library/alpine", "hub", "1", ""},
		{"quay.io", "acme/app", "quay", "2", ""},
		{"quay.io", "acme/team", "team", "3", ""},
		{"quay.io", "acme/team/app", "team", "3", ""},
		{"quay.io", "acme/teams", "quay", "2", ""},
		{"old.example", "a/b", "old", "4", ""},
		{"ghcr.io", "a/b", "spin", "6", ""}, // Spin's file goes first, and its trailing newline goes
		{"token.example", "a/b", "<token>", "", "idt"},
		{"empty.example", "a/b", "", "", ""},
		{"other.example", "a/b", "", "", ""},
	} {
		name := s.Name(tc.registry, tc.repository, "")
		got, err := s.Get(t.Context(), name, tc.registry)
		if err != nil || got.Username != tc.user || got.Password != tc.password || got.IdentityToken != tc.token {
			t.Errorf("%s/%s (%s): user %q, secret right: %v, %v", tc.registry, tc.repository, name, got.Username, got.Password == tc.password, err)
		}
		if (name == "") != (tc.user == "") {
			t.Errorf("%s/%s: name %q", tc.registry, tc.repository, name)
		}
	}
	write(t, docker, "{broken")
	write(t, spin, `{"auths": {}}`)
	fresh, err := credentials.New(credentials.Options{SpinFile: spin, Docker: true, DockerConfig: docker})
	if err != nil {
		t.Fatalf("a broken file of Docker's must not keep the daemon from starting: %v", err)
	}
	if _, err := fresh.Get(t.Context(), fresh.Name("quay.io", "a/b", ""), "quay.io"); !errors.Is(err, fault.CredentialUnusable) {
		t.Errorf("a broken file turned into anonymous: %v", err)
	}
}

func TestOwnFileInDockersFormat(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "auth.json"), fmt.Sprintf(`{"auths": {"localhost:5000": {"auth": %q}}}`, auth("a:b")))
	s, err := credentials.New(credentials.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{s.Name("localhost:5000", "x", ""), s.Name("other.example", "x", "localhost:5000")} {
		if got, err := s.Get(t.Context(), name, "localhost:5000"); err != nil || got.Username != "a" || got.Password != "b" {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c := credentials.Credential{Name: "robot", Username: "user", Password: "hunter2", IdentityToken: "hunter3"}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "credential", c)
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, c, c, c), fmt.Sprintf("%+v", &c), logged.String(), string(raw)} {
		if strings.Contains(text, "hunter") || !strings.Contains(text, "robot") {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestDefaults(t *testing.T) {
	s, err := credentials.New(credentials.Options{HelperTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if name := s.Name("ghcr.io", "a/b", ""); name != "" {
		t.Errorf("%q", name)
	}
	if _, err := s.Get(t.Context(), "robot", "ghcr.io"); !errors.Is(err, fault.CredentialUnusable) {
		t.Error(err)
	}
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	write(t, filepath.Join(dir, "config.json"), fmt.Sprintf(`{"auths": {"quay.io": {"auth": %q}}}`, auth("a:b")))
	s, err = credentials.New(credentials.Options{Docker: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), s.Name("quay.io", "a/b", ""), "quay.io"); err != nil || got.Username != "a" {
		t.Errorf("%v, %v", got, err)
	}
}
