package store

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// lists splits b at every 0xff, which no text holds, into two lists of strings at the first 0xfe.
func lists(b []byte) (x, y []string) {
	left, right, _ := bytes.Cut(b, []byte{0xfe})
	split := func(b []byte) (parts []string) {
		for _, p := range bytes.Split(b, []byte{0xff}) {
			parts = append(parts, string(p))
		}
		return parts
	}
	return split(left), split(right)
}

// FuzzKeys: two lists, and two digests, have the same key only if they are the same; a key's file is in its class's
// folder and nowhere else; its name is read back to it, and no other name is.
func FuzzKeys(f *testing.F) {
	const d = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, s := range []string{
		"", "\xfe", "ab\xffc\xfea\xffbc", "a\xff\xfea", "\xff\xfe\xff\xff", "a\xffb\xfeb\xffa", "digest\x00" + d + "\xfe" + d,
		d + "\xfe" + strings.ToUpper(d), d + "\xfesha512" + d[6:], d + "\xfe" + d[7:], "../../etc/passwd\xfe..", "a/b\xfea\\b",
		"ref\xff\xffghcr.io\xffa/b\xff\xfflatest\xferef\xff\xffghcr.io\xffa\xffb\xfflatest", "\x00\x00\x00\x00\x00\x00\x00\x01a\xfea",
		"sha256-" + d[7:] + "\xfekey-" + d[7:], "SHA256-" + d[7:] + "\xfesha256-" + strings.ToUpper(d[7:]),
	} {
		f.Add([]byte(s))
	}
	c := &Class{dir: filepath.FromSlash("/cache/refs")}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, y := lists(b)
		kx, ky := DerivedKey(x...), DerivedKey(y...)
		if (kx == ky) != slices.Equal(x, y) {
			t.Fatalf("%q and %q: %s and %s", x, y, kx, ky)
		}
		dx, dy := digest.Digest(x[0]), digest.Digest(y[0])
		if (KeyOf(dx) == KeyOf(dy)) != (dx == dy) {
			t.Fatalf("%q and %q: %s", dx, dy, KeyOf(dx))
		}
		if k := KeyOf(dx); (k.Kind == SHA256) != (dx.Validate() == nil && strings.HasPrefix(x[0], "sha256:")) ||
			k.Kind == SHA256 && hex.EncodeToString(k.Sum[:]) != dx.Encoded() {
			t.Fatalf("%q: %s", dx, k)
		}
		for _, k := range []Key{kx, KeyOf(dx)} {
			shard, name := filepath.Split(c.path(k))
			if filepath.Dir(filepath.Clean(shard)) != c.dir || len(filepath.Base(shard)) != 2 || name != k.String() || strings.ContainsAny(name, `./\:`) {
				t.Fatalf("%q is at %s", x, c.path(k))
			}
			if got, ok := parseKey(name); !ok || got != k {
				t.Fatalf("%s is read as %s, %v", name, got, ok)
			}
		}
		if k, ok := parseKey(x[0]); ok && k.String() != x[0] {
			t.Fatalf("%q is taken for %s", x[0], k)
		}
	})
}
