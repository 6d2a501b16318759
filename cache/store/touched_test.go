package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store"
)

// A file that somebody else changes before it is whole is given up: none of its bytes are handed out, and it never becomes
// an entry.
func TestTouchedBeforeCommit(t *testing.T) {
	for _, touch := range []struct {
		name string
		do   func(f *os.File) error
	}{
		{"flipped", func(f *os.File) error { _, err := f.WriteAt([]byte{1}, 10); return err }},
		{"cut", func(f *os.File) error { return f.Truncate(50) }},
		{"emptied", func(f *os.File) error { return f.Truncate(0) }},
		{"longer", func(f *os.File) error { return f.Truncate(1 << 20) }},
		{"cut and as long as before", func(f *os.File) error { return errors.Join(f.Truncate(50), f.Truncate(100)) }},
	} {
		t.Run(touch.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, err := store.Open(store.Options{Dir: dir, MaxSize: 16 << 20, Classes: []store.ClassOptions{{Name: "a", Data: true}}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.StartEviction()
			c, key := s.Class("a"), store.DerivedKey("x")
			w, err := c.Create(t.Context(), key, 200)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			half, got := bytes.Repeat([]byte{7}, 100), make([]byte, 100)
			if _, err := w.Write(half); err != nil {
				t.Fatal(err)
			}
			if n, err := w.ReadAt(got, 0); n != 100 || err != nil || !bytes.Equal(got, half) {
				t.Fatalf("before: %d bytes, %v", n, err)
			}
			temps, err := filepath.Glob(filepath.Join(dir, "a", "tmp", "*"))
			if err != nil || len(temps) != 1 {
				t.Fatalf("temporary files %q, %v", temps, err)
			}
			f, err := os.OpenFile(temps[0], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			later := time.Now().Add(time.Second) // the clocks of some file systems tick slower than this test
			if err := errors.Join(touch.do(f), f.Close(), os.Chtimes(temps[0], later, later)); err != nil {
				t.Fatal(err)
			}
			if n, err := w.ReadAt(got, 0); n != 0 || !errors.Is(err, store.ErrNotFound) {
				t.Errorf("read %d bytes, %v", n, err)
			}
			if err := w.Commit(); err == nil {
				t.Error("it was committed")
			}
			if _, err := w.Write(half); err == nil {
				t.Error("it was written on")
			}
			if c.Contains(key) {
				t.Error("it is an entry")
			}
		})
	}
}
