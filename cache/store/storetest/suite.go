package storetest

import (
	"testing"

	"github.com/blobd/blobd/cache/store"
)

// Opener opens the store under test. It starts eviction and registers the store to be closed at the end of the test.
type Opener func(t *testing.T, opts store.Options) *store.Store

// Run runs the conformance suite on the stores that open returns.
func Run(t *testing.T, open Opener) {
	for _, group := range []struct {
		name string
		run  func(*testing.T, Opener)
	}{
		{"Objects", testObjects},
		{"Writer", testWriter},
		{"BadObjects", testBadObjects},
		{"Partials", testPartials},
		{"BadPartials", testBadPartials},
		{"InUse", testInUse},
		{"Eviction", testEviction},
		{"Held", testHeld},
		{"Budget", testBudget},
		{"Restart", testRestart},
		{"BadHints", testBadHints},
		{"Prune", testPrune},
		{"Clock", testClock},
		{"Disk", testDisk},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			group.run(t, open)
		})
	}
}

// Options returns options for a small store with the classes that the suite uses: "small", which is synced, and "data"
// and "blocks", which are bulk data.
func Options(t testing.TB, maxSize int64) store.Options {
	return store.Options{
		Dir: t.TempDir(), MaxSize: maxSize, Now: NewClock().Now, Observer: &Observer{}, FS: WithoutSync(),
		Classes: []store.ClassOptions{
			{Name: "small", Cap: 1 << 20, Sync: true},
			{Name: "data", Data: true},
			{Name: "blocks", Data: true},
		},
	}
}

func put(t *testing.T, c *store.Class, data []byte) store.Key {
	t.Helper()
	k := KeyFor(data)
	if err := c.Put(t.Context(), k, data); err != nil {
		t.Fatalf("put: %v", err)
	}
	return k
}

// has reports whether an entry can be read, which moves it to the front.
func has(t *testing.T, c *store.Class, k store.Key) bool {
	t.Helper()
	o, err := c.Open(k, CheckSum(k))
	if err != nil {
		return false
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	return true
}

func closeStore(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}
