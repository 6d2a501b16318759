package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/blobd/blobd/test/interop/rig"
)

// fileSite is a server of files that counts.
type fileSite struct {
	*httptest.Server
	asked atomic.Int64
}

// newFileSite serves data at every path; below /chunked/ without saying how much it is.
func newFileSite(t *testing.T, data []byte) *fileSite {
	s := new(fileSite)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Referer() != "" {
			t.Errorf("a site was sent %v", r.Header)
		}
		if strings.HasPrefix(r.URL.Path, "/chunked/") {
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *fileSite) config() string {
	return fmt.Sprintf("urls: {allow_http: [%q]}\n", strings.TrimPrefix(s.URL, "http://"))
}

func sha(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// Thirty commands at once for one file cost one request; afterwards, after a restart, and when the site is gone, none.
func TestFetchURLOnce(t *testing.T) {
	for _, path := range []string{"/app.wasm", "/chunked/app.wasm"} {
		t.Run(path, func(t *testing.T) {
			data := noise(3<<20 + 1)
			s := newFileSite(t, data)
			w := newWorld(t, setup{config: s.config()})
			fetch := []string{"fetch", s.URL + path, "--digest", sha(data)}
			var all sync.WaitGroup
			for range 30 {
				all.Go(func() {
					if r := w.Run(t.Context(), fetch...); r.Exit != 0 || !bytes.Equal(r.Stdout, data) {
						t.Errorf("exit %d, %d bytes, %s", r.Exit, len(r.Stdout), r.Stderr)
					}
				})
			}
			all.Wait()
			if n := s.asked.Load(); n != 1 {
				t.Errorf("%d requests for one file", n)
			}
			w.restart(s.config())
			s.Close()
			w.reads(data, fetch...)
			w.reads(data, append(fetch, "--require-verified")...)
			if n := s.asked.Load(); n != 1 {
				t.Errorf("%d requests for what is cached", n-1)
			}
			if r := w.Run(t.Context(), append(fetch, "--no-cache")...); r.Exit != 7 {
				t.Errorf("anew, from a site that is gone: %+v", r)
			}
		})
	}
}

// What an artifact has brought into the cache, no site is asked for, and the other way round.
func TestFetchURLSharesContent(t *testing.T) {
	data := noise(400_000)
	s := newFileSite(t, data)
	w := newWorld(t, setup{config: s.config()})
	dir := site(t, map[string]string{"a.bin": string(data)})
	ref := w.ref("acme/files:v1")
	w.run("push", dir, ref)
	w.reads(data, "fetch", s.URL+"/a.bin", "--digest", sha(data))
	w.run("pull", ref)
	w.reg.Reset()
	w.reads(data, "cat", ref, "a.bin")
	costs(t, "a file that a site has brought", w.reg.Proxy, nothing)

	other := noise(500_000)
	w.run("push", site(t, map[string]string{"b.bin": string(other)}), ref)
	w.reads(other, "cat", "--max-age", "0", ref, "b.bin")
	asked := s.asked.Load()
	w.reads(other, "fetch", s.URL+"/b.bin", "--digest", sha(other))
	if s.asked.Load() != asked {
		t.Error("the site was asked for a file that an artifact has brought")
	}
}

// A digest that lies: an error of integrity, two requests, nothing cached, and no file, whole or half.
func TestFetchURLWrongDigest(t *testing.T) {
	data := noise(300_000)
	s := newFileSite(t, data)
	w := newWorld(t, setup{config: s.config()})
	other := sha([]byte("something else"))
	dir := t.TempDir()
	r := w.Run(t.Context(), "fetch", s.URL+"/a", filepath.Join(dir, "a"), "--digest", other)
	if r.Exit != 5 || !strings.Contains(r.Stderr, sha(data)) || !strings.Contains(r.Stderr, other) {
		t.Errorf("%+v", r)
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	err := filepath.WalkDir(filepath.Join(w.Cache(), "content"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && len(d.Name()) == 64 {
			t.Errorf("%s is in the cache", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Where a file goes, and where it does not.
func TestFetchURLDestinations(t *testing.T) {
	data := []byte("hello\n")
	s := newFileSite(t, data)
	w := newWorld(t, setup{config: s.config()})
	dir := t.TempDir()
	fetch := func(dest string, more ...string) rig.Result {
		return w.Run(t.Context(), append([]string{"fetch", s.URL + "/lib/a.wasm?key=canary", dest, "--digest", sha(data)}, more...)...)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for dest, want := range map[string]string{at("b"): "b", dir: "a.wasm", at("new") + "/": "new/a.wasm"} {
		if r := fetch(dest); r.Exit != 0 || strings.Contains(string(r.Stdout)+r.Stderr, "canary") {
			t.Errorf("%s: %+v", dest, r)
		}
		if got, err := os.ReadFile(at(want)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %q, %v", dest, got, err)
		}
	}
	if err := os.WriteFile(at("b"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := fetch(at("b")); r.Exit == 0 || !strings.Contains(r.Stderr, "--force") {
		t.Errorf("over a file: %+v", r)
	}
	if got, _ := os.ReadFile(at("b")); string(got) != "mine" {
		t.Errorf("overwritten with %q", got)
	}
	if r := fetch(at("b"), "--force"); r.Exit != 0 {
		t.Errorf("with --force: %+v", r)
	}
	if r := fetch(at("none/b")); r.Exit == 0 {
		t.Errorf("into a folder that is not there: %+v", r)
	}
}

// What must not be asked for is not, whoever wants it.
func TestFetchURLRefuses(t *testing.T) {
	data := []byte("x")
	s := newFileSite(t, data)
	w := newWorld(t, setup{}) // nothing is allowed
	for _, r := range []struct {
		url, digest string
		exit        int
		says        string
	}{
		{s.URL + "/a", sha(data), 5, "urls.allow_http"},
		{"https" + strings.TrimPrefix(s.URL, "http") + "/a", sha(data), 5, "urls.allow_private"},
		{"https://localhost:1/a", sha(data), 5, "urls.allow_private"},
		{"http://169.254.169.254/latest/meta-data/", sha(data), 5, "not allowed"},
		{"https://169.254.169.254/latest/meta-data/", sha(data), 5, "must not be used"},
		{"https://user:canary@site.example/a", sha(data), 2, "login"},
		{"file:///etc/passwd", sha(data), 2, "https://"},
		{"https://site.example/a", "sha256:abc", 2, "sha256"},
		{"https://site.example/a", "", 2, "--digest"},
	} {
		got := w.Run(t.Context(), "fetch", r.url, "--digest", r.digest)
		if got.Exit != r.exit || !strings.Contains(got.Stderr, r.says) || strings.Contains(got.Stderr, "canary") || len(got.Stdout) > 0 {
			t.Errorf("%s: %+v", r.url, got)
		}
	}
	if s.asked.Load() > 0 || strings.Contains(w.Log(), "canary") {
		t.Error("a site was asked, or a secret is in the log")
	}
}
