package credentials_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

func login(t *testing.T, file, registry, user, password string) {
	t.Helper()
	where, err := credentials.OpenFile(file).Login(t.Context(), registry, credentials.Credential{Username: user, Password: password})
	if err != nil || where != file {
		t.Fatalf("%q %v", where, err)
	}
}

// opens returns the login that a store with this file has for a registry.
func opens(t *testing.T, o credentials.Options, registry, repository string) credentials.Credential {
	t.Helper()
	s, err := credentials.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Get(t.Context(), s.Name(registry, repository, ""), registry)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "auth.json")
	login(t, file, "ghcr.io", "somebody", "pass:word \n")
	login(t, file, "docker.io", "hub", "h")
	login(t, file, "https://registry.example:5000/v2/", "as-url", "u")
	login(t, file, "ghcr.io/team", "team", "t")
	for _, c := range []struct{ registry, repository, user, password string }{
		{"ghcr.io", "a/b", "somebody", "pass:word \n"},
		{"ghcr.io", "team/b", "team", "t"},
		{"docker.io", "library/alpine", "hub", "h"},
		{"registry.example:5000", "a", "as-url", "u"},
		{"elsewhere.example", "a", "", ""},
	} {
		if got := opens(t, credentials.Options{LoginFile: file}, c.registry, c.repository); got.Username != c.user || got.Password != c.password {
			t.Errorf("%s/%s: %v %q", c.registry, c.repository, got, got.Password)
		}
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]fs.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v %v", path, info.Mode(), err)
			}
		}
	}
	login(t, file, "ghcr.io", "other", "o") // in place of the first
	f := credentials.OpenFile(file)
	list, err := f.Logins(t.Context())
	want := []credentials.Login{
		{Registry: "ghcr.io", Username: "other", Where: file}, {Registry: "ghcr.io/team", Username: "team", Where: file},
		{Registry: "docker.io", Username: "hub", Where: file}, {Registry: "registry.example:5000", Username: "as-url", Where: file},
	}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%+v %v", list, err)
	}
	if text := fmt.Sprintf("%+v", list); strings.Contains(text, "pass") {
		t.Errorf("a secret: %s", text)
	}
	if found, err := f.Logout(t.Context(), "index.docker.io"); !found || err != nil {
		t.Errorf("%v %v", found, err)
	}
	if found, err := f.Logout(t.Context(), "docker.io"); found || err != nil {
		t.Errorf("twice: %v %v", found, err)
	}
	if got := opens(t, credentials.Options{LoginFile: file}, "docker.io", "a"); !got.Anonymous() {
		t.Errorf("after a logout: %v", got)
	}
}

