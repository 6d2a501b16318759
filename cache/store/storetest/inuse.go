package storetest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/cache/store"
)

// testInUse damages files that somebody has open: who reads gets right bytes or is told, whoever comes then fetches once
// more, and what was fetched is right for all.
func testInUse(t *testing.T, open Opener) {
	for _, always := range []bool{false, true} {
		name := "verified when opened first, "
		if always {
			name = "verified always, "
		}
		for i, d := range damages() {
			t.Run(name+"object, "+d.name, func(t *testing.T) { damagedObject(t, open, always, uint64(i), d) })
			for _, known := range []bool{false, true} {
				table := "its table not read, "
				if known {
					table = "its table read, "
				}
				t.Run(name+"partial, "+table+d.name, func(t *testing.T) { damagedPartial(t, open, always, known, uint64(i), d.do) })
			}
		}
		for i, d := range partialDamages() {
			t.Run(name+"partial, "+d.name, func(t *testing.T) { damagedPartial(t, open, always, true, uint64(i), d.do) })
		}
	}
	t.Run("touched, but not changed", func(t *testing.T) { touchedObject(t, open) })
}

func damagedObject(t *testing.T, open Opener, always bool, seed uint64, d damage) {
	opts := Options(t, 16<<20)
	opts.VerifyAlways = always
	obs := &Observer{}
	opts.Observer = obs
	s := open(t, opts)
	c := s.Class("data")
	data := Data(seed, 300*kib)
	k := put(t, c, data)
	reader := func() *store.Object {
		o, err := c.Open(k, CheckSum(k))
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first, second := reader(), reader()
	defer first.Close()
	defer second.Close()
	if !rightOrNothing(t, first, data[:150*kib]) {
		t.Fatal("not there to begin with")
	}
	path := filepath.Join(opts.Dir, "data", k.String()[7:9], k.String())
	if err := d.do(path); err != nil {
		t.Fatal(err)
	}
	for _, again := range []bool{false, true} {
		for _, o := range []*store.Object{first, second} {
			if got := rightOrNothing(t, o, data); got == d.inPlace {
				t.Errorf("who has it open can read on: %v", got)
			}
		}
		if d.name == "a folder" {
			return // it stays in the way
		}
		if has(t, c, k) != again {
			t.Errorf("put anew: %v; it is there: %v", again, !again)
		}
		if !again {
			put(t, c, data)
		}
	}
	if got := obs.Corruptions("data"); (got == 1) != d.count {
		t.Errorf("%d corruptions were counted", got)
	}
	first.Close()
	second.Close()
	if !d.stays {
		SameAsDisk(t, s, opts)
	}
}

// rightOrNothing reads what should be data in three ways, and reports whether it could; it fails on a wrong byte.
func rightOrNothing(t *testing.T, o *store.Object, data []byte) bool {
	t.Helper()
	all := true
	for _, step := range []int{len(data), 64 * kib, 999} {
		buf := make([]byte, step)
		for at := 0; at < len(data); at += step {
			n, err := o.ReadAt(buf[:min(step, len(data)-at)], int64(at))
			if !bytes.Equal(buf[:n], data[at:at+n]) {
				t.Fatalf("wrong bytes after %d", at)
			}
			if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			all = all && at+n == min(at+step, len(data))
		}
	}
	return all
}

func damagedPartial(t *testing.T, open Opener, always, known bool, seed uint64, do func(string) error) {
	const size = partialSize
	opts := Options(t, 16<<20)
	opts.VerifyAlways = always
	s := open(t, opts)
	c := s.Class("blocks")
	data := Data(seed, size)
	k := KeyFor(data)
	p := openPartial(t, c, k, size)
	fill(t, p, data, 0, 1, 3)
	if !known {
		p.Close()
		p = openPartial(t, c, k, size)
	}
	if err := do(filepath.Join(opts.Dir, "blocks", k.String()[7:9], k.String())); err != nil {
		t.Fatal(err)
	}
	present(t, p, data)
	for i := range p.Blocks() {
		fill(t, p, data, i)
	}
	if got := present(t, p, data); !p.Complete() || len(got) != p.Blocks() {
		t.Errorf("after it was fetched again there are %v", got)
	}
	p.Close()
	for range 2 {
		if p, err := c.OpenPartial(k, size, true); err == nil { // a folder stays in the way
			present(t, p, data)
			p.Close()
		}
		closeStore(t, s)
		s = open(t, opts)
		c = s.Class("blocks")
	}
}

// touchedObject does to an open file what backups and administrators do: its reader reads on, and nothing is counted.
func touchedObject(t *testing.T, open Opener) {
	opts := Options(t, 16<<20)
	obs := &Observer{}
	opts.Observer = obs
	s := open(t, opts)
	c := s.Class("data")
	data := Data(1, 300*kib)
	k := put(t, c, data)
	path := filepath.Join(opts.Dir, "data", k.String()[7:9], k.String())
	o, err := c.Open(k, CheckSum(k))
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	now := NewClock().Now()
	for _, touch := range []struct {
		name string
		do   func() error
	}{
		{"mode", func() error { return os.Chmod(path, 0o400) }},
		{"time", func() error { return os.Chtimes(path, now, now) }},
		{"link", func() error { return errors.Join(os.Link(path, opts.Dir+"/backup"), os.Remove(opts.Dir+"/backup")) }},
		{"put", func() error { return c.Put(t.Context(), k, data) }},
		{"removed", func() error { return os.Remove(path) }},
	} {
		if err := touch.do(); err != nil {
			t.Fatalf("%s: %v", touch.name, err)
		}
		if !rightOrNothing(t, o, data) {
			t.Errorf("%s: it can't be read any more", touch.name)
		}
	}
	if got := obs.Corruptions("data"); got != 0 {
		t.Errorf("%d corruptions were counted", got)
	}
}
