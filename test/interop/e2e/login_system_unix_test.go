//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
	"github.com/blobd/blobd/test/interop/rig"
)

// The daemon's own logins come and go through its socket and are in force at once; what the registry refuses is not kept, and
// the secret shows nowhere but in the one file, which is for the daemon alone.
func TestSystemLogin(t *testing.T) {
	const secret = "secret" // the registry's password
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthToken} {
		t.Run(fmt.Sprint(auth), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "state", "auth.json")
			w := newWorld(t, setup{
				registry: registrytest.Options{Auth: auth},
				config:   fmt.Sprintf("credentials: {login_file: %q, docker: false, spin: false}\n", file),
				flags:    []string{"--log-level", "debug"},
			})
			mine := filepath.Join(t.TempDir(), "mine.json")
			w.Env = append(w.Env, "BLOBD_AUTH_FILE="+mine) // of commands; the daemon runs already
			host, ref := w.reg.Host(), w.ref("acme/site:v1")
			if r := w.typed(secret, "login", "-u", "user", "--password-stdin", host); r.Exit != 0 {
				t.Fatalf("%+v", r)
			}
			w.run("push", site(t, map[string]string{"a.txt": "hello"}), ref)
			if r := w.Run(t.Context(), "cat", ref, "a.txt"); r.Exit != 4 {
				t.Fatalf("the daemon without a login: %+v", r)
			}

			if r := w.typed("wrong-canary", "login", "--system", "-u", "user", "--password-stdin", host); r.Exit != 4 || strings.Contains(r.Stderr, "canary") {
				t.Errorf("a wrong login: %+v", r)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("a wrong login made a file")
			}
			if r := w.typed(secret+"\n", "login", "--system", "-u", "user", "--password-stdin", host); r.Exit != 0 || !strings.Contains(string(r.Stdout), file) {
				t.Fatalf("%+v", r)
			}
			if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o600 {
				t.Errorf("%v, %v", fi, err)
			}
			w.reads([]byte("hello"), "cat", ref, "a.txt") // no restart, no SIGHUP

			list := w.run("-o", "json", "login", "--list", "--system")
			var login struct{ Registry, Username, Where string }
			if err := json.Unmarshal(list, &login); err != nil || login.Registry != host || login.Username != "user" || login.Where != file {
				t.Errorf("%s, %v", list, err)
			}
			if got := string(w.run("__complete", "logout", "--system", "")); !strings.HasPrefix(got, host+"\n") {
				t.Errorf("completion: %q", got)
			}
			raw, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(raw), "auths") {
				t.Errorf("%s, %v", raw, err)
			}
			var kept struct {
				Auths map[string]struct{ Auth string }
			}
			if err := json.Unmarshal(raw, &kept); err != nil || kept.Auths[host].Auth == "" {
				t.Fatalf("%s, %v", raw, err)
			}
			log := w.Log()
			for name, text := range map[string]string{
				"log": log, "list": string(list), "status": string(w.run("status")), "config": string(w.run("-o", "json", "status")),
				"events": string(w.run("-o", "json", "events")),
			} {
				for _, hidden := range []string{kept.Auths[host].Auth, "canary", `"` + secret + `"`, ":" + secret} {
					if strings.Contains(text, hidden) {
						t.Errorf("the %s holds the secret", name)
					}
				}
			}
			if !strings.Contains(log, `"Login"`) {
				t.Error("the log does not tell of the call, and so proves nothing")
			}

			if r := w.Run(t.Context(), "logout", "--system", host); r.Exit != 0 {
				t.Errorf("%+v", r)
			}
			if r := w.Run(t.Context(), "cat", "--max-age", "0", ref, "a.txt"); r.Exit != 4 {
				t.Errorf("after a logout: %+v", r)
			}
			if list := w.run("login", "--list", "--system"); len(list) > 0 {
				t.Errorf("after a logout: %s", list)
			}
			if r := w.Run(t.Context(), "login", "--list"); !strings.Contains(string(r.Stdout), mine) {
				t.Errorf("the user's own login is gone with it: %+v", r)
			}
			if r := w.typed(secret, "login", "--system", "--plain-http", "-u", "user", "--password-stdin", host); r.Exit != 2 {
				t.Errorf("--plain-http: %+v", r)
			}
		})
	}
}

// Who is no admin can neither give the daemon a login, nor see or end one.
func TestSystemLoginIsForAdmins(t *testing.T) {
	testneed.Root(t)
	w := newWorld(t, setup{config: fmt.Sprintf("credentials: {login_file: %q}\n", filepath.Join(t.TempDir(), "auth.json"))})
	for _, dir := range []string{w.Dir, filepath.Dir(binaries.client), filepath.Dir(filepath.Dir(binaries.client))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"login", "--system", "-u", "user", "--password-stdin", w.reg.Host()}, {"login", "--system", "--list"}, {"logout", "--system", w.reg.Host()},
	} {
		cmd := w.Command(t.Context(), args...)
		cmd.Stdin = strings.NewReader("secret")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4242, Gid: 4242}}
		if r := rig.Run(cmd); r.Exit != 4 || !strings.Contains(r.Stderr, "admin_users") {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
