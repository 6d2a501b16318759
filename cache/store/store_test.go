package store_test

import (
	"testing"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a store that is closed at the end of the test, and may evict.
func open(t *testing.T, opts store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.StartEviction()
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) { storetest.Run(t, open) }
