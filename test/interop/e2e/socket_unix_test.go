//go:build unix

package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/test/interop/rig"
)

// TestSocketForbidden asks through a socket that this user may not open.
func TestSocketForbidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	if err := os.Chmod(w.Socket(), 0); err != nil {
		t.Fatal(err)
	}
	cmd := w.Command(t.Context(), "status")
	if os.Geteuid() == 0 { // who may open everything: be nobody, who must get as far as the socket
		for _, dir := range []string{w.Dir, filepath.Dir(binaries.client), filepath.Dir(filepath.Dir(binaries.client))} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	oneLine(t, rig.Run(cmd), 4, w.Socket())
}

// TestWrongBytes reads an archive whose registry sends other bytes than the digests say: an integrity error, nothing of
// it in the cache, and right again once the registry is.
func TestWrongBytes(t *testing.T) {
	for _, what := range []string{"manifest", "index", "data"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			f := file("f", 1, 500_000)
			push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, file("a", 2, 1000), f)
			ref := w.ref("acme/app:v1")
			w.reg.Fault(flipped(w.reg, what))
			oneLine(t, w.Run(t.Context(), "cat", "--require-verified", ref, "f"), 5, "")
			w.reg.Fault(nil)
			w.reads(content(f), "cat", ref, "f")
		})
	}
}

// TestServeRefused starts daemons that can't run.
func TestServeRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blocker := filepath.Join(dir, "blocker")
	if err := os.WriteFile(blocker, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("max_size: 1GiB\nmax_sice: 2GiB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, err := rig.NewHost(binaries.client)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, c := range []struct {
		name string
		args []string
		exit int
		says string
	}{
		{"unknown key", []string{"serve", "--config", bad}, 2, "bad.yaml:2"},
		{"unknown key, check", []string{"config", "check", bad}, 2, "max_sice"},
		{"bad size", []string{"serve", "--max-size", "much"}, 2, "much"},
		{"cache folder that can't be made", []string{"serve", "--cache-dir", filepath.Join(blocker, "cache"), "--socket", h.Socket(), "--http-addr", "off"}, 1, blocker},
		{"socket in no folder", []string{"serve", "--cache-dir", filepath.Join(dir, "c"), "--socket", filepath.Join(blocker, "s"), "--http-addr", "off"}, 1, blocker},
		{"address that is none", []string{"serve", "--cache-dir", filepath.Join(dir, "d"), "--socket", h.Socket(), "--http-addr", "nowhere"}, 2, "nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := h.Run(t.Context(), c.args...)
			oneLine(t, r, c.exit, c.says)
		})
	}
}
