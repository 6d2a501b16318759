package storetest

import (
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blobd/blobd/cache/store"
)

// scene is a part of a store's life that FaultWalk plays. Its errors are ignored: it is about what must not happen
// nevertheless.
type scene struct {
	name    string
	maxSize int64
	prepare func(t *testing.T, w *walk, opts store.Options) // makes the folder that act begins with, without faults
	act     func(t *testing.T, w *walk, s *store.Store)
}

func scenes() []scene {
	return []scene{
		{name: "put, replace, fill, remove", maxSize: 16 << 20, act: day},
		{name: "evict", maxSize: 1 << 20, act: crowd},
		{name: "prune and clear", maxSize: 16 << 20, prepare: stock, act: cleanUp},
		{name: "journal and snapshot", maxSize: 512 * kib, prepare: stockPartials, act: keepBooks},
		{name: "start after a crash", maxSize: 16 << 20, prepare: crash, act: readAll},
	}
}

// daily is what is put: made once, since hashing it takes longer than putting it.
type daily struct {
	class string
	key   store.Key
	data  []byte
}

func dailies() []daily {
	a, b := Data(1, 1000), Data(2, store.BlockSize+7)
	return []daily{{"small", KeyFor(a), a}, {"data", KeyFor(b), b}}
}

func day(t *testing.T, w *walk, s *store.Store) {
	for round := range 2 {
		for _, d := range w.things {
			c := s.Class(d.class)
			_ = c.Put(t.Context(), d.key, d.data)
			w.look(t, s, d)
			if wr, err := c.Create(t.Context(), store.DerivedKey("given up"), -1); err == nil {
				_, _ = wr.Write(d.data)
				_ = wr.Close()
			}
			w.fillHalf(t, s, d, round)
		}
	}
	gone := w.things[0].key
	_, _ = s.Class("small").Remove(gone, store.ReasonRemoved)
	_, _ = s.Class("blocks").Remove(gone, store.ReasonCorrupt)
	<-s.Scanned()
}

// fillHalf fills every other block of a partial.
func (w *walk) fillHalf(t *testing.T, s *store.Store, d daily, round int) {
	p, err := s.Class("blocks").OpenPartial(d.key, int64(len(d.data)), true)
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
	w.lookAtBlocks(t, p, d.data)
	p.Drop(0, 1)
}

// crowd puts more than fits, while something is being read.
func crowd(t *testing.T, w *walk, s *store.Store) {
	<-s.Scanned()
	d := w.things[1]
	_ = s.Class("data").Put(t.Context(), d.key, d.data)
	if o, err := s.Class("data").Open(d.key, nil); err == nil {
		defer o.Close()
	}
	w.fillHalf(t, s, d, 0)
	for i := range 8 {
		_ = s.Class("data").Put(t.Context(), store.DerivedKey("crowd", string(rune('a'+i))), make([]byte, 125*kib))
		synctest.Wait()
	}
	w.look(t, s, d)
}

// stock leaves a store with some of everything, cleanly closed.
func stock(t *testing.T, w *walk, opts store.Options) {
	s, err := store.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range w.things {
		put(t, s.Class(d.class), d.data)
		fill(t, openPartial(t, s.Class("blocks"), d.key, len(d.data)), d.data, 0)
	}
	for i := range 3 {
		put(t, s.Class("data"), Data(uint64(100+i), 1000))
	}
	<-s.Scanned()
	closeStore(t, s)
}

func cleanUp(t *testing.T, w *walk, s *store.Store) {
	s.Class("data").SetPinned(slices.Values([]store.Key{w.things[1].key}), true)
	o := store.PruneOptions{Target: 1, DryRun: true}
	_, _ = s.Prune(t.Context(), o)
	o = store.PruneOptions{Target: s.Usage().Bytes - 8*kib}
	_, _ = s.Prune(t.Context(), o)
	w.look(t, s, w.things[0])
	time.Sleep(time.Second)
	_, _ = s.Prune(t.Context(), store.PruneOptions{UnusedFor: time.Millisecond})
	_, _ = s.Clear(t.Context(), nil)
	w.look(t, s, w.things[1])
}

// partials is how many partials keepBooks changes at a time: some rounds of that fill the journal of its small store.
const partials = 24

func stockPartials(t *testing.T, _ *walk, opts store.Options) {
	s, err := store.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range partials {
		openPartial(t, s.Class("blocks"), sameShard(i), 100).Close()
	}
	<-s.Scanned()
	closeStore(t, s)
}

// sameShard returns keys whose files share a folder.
func sameShard(i int) store.Key { return store.Key{Kind: store.Derived, Sum: [32]byte{0, byte(i)}} }

// keepBooks lets the journal grow until a snapshot takes its place.
func keepBooks(t *testing.T, _ *walk, s *store.Store) {
	<-s.Scanned()
	var open []*store.Partial
	for i := range partials {
		if p, err := s.Class("blocks").OpenPartial(sameShard(i), 100, false); err == nil {
			defer p.Close()
			open = append(open, p)
		}
	}
	for range 6 {
		for _, p := range open {
			p.Demote()
		}
		time.Sleep(store.FlushEvery + time.Second)
	}
}

// crash leaves a store as it is when its process is killed: with journal, snapshot and temporary files.
func crash(t *testing.T, w *walk, opts store.Options) {
	running := opts
	running.Dir = fastDir(t)
	stock(t, w, running)
	s, err := store.Open(running)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	for i := range 3 {
		put(t, s.Class("data"), Data(uint64(200+i), 1000))
	}
	time.Sleep(store.FlushEvery + time.Second)
	wr, err := s.Class("small").Create(t.Context(), store.DerivedKey("begun"), 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer wr.Close()
	if _, err := wr.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(opts.Dir, os.DirFS(running.Dir)); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, w *walk, s *store.Store) {
	w.look(t, s, w.things[0]) // maybe before the scan has found it
	<-s.Scanned()
	for _, d := range w.things {
		w.look(t, s, d)
	}
}
