//go:build unix

package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// helper puts a shell script on PATH as docker-credential-<name>; it appends what it was asked to the returned file.
func helper(t *testing.T, name, script string) (asked string) {
	t.Helper()
	dir := t.TempDir()
	asked = filepath.Join(dir, "asked")
	text := fmt.Sprintf("#!/bin/sh\nread -r server\necho \"$1 $server\" >> %s\n%s\n", asked, script)
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return asked
}

func questions(t *testing.T, asked string) []string {
	t.Helper()
	raw, err := os.ReadFile(asked)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(strings.ReplaceAll(string(raw), " ", "="))
}

func withDocker(t *testing.T, config string, now func() time.Time, timeout time.Duration) *credentials.Store {
	t.Helper()
	file := write(t, filepath.Join(t.TempDir(), "config.json"), config)
	s, err := credentials.New(credentials.Options{Docker: true, DockerConfig: file, Now: now, HelperTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHelper(t *testing.T) {
	asked := helper(t, "vault", `echo '{"Username":"u","Secret":"s"}'`)
	begin := time.Now()
	var later time.Duration
	s := withDocker(t, `{"credHelpers": {"ghcr.io": "vault"}}`, func() time.Time { return begin.Add(later) }, 0)
	name := s.Name("ghcr.io", "a/b", "")
	if got := questions(t, asked); name == "" || len(got) != 0 {
		t.Fatalf("Name is %q and asked the helper %q", name, got)
	}
	if other := s.Name("quay.io", "a/b", ""); other != "" {
		t.Errorf("a helper for another host: %q", other)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if c, err := s.Get(t.Context(), name, "ghcr.io"); err != nil || c.Username != "u" || c.Password != "s" || c.Name != name {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
	wg.Wait()
	if got := questions(t, asked); len(got) != 1 || got[0] != "get=ghcr.io" {
		t.Fatalf("asked %q", got)
	}
	s.Forget(name)
	_, err1 := s.Get(t.Context(), name, "ghcr.io")
	later = time.Hour
	_, err2 := s.Get(t.Context(), name, "ghcr.io")
	if got := questions(t, asked); len(got) != 3 || err1 != nil || err2 != nil {
		t.Fatalf("asked %q, %v, %v", got, err1, err2)
	}
}

func TestCredsStore(t *testing.T) {
	asked := helper(t, "keychain", `case "$server" in
https://index.docker.io/v1/) echo '{"Username":"<token>","Secret":"idt"}';;
*) echo 'credentials not found in native keychain'; exit 1;;
esac`)
	s := withDocker(t, `{"credsStore": "keychain", "auths": {"https://index.docker.io/v1/": {}}}`, nil, 0)
	if c, err := s.Get(t.Context(), s.Name("docker.io", "library/alpine", ""), "docker.io"); err != nil || c.IdentityToken != "idt" || c.Password != "" {
		t.Errorf("%v, %v", c, err)
	}
	if c, err := s.Get(t.Context(), s.Name("ghcr.io", "a/b", ""), "ghcr.io"); err != nil || !c.Anonymous() {
		t.Errorf("what the store does not know: %v, %v", c, err)
	}
	if got := questions(t, asked); len(got) != 2 {
		t.Errorf("asked %q", got)
	}
}

func TestHelpersThatFail(t *testing.T) {
	helper(t, "locked", `echo 'the vault is locked'; exit 1`)
	helper(t, "talker", `head -c 3000000 /dev/zero | tr '\0' ' '; echo '{"Username":"u","Secret":"s"}'`)
	helper(t, "poet", `echo 'hunter2 is no JSON'`)
	helper(t, "sleeper", `exec sleep 60`)
	for _, name := range []string{"locked", "talker", "poet", "sleeper", "missing", "../evil"} {
		t.Run(name, func(t *testing.T) {
			s := withDocker(t, fmt.Sprintf(`{"credHelpers": {"ghcr.io": %q}}`, name), nil, 300*time.Millisecond)
			begin := time.Now()
			_, err := s.Get(t.Context(), s.Name("ghcr.io", "a/b", ""), "ghcr.io")
			if !errors.Is(err, fault.CredentialUnusable) || !strings.Contains(err.Error(), "ghcr.io") {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("the error tells what the helper said: %v", err)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Fatalf("it took %v", took)
			}
		})
	}
	s := withDocker(t, `{"credHelpers": {"ghcr.io": "sleeper"}}`, nil, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Get(ctx, s.Name("ghcr.io", "a/b", ""), "ghcr.io"); !errors.Is(err, context.DeadlineExceeded) || fault.ReasonOf(err) != "" {
		t.Fatalf("the caller's own deadline: %v", err)
	}
}

// A login goes to the helper that the file names, and the file lists the registry alone.
func TestLoginWithAHelper(t *testing.T) {
	for _, config := range []string{`{"credsStore": "vault"}`, `{"credHelpers": {"ghcr.io": "vault"}}`} {
		asked := helper(t, "vault", `kept=$(dirname "$0")/kept
case $1 in
store) echo "$server" > "$kept" ;;
erase) rm "$kept" ;;
get) [ -f "$kept" ] && cat "$kept" || { echo "credentials not found in native keychain"; exit 1; } ;;
esac`)
		dir := t.TempDir()
		path := write(t, filepath.Join(dir, "auth.json"), config)
		f := credentials.OpenFile(path)
		where, err := f.Login(t.Context(), "ghcr.io", credentials.Credential{Username: "u", Password: "secret"})
		if err != nil || where != "credential helper vault" {
			t.Fatalf("%q %v", where, err)
		}
		if raw, err := os.ReadFile(path); err != nil || strings.Contains(string(raw), "secret") || strings.Contains(string(raw), "c2VjcmV0") {
			t.Errorf("%s %v", raw, err)
		}
		// Spin's login is found for registries that the helper has no login for.
		o := credentials.Options{LoginFile: path, SpinFile: write(t, filepath.Join(dir, "spin"), `{"auths": {"quay.io": "c3BpbjpwCg=="}}`)}
		if c := opens(t, o, "ghcr.io", "a"); c.Username != "u" || c.Password != "secret" {
			t.Errorf("%v", c)
		}
		if c := opens(t, o, "quay.io", "a"); c.Username != "spin" {
			t.Errorf("%v", c)
		}
		list, err := f.Logins(t.Context())
		if err != nil || len(list) != 1 || list[0] != (credentials.Login{Registry: "ghcr.io", Username: "u", Where: where}) {
			t.Errorf("%+v %v", list, err)
		}
		if found, err := f.Logout(t.Context(), "ghcr.io"); !found || err != nil {
			t.Errorf("%v %v", found, err)
		}
		if c := opens(t, o, "ghcr.io", "a"); !c.Anonymous() {
			t.Errorf("after a logout: %v", c)
		}
		if got := questions(t, asked); !strings.HasPrefix(got[0], "store=") || !slices.Contains(got, "erase=ghcr.io") {
			t.Errorf("%q", got)
		}
	}
	// What a helper refuses is not kept.
	helper(t, "broken", `echo no; exit 1`)
	path := write(t, filepath.Join(t.TempDir(), "auth.json"), `{"credsStore": "broken"}`)
	_, err := credentials.OpenFile(path).Login(t.Context(), "ghcr.io", credentials.Credential{Username: "u", Password: "secret"})
	if !errors.Is(err, fault.CredentialUnusable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if raw, err := os.ReadFile(path); string(raw) != `{"credsStore": "broken"}` || err != nil {
		t.Errorf("%s %v", raw, err)
	}
}
