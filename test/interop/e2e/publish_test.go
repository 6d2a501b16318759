package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/rig"
)

// typed runs a client command with this on stdin.
func (w *world) typed(stdin string, args ...string) rig.Result {
	cmd := w.Command(w.t.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	return rig.Run(cmd)
}

// site makes a folder to push.
func site(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What one command publishes, the daemon reads; it sees a login that was made while it runs, and is warm after --warm.
func TestPushAndRead(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthToken} {
		t.Run(fmt.Sprint(auth), func(t *testing.T) {
			logins := filepath.Join(t.TempDir(), "auth.json")
			w := newWorld(t, setup{
				registry: registrytest.Options{Auth: auth}, config: fmt.Sprintf("credentials: {login_file: %q, docker: false, spin: false}\n", logins),
			})
			w.Env = append(w.Env, "BLOBD_AUTH_FILE="+logins) // of commands; the daemon runs already
			files := map[string]string{"index.html": "<p>hello", "css/a.css": strings.Repeat("a{}\n", 50_000), "css.txt": "", "data.bin": string(noise(200_000))}
			dir := site(t, files)
			ref := w.ref("acme/site:v1")

			if r := w.Run(t.Context(), "push", dir, ref); r.Exit != 4 {
				t.Fatalf("without a login: %+v", r)
			}
			if r := w.typed("wrong", "login", "-u", "user", "--password-stdin", w.reg.Host()); r.Exit != 4 {
				t.Fatalf("a wrong login: %+v", r)
			}
			if r := w.Run(t.Context(), "cat", ref, "index.html"); r.Exit != 4 {
				t.Fatalf("the daemon without a login: %+v", r)
			}
			if r := w.typed("secret\n", "login", "-u", "user", "--password-stdin", w.reg.Host()); r.Exit != 0 {
				t.Fatalf("%+v", r)
			}
			var report struct {
				Digest string
				Warmed struct{ Files int }
			}
			out := w.run("-o", "json", "push", "--warm", dir, ref)
			if err := json.Unmarshal(out, &report); err != nil || report.Warmed.Files != len(files) {
				t.Fatalf("%s %v", out, err)
			}
			w.reg.Reset()
			for name, text := range files {
				w.reads([]byte(text), "cat", ref, name)
			}
			costs(t, "reading what --warm fetched", w.reg.Proxy, nothing)

			// The tag moves with the next push, and the daemon knows it when the command has ended.
			if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("<p>again"), 0o644); err != nil {
				t.Fatal(err)
			}
			w.run("push", "--warm", dir, ref)
			w.reads([]byte("<p>again"), "cat", ref, "index.html")

			if r := w.Run(t.Context(), "logout", w.reg.Host()); r.Exit != 0 {
				t.Fatalf("%+v", r)
			}
			if r := w.Run(t.Context(), "cat", "--max-age", "0", ref, "index.html"); r.Exit != 4 {
				t.Errorf("the daemon after a logout: %+v", r)
			}
		})
	}
}

// noise is bytes that don't compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// A second push of the same folder asks for its three blobs and sends the manifest: no byte of a blob.
func TestPushTwiceSendsNothing(t *testing.T) {
	w := newWorld(t, setup{})
	dir := site(t, map[string]string{"a": "a", "b": string(noise(1 << 20))})
	first := w.run("push", "--source-date-epoch", "0", dir, w.ref("acme/site:v1"))
	w.reg.Reset()
	again := w.run("push", "--source-date-epoch", "0", dir, w.ref("acme/site:v1"))
	costs(t, "a second push", w.reg.Proxy, registrytest.Counts{Blob: 3, Head: 3, Tag: 1})
	if !bytes.Equal(first, again) || !bytes.HasPrefix(first, []byte("Pushed with digest sha256:")) {
		t.Errorf("%s, then %s", first, again)
	}
}
