package archive_test

import (
	"crypto/sha256"
	"strings"
	"testing"
	"unsafe"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/oci"
)

func TestBlobEntry(t *testing.T) {
	const content = "content"
	blob := &oci.Descriptor{Digest: digest.FromString(content), Size: int64(len(content))}
	e := archive.BlobEntry("a/b", blob)
	if e.Path != "a/b" || e.Size != blob.Size || e.Mode != 0o644 || e.ModTime != 0 || !e.HasSum || e.Sum != sha256.Sum256([]byte(content)) {
		t.Errorf("%+v", e)
	}
	if r := e.Locator.(archive.Range); r.Blob != blob || !r.Whole {
		t.Errorf("%+v", r)
	}
}

func TestSHA256(t *testing.T) {
	good := digest.FromString("x")
	for _, c := range []struct {
		d  digest.Digest
		ok bool
	}{
		{good, true},
		{digest.SHA512.FromString("x"), false},
		{good[:70], false},
		{digest.Digest(strings.ToUpper(string(good))), false},
		{"sha256:" + digest.Digest(strings.Repeat("g", 64)), false},
		{"", false},
	} {
		sum, ok := archive.SHA256(c.d)
		if ok != c.ok || ok && sum != sha256.Sum256([]byte("x")) || !ok && sum != [32]byte{} {
			t.Errorf("%s: %x, %v", c.d, sum, ok)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for _, good := range []string{"a", "a/b", "..a", "a..", ".a", "a b", "ünï", "ab:c", "1:", "dir/c:x", "_:x", strings.Repeat("a", archive.MaxPath)} {
		if err := archive.CheckPath(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ".", "..", "/", "/a", "a/", "a//b", "./a", "a/.", "a/..", "../a", "a/../b", `\a`, `a\b`, `..\a`, "a\x00b", "a\xff",
		"c:", "c:a", "a:b", "C:/a", `Z:\a`, strings.Repeat("a", archive.MaxPath+1),
	} {
		if err := archive.CheckPath(bad); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
}

// TestLocatorsMemory has what each kind of locator adds to its entry counted.
func TestLocatorsMemory(t *testing.T) {
	none := archive.Entries{{Path: "a"}}.MemoryBytes()
	for _, c := range []struct {
		l    archive.Locator
		want uintptr
	}{
		{archive.Inline{Data: make([]byte, 1000)}, 1000 + unsafe.Sizeof(archive.Inline{})},
		{archive.Range{}, unsafe.Sizeof(archive.Range{})},
		{archive.Member{}, unsafe.Sizeof(archive.Member{})},
	} {
		if got := (archive.Entries{{Path: "a", Locator: c.l}}).MemoryBytes() - none; got != int64(c.want) {
			t.Errorf("%T: %d bytes, not %d", c.l, got, c.want)
		}
	}
}
