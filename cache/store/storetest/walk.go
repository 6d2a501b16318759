package storetest

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/cache/store"
)

// FaultWalk is the crash harness as well: with sticky, nothing reaches the disk from the N-th call on, as after a kill.
//
// It runs a day in a store's life (open, put, replace, read, fill, remove, close) again and again; each time
// another call to the file system fails with err, the first, the second, and so on until none is left. With sticky all
// calls after it fail as well. Whatever fails, no caller sees a wrong byte, no file stays open, and the next start finds a
// store that counts right and has no temporary files.
func FaultWalk(t *testing.T, err error, sticky bool) {
	things := dailies()
	for n := 1; ; n++ {
		opts := Options(t, 16<<20)
		disk := WithoutSync()
		opts.FS = disk
		disk.Fail(n, err, sticky)
		day(t, n, opts, things)
		if open := disk.OpenFiles(); open != 0 {
			t.Fatalf("call %d: %d files are still open", n, open)
		}
		fired := disk.Fired()
		disk.Fail(0, nil, false)
		nextDay(t, n, opts, things)
		if t.Failed() {
			return
		}
		if fired == 0 {
			t.Logf("%d calls", n-1)
			return
		}
	}
}

// daily is what is put each day: made once, since hashing it takes longer than putting it.
type daily struct {
	class string
	key   store.Key
	data  []byte
}

func dailies() []daily {
	a, b := Data(1, 1000), Data(2, 2*store.BlockSize+7)
	return []daily{{"small", KeyFor(a), a}, {"data", KeyFor(b), b}}
}

// day ignores errors: it is about what must not happen nevertheless.
func day(t *testing.T, n int, opts store.Options, things []daily) {
	s, err := store.Open(opts)
	if err != nil {
		return
	}
	defer s.Close()
	s.StartEviction()
	for round := range 2 {
		for _, d := range things {
			c := s.Class(d.class)
			_ = c.Put(t.Context(), d.key, d.data)
			if got, err := c.Get(d.key, nil); err == nil && !bytes.Equal(got, d.data) {
				t.Errorf("call %d: the object in %s has wrong bytes", n, d.class)
			}
			if w, err := c.Create(t.Context(), store.DerivedKey("given up"), -1); err == nil {
				_, _ = w.Write(d.data)
				_ = w.Close()
			}
			fillDay(t, n, s.Class("blocks"), d, round)
		}
	}
	gone := things[0].key
	_, _ = s.Class("small").Remove(gone, store.ReasonRemoved)
	_, _ = s.Class("blocks").Remove(gone, store.ReasonCorrupt)
	<-s.Scanned()
	for i, u := range s.Usage().Classes {
		var disk int64
		for _, f := range Files(t, filepath.Join(opts.Dir, opts.Classes[i].Name)) {
			if filepath.Base(filepath.Dir(f)) != "tmp" {
				disk += Du(t, f)
			}
		}
		if u.Reserved != 0 || u.Bytes < disk {
			t.Errorf("call %d: class %s counts %d bytes (%d reserved), the disk %d", n, u.Name, u.Bytes, u.Reserved, disk)
		}
	}
}

func fillDay(t *testing.T, n int, c *store.Class, d daily, round int) {
	p, err := c.OpenPartial(d.key, int64(len(d.data)), true)
	if err != nil {
		return
	}
	defer p.Close()
	if res, err := p.Reserve(t.Context(), p.Blocks()); err == nil {
		for i := range p.Blocks() {
			if i%2 == round {
				_ = p.WriteBlock(res, i, block(d.data, i))
			}
		}
		res.Release()
	}
	checkBlocks(t, n, p, d.data)
	p.Drop(0, 1)
}

func checkBlocks(t *testing.T, n int, p *store.Partial, data []byte) {
	buf := make([]byte, store.BlockSize)
	for i := range p.Blocks() {
		got, err := p.ReadBlock(i, buf)
		if err == nil && !bytes.Equal(buf[:got], block(data, i)) {
			t.Errorf("call %d: block %d has wrong bytes", n, i)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("call %d: block %d: %v", n, i, err)
		}
	}
}

// nextDay opens the store on a disk without faults and looks at everything.
func nextDay(t *testing.T, n int, opts store.Options, things []daily) {
	s, err := store.Open(opts)
	if err != nil {
		t.Errorf("call %d: next start: %v", n, err)
		return
	}
	defer s.Close()
	s.StartEviction()
	<-s.Scanned()
	sameAsDisk(t, s, opts)
	for _, d := range things {
		c := s.Class(d.class)
		if got, err := c.Get(d.key, nil); err == nil && !bytes.Equal(got, d.data) {
			t.Errorf("call %d: next start: the object in %s has wrong bytes", n, d.class)
		}
		if p, err := s.Class("blocks").OpenPartial(d.key, int64(len(d.data)), false); err == nil {
			checkBlocks(t, n, p, d.data)
			p.Close()
		}
		if err := c.Put(t.Context(), d.key, d.data); err != nil || !has(t, c, d.key) {
			t.Errorf("call %d: next start: the object can't be put in %s: %v", n, d.class, err)
		}
	}
	for _, f := range Files(t, opts.Dir) {
		if contains(f, "/tmp/") && contains(f, opts.Dir+"/data/tmp/") {
			t.Errorf("call %d: left behind: %s", n, f)
		}
	}
	sameAsDisk(t, s, opts)
}
