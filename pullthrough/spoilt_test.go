package pullthrough_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/pullthrough"
)

// What was checked, and is spoilt on disk while it is read, is checked anew: before the reader gets more of it where the
// call requires that, and before a whole file ends.
func TestSpoiltMidway(t *testing.T) {
	const size = 1 << 20
	for _, tc := range []struct {
		name           string
		offset, length int64
		options        pullthrough.Options
		cached         bool // before it is opened; else it comes while it is
	}{
		{"whole, cached", 0, size, pullthrough.Options{}, true},
		{"whole, coming", 0, size, pullthrough.Options{}, false},
		{"whole, checked first, cached", 0, size, pullthrough.Options{RequireVerified: true}, true},
		{"whole, checked first, coming", 0, size, pullthrough.Options{RequireVerified: true}, false},
		{"part, checked first, cached", 1000, size / 2, pullthrough.Options{RequireVerified: true}, true},
		{"part, checked first, coming", 1000, size / 2, pullthrough.Options{RequireVerified: true}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := start(t)
			want := random(1, size)
			a := b.one(want, archivetest.Options{})
			if tc.cached {
				b.mustRead(a, "f", want, pullthrough.Options{})
			}
			st, err := b.Open(t.Context(), a, "f", tc.offset, tc.length, tc.options)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			got := make([]byte, 100_000)
			if _, err := io.ReadFull(st, got); err != nil {
				t.Fatal(err)
			}
			if spoil(t, filepath.Join(b.opts.Dir, "content")) == 0 {
				t.Fatal("the file is not on disk")
			}
			rest, err := io.ReadAll(st)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(append(got, rest...), want[tc.offset:tc.offset+tc.length]) {
				t.Error("wrong bytes")
			}
			if !st.Verified() {
				t.Error("it ended well and was not verified")
			}
		})
	}
}

// spoil cuts all files below dir to nothing, and returns how many there were.
func spoil(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.Truncate(path, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
