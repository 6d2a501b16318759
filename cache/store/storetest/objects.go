package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/cache/store"
)

func testObjects(t *testing.T, open Opener) {
	opts := Options(t, 16<<20)
	opts.Classes = append(opts.Classes, store.ClassOptions{Name: "off", Off: true})
	s := open(t, opts)
	c := s.Class("data")

	t.Run("put and get", func(t *testing.T) {
		for i, n := range []int{1, 4096, 64 << 10, 3<<20 + 1} {
			data := Data(uint64(i), n)
			k := put(t, c, data)
			got, err := c.Get(k, nil)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes: got %d bytes, %v", n, len(got), err)
			}
			if size := c.Size(k); size < int64(n) || size > int64(n)+64<<10 {
				t.Errorf("%d bytes: size on disk %d", n, size)
			}
			if !c.Contains(k) {
				t.Errorf("%d bytes: not contained", n)
			}
		}
	})
	t.Run("classes and kinds are apart", func(t *testing.T) {
		data := Data(10, 100)
		k := put(t, c, data)
		for name, k := range map[string]store.Key{
			"other kind": {Kind: store.Derived, Sum: k.Sum}, "other sum": KeyFor(data[1:]),
		} {
			if _, err := c.Get(k, nil); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := s.Class("small").Get(k, nil); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("other class: %v", err)
		}
	})
	t.Run("overwritten atomically", func(t *testing.T) {
		k := store.DerivedKey("over", "written")
		if err := c.Put(t.Context(), k, []byte("one")); err != nil {
			t.Fatal(err)
		}
		o, err := c.Open(k, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if err := c.Put(t.Context(), k, []byte("two!")); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Get(k, nil); err != nil || string(got) != "two!" {
			t.Errorf("got %q, %v", got, err)
		}
		old := make([]byte, o.Size())
		if _, err := o.ReadAt(old, 0); err != nil || string(old) != "one" {
			t.Errorf("who had it open reads %q, %v", old, err)
		}
	})
	t.Run("an empty one is not kept", func(t *testing.T) {
		k := put(t, c, nil)
		if _, err := c.Get(k, nil); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
	})
	t.Run("read-only where it says", func(t *testing.T) {
		k := put(t, c, Data(11, 10))
		path := filepath.Join(opts.Dir, "data", k.String()[7:9], k.String())
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm()&0o222 != 0 {
			t.Errorf("%v, %v", fi, err)
		}
	})
	t.Run("a class that is off", func(t *testing.T) {
		off := s.Class("off")
		k := KeyFor([]byte("x"))
		if err := off.Put(t.Context(), k, []byte("x")); !errors.Is(err, store.ErrOff) {
			t.Error(err)
		}
		if _, err := off.Get(k, nil); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		if _, err := off.OpenPartial(k, 5, true); !errors.Is(err, store.ErrOff) {
			t.Error(err)
		}
	})
	t.Run("removed", func(t *testing.T) {
		k := put(t, c, Data(12, 5000))
		freed, err := c.Remove(k, store.ReasonRemoved)
		if err != nil || freed < 5000 {
			t.Errorf("%d, %v", freed, err)
		}
		if c.Contains(k) || has(t, c, k) {
			t.Error("still there")
		}
		if freed, err := c.Remove(k, store.ReasonRemoved); freed != 0 || err != nil {
			t.Errorf("again: %d, %v", freed, err)
		}
	})
	t.Run("named at the end", func(t *testing.T) {
		data := Data(13, 70_000)
		w, err := c.Create(t.Context(), store.Key{}, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.CommitAs(KeyFor(data)); err != nil {
			t.Fatal(err)
		}
		if err := w.CommitAs(store.Key{}); err == nil || has(t, c, store.Key{}) {
			t.Error("it has two names: ", err)
		}
		if got, err := c.Get(KeyFor(data), nil); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	t.Run("walked", func(t *testing.T) {
		want := map[store.Key]bool{}
		small := s.Class("small")
		for i := range 20 {
			want[put(t, small, Data(uint64(100+i), 10))] = true
		}
		if err := small.Walk(t.Context(), func(k store.Key) error { delete(want, k); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(want) != 0 {
			t.Errorf("%d were not visited", len(want))
		}
		stop := errors.New("stop")
		if err := small.Walk(t.Context(), func(store.Key) error { return stop }); !errors.Is(err, stop) {
			t.Error(err)
		}
	})
}

func testWriter(t *testing.T, open Opener) {
	opts := Options(t, 16<<20)
	s := open(t, opts)
	c := s.Class("data")
	temps := filepath.Join(opts.Dir, "data", "tmp")

	for _, size := range []int64{-1, 3 << 20, 10} {
		data := Data(uint64(size), 3<<20)
		k := KeyFor(data)
		w, err := c.Create(t.Context(), k, size)
		if err != nil {
			t.Fatal(err)
		}
		for b := data; len(b) > 0; {
			n := min(len(b), 100_000)
			if _, err := w.Write(b[:n]); err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
		if has(t, c, k) {
			t.Errorf("size %d: visible before it is committed", size)
		}
		tail := make([]byte, 20)
		if n, err := w.ReadAt(tail, int64(len(data))-10); n != 10 || !errors.Is(err, io.EOF) ||
			!bytes.Equal(tail[:n], data[len(data)-10:]) {
			t.Errorf("size %d: reading past the end: %d, %v", size, n, err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		if n, err := w.ReadAt(tail, 5); n != 20 || err != nil || !bytes.Equal(tail, data[5:25]) {
			t.Errorf("size %d: reading after commit: %d, %v", size, n, err)
		}
		if _, err := w.Write(tail); err == nil {
			t.Errorf("size %d: written after commit", size)
		}
		if _, err := c.Remove(k, store.ReasonRemoved); !errors.Is(err, store.ErrInUse) {
			t.Errorf("size %d: a writer that is not closed is no lease: %v", size, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Get(k, nil); err != nil || !bytes.Equal(got, data) {
			t.Errorf("size %d: %d bytes, %v", size, len(got), err)
		}
	}
	w, err := c.Create(t.Context(), store.DerivedKey("given up"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(Data(9, 500_000)); err != nil {
		t.Fatal(err)
	}
	before := s.Usage()
	if before.Reserved == 0 && before.Classes[1].Bytes == 0 {
		t.Error("nothing is reserved for a writer")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if files := Files(t, temps); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
	if u := s.Usage(); u.Reserved != 0 {
		t.Errorf("%d bytes are still reserved", u.Reserved)
	}
	SameAsDisk(t, s, opts)
}

// looks is how often SameAsDisk looks again: the evictor may be in the middle of a removal. What is counted wrong stays so.
const looks = 50

// SameAsDisk checks that each class counts what its files take.
func SameAsDisk(t *testing.T, s *store.Store, opts store.Options) {
	t.Helper()
	var wrong string
	for range looks {
		if wrong = difference(t, s, opts); wrong == "" {
			return
		}
	}
	t.Error(wrong)
}

func difference(t *testing.T, s *store.Store, opts store.Options) string {
	for i, u := range s.Usage().Classes {
		var disk, files int64
		dir := opts.Classes[i].Dir
		if dir == "" {
			dir = filepath.Join(opts.Dir, u.Name)
		}
		for _, f := range Files(t, dir) {
			if filepath.Base(filepath.Dir(f)) != "tmp" && filepath.Base(f) != "LOCK" {
				disk += Du(t, f)
				files++
			}
		}
		if u.Bytes != disk || u.Entries != files || u.Reserved != 0 {
			return fmt.Sprintf("class %s counts %d bytes in %d entries (%d reserved); the disk has %d in %d", u.Name, u.Bytes,
				u.Entries, u.Reserved, disk, files)
		}
	}
	return ""
}
