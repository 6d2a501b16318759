package e2e

import (
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/spintest"
)

// TestArtifactTree reads a plain artifact: files small and large, one by another kind of digest, a folder, and a file that
// is there twice.
func TestArtifactTree(t *testing.T) {
	w := newWorld(t, setup{})
	big, small := noise(700_000), noise(70_000)
	folder := []spintest.File{{Path: "docs/a/one", Data: noise(1)}, {Path: "docs/empty"}, {Path: "docs/big", Data: noise(300_001)}}
	a := spintest.Plain(
		spintest.Layer{Title: "big.bin", Data: big}, spintest.Layer{Title: "d/small.bin", Data: small},
		spintest.Layer{Title: "d/again.bin", Data: small}, spintest.Layer{Title: "long.sum", Data: noise(40_000), SHA512: true},
		spintest.Layer{Title: "docs", Folder: folder}, spintest.Layer{Title: "none"},
	)
	w.put("acme/files", "v1", a)
	files := map[string][]byte{"big.bin": big, "d/small.bin": small, "d/again.bin": small, "long.sum": noise(40_000), "none": nil}
	for _, f := range folder {
		files[f.Path] = f.Data
	}
	ref := w.ref("acme/files:v1")
	w.readsArtifact(ref, files)
	if mode := string(w.run("ls", "-lR", ref)); !strings.Contains(mode, "rwxr-x---") {
		t.Errorf("the folder's files don't have their mode:\n%s", mode)
	}
	w.restart("")
	w.reg.Stop()
	defer w.reg.Start()
	w.readsArtifact(ref, files)
}

// readsArtifact is readsTree for an artifact with a file whose sha256 nobody knows.
func (w *world) readsArtifact(ref string, files map[string][]byte) {
	w.t.Helper()
	for name, data := range files {
		w.reads(data, "cat", ref, name)
	}
	if out := string(w.run("prefetch", ref)); strings.Contains(out, "no room") {
		w.t.Errorf("prefetch: %s", out)
	}
}

// TestArtifactTitles: titles that lead elsewhere are refused, by name.
func TestArtifactTitles(t *testing.T) {
	w := newWorld(t, setup{})
	for _, title := range []string{"../up", "/etc/passwd", "a//b", "a/../../b", "."} {
		w.put("acme/bad", "v1", spintest.Plain(spintest.Layer{Title: title, Data: []byte("x")}))
		r := w.Run(t.Context(), "ls", "--no-cache", w.ref("acme/bad:v1"))
		oneLine(t, r, 5, title)
	}
}
