package store

import (
	"context"
	"testing"
	"time"
)

// A store of a million entries is open at once, while it loads what it knows behind.
func TestAMillionEntriesAtStart(t *testing.T) {
	n := million()
	opts := Options{Dir: t.TempDir(), MaxSize: 1 << 40, Classes: []ClassOptions{{Name: "a", Data: true}}}
	s, err := newStore(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	for i := range n {
		at := s.x.insert(nthRef(0, i))
		s.x.at(at).setBytes(page)
		s.x.at(at).stamp = int64((i * 7919) % n) // in no order
	}
	s.mu.Unlock()
	began := time.Now()
	if err := s.writeSnapshot(snapshotInfo{generation: 1, clean: true}); err != nil {
		t.Fatal(err)
	}
	wrote := time.Since(began)

	began = time.Now()
	s, err = Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	opened := time.Since(began)
	if _, err := s.Class("a").Open(nthRef(0, n+1).key, nil); err == nil {
		t.Error("found what is not there")
	}
	answered := time.Since(began)
	<-s.loaded
	loaded := time.Since(began)
	if u := s.Usage(); u.Entries < int64(n/2) { // the scan forgets them again: they have no files
		t.Errorf("%d entries were loaded", u.Entries)
	}
	if err := s.Class("a").Put(context.Background(), nthRef(0, n+2).key, []byte("x")); err != nil {
		t.Error(err) // after a clean stop it is known what fits
	}
	t.Logf("snapshot written in %v; open after %v, first answer after %v, loaded and in order after %v", wrote, opened,
		answered, loaded)
	if opened > 2*time.Second {
		t.Errorf("it took %v to open", opened)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