// Other programs' keys, of the file and of a registry's entry, are none of our business.
func TestLoginKeepsWhatItDoesNotKnow(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "auth.json"),
		`{"HttpHeaders": {"X": "y"}, "n": 12345678901234567890, "auths": {"quay.io": {"auth": "dTpw", "email": "a@b"}, "https://ghcr.io/v1/": {"auth": "b2xkOm9sZA=="}}}`)
	link := filepath.Join(t.TempDir(), "link.json")
	if err := os.Symlink(file, link); err != nil {
		link = file // a system without links
	}
	if _, err := credentials.OpenFile(link).Login(t.Context(), "ghcr.io", credentials.Credential{Username: "u", Password: "p"}); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"12345678901234567890", `"email": "a@b"`, `"X": "y"`, `"ghcr.io"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is not in %s", want, raw)
		}
	}
	if strings.Contains(string(raw), "https://ghcr.io/v1/") {
		t.Errorf("another spelling of the registry has the old login: %s", raw)
	}
	if info, err := os.Lstat(link); err != nil || link != file && info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is no link any more: %v", err)
	}
}

// Many logins at once, with a File each as processes have, lose nothing.
func TestLoginsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	var wg sync.WaitGroup
	const n = 20
	for i := range n {
		wg.Go(func() {
			c := credentials.Credential{Username: "u", Password: fmt.Sprint(i)}
			if _, err := credentials.OpenFile(file).Login(t.Context(), fmt.Sprintf("r%02d.example", i), c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := credentials.OpenFile(file).Logins(t.Context()); len(list) != n || err != nil {
		t.Errorf("%d logins, %v", len(list), err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 2 { // and the lock
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestLoginRefuses(t *testing.T) {
	good := credentials.Credential{Username: "u", Password: "p"}
	for _, c := range []struct {
		name, text string
		cred       credentials.Credential
		want       fault.Reason
	}{
		{"not JSON", "auths: {}", good, fault.CredentialUnusable},
		{"a list", "[]", good, fault.CredentialUnusable},
		{"auths is a list", `{"auths": []}`, good, fault.CredentialUnusable},
		{"no password", "{}", credentials.Credential{Username: "u"}, fault.InvalidArgument},
		{"a colon", "{}", credentials.Credential{Username: "u:v", Password: "p"}, fault.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "auth.json"), c.text)
			if _, err := credentials.OpenFile(file).Login(t.Context(), "ghcr.io", c.cred); !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			}
			if raw, err := os.ReadFile(file); string(raw) != c.text || err != nil {
				t.Errorf("the file is now %q, %v", raw, err)
			}
		})
	}
	for _, text := range []string{"", "null", "{}", `{"auths": null}`} { // all of them empty
		file := write(t, filepath.Join(t.TempDir(), "auth.json"), text)
		login(t, file, "ghcr.io", "u", "p")
	}
}

func TestIdentityTokenLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "auth.json")
	if _, err := credentials.OpenFile(file).Login(t.Context(), "ghcr.io", credentials.Credential{IdentityToken: "refresh"}); err != nil {
		t.Fatal(err)
	}
	if c := opens(t, credentials.Options{LoginFile: file}, "ghcr.io", "a"); c.IdentityToken != "refresh" || c.Password != "" {
		t.Errorf("%v", c)
	}
}

// The order is blobd's own configuration, what `blobd login` wrote, Spin's file, Docker's; and a change is seen at once.
func TestLoginOrder(t *testing.T) {
	dir := t.TempDir()
	docker := func(name string) string {
		return write(t, filepath.Join(dir, name), fmt.Sprintf(`{"auths": {"ghcr.io": {"username": %q, "password": "p"}}}`, name))
	}
	spin := write(t, filepath.Join(dir, "spin"), `{"auths": {"ghcr.io": "c3BpbjpwCg=="}}`)
	o := credentials.Options{
		File: docker("own"), LoginFile: filepath.Join(dir, "login"), SpinFile: spin, Docker: true, DockerConfig: docker("docker"),
	}
	s, err := credentials.New(o)
	if err != nil {
		t.Fatal(err)
	}
	is := func(want string) {
		t.Helper()
		if c, err := s.Get(t.Context(), s.Name("ghcr.io", "a/b", ""), "ghcr.io"); c.Username != want || err != nil {
			t.Errorf("%v %v, want %s", c, err, want)
		}
	}
	remove := func(path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	is("own")
	remove(o.File)
	is("spin")
	login(t, o.LoginFile, "ghcr.io", "login", "p")
	is("login")
	login(t, o.LoginFile, "ghcr.io", "again", "p")
	is("again")
	if _, err := credentials.OpenFile(o.LoginFile).Logout(t.Context(), "ghcr.io"); err != nil {
		t.Fatal(err)
	}
	is("spin")
	remove(spin)
	is("docker")
	// A file of logins that can't be read is not an empty one.
	write(t, o.LoginFile, "{")
	s, err = credentials.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), s.Name("ghcr.io", "a", ""), "ghcr.io"); !errors.Is(err, fault.CredentialUnusable) {
		t.Errorf("%v", err)
	}
}

func TestUserFile(t *testing.T) {
	t.Setenv(credentials.FileEnv, "/some/where.json")
	if credentials.UserFile() != "/some/where.json" || credentials.DaemonFile() != "/some/where.json" {
		t.Errorf("%s %s", credentials.UserFile(), credentials.DaemonFile())
	}
	t.Setenv(credentials.FileEnv, "")
	t.Setenv("XDG_CONFIG_HOME", "/config")
	t.Setenv("STATE_DIRECTORY", "/state:/other")
	if runtime.GOOS != "linux" {
		return
	}
	if got := credentials.UserFile(); got != "/config/blobd/auth.json" {
		t.Error(got)
	}
	if got := credentials.DaemonFile(); got != "/state/auth.json" {
		t.Error(got)
	}
	t.Setenv("STATE_DIRECTORY", "")
	want := "/var/lib/blobd/auth.json"
	if os.Geteuid() != 0 {
		want = credentials.UserFile()
	}
	if got := credentials.DaemonFile(); got != want {
		t.Error(got)
	}
}

func TestFileIsDockers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	login(t, file, "ghcr.io", "u", "p")
	var d struct {
		Auths map[string]struct{ Auth string }
	}
	raw, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(raw, &d)
	}
	if err != nil || d.Auths["ghcr.io"].Auth != "dTpw" {
		t.Errorf("%s %v", raw, err)
	}
	if c := opens(t, credentials.Options{Docker: true, DockerConfig: file}, "ghcr.io", "a"); c.Username != "u" {
		t.Errorf("%v", c)
	}
}
