package store_test

import (
	"io"
	"testing"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
)

// TestEveryCallFails makes some ten thousand stores, in memory where the system has a place for files there. With the
// race detector, for which they are all alike, it leaves most of them out: make test runs it without that too.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	faults := append(diskFaults(),
		storetest.Fault{Name: "short write with an error", Err: io.ErrShortWrite, Match: storetest.Writes},
		storetest.Fault{Name: "short write without an error", Match: storetest.Writes},
	)
	if store.RaceDetector {
		faults = faults[len(faults)-2:]
	}
	for _, f := range faults {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			storetest.FaultWalk(t, f)
		})
	}
}
