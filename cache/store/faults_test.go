package store_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
)

func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		sticky bool
	}{
		{syscall.ENOSPC, false}, {syscall.EIO, false}, {syscall.EIO, true},
	} {
		name := tt.err.Error()
		if tt.sticky {
			name += " from then on"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.FaultWalk(t, tt.err, tt.sticky)
		})
	}
}

// A put makes the same calls however many entries there are, and into a full store as many removals as it needs room.
func TestPutCostsTheSame(t *testing.T) {
	t.Parallel()
	opts := storetest.Options(t, 1<<30)
	disk := storetest.WithoutSync()
	stopped := storetest.NewClock().Now()
	opts.FS, opts.Now = disk, func() time.Time { return stopped }
	s := open(t, opts)
	<-s.Scanned()
	c := s.Class("data")
	next := 0
	fill := func(upTo int) {
		for ; next < upTo; next++ {
			if err := c.Put(t.Context(), store.DerivedKey("entry", strconv.Itoa(next)), []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	const few, many, puts = 1_000, 20_000, 200
	calls := func(upTo int) (perPut float64) {
		fill(upTo)
		before := total(disk.Calls())
		fill(upTo + puts)
		return float64(total(disk.Calls())-before) / puts
	}
	atFew, atMany := calls(few), calls(many)
	s.SetLimits(s.Usage().Bytes, 0, nil)
	fill(many + 3*puts)
	before := total(disk.Calls())
	fill(next + 3_000) // some rounds of the evictor
	full := float64(total(disk.Calls())-before) / 3_000
	if u := s.Usage(); u.Bytes > u.Limit || u.Entries > many {
		t.Errorf("it is not full: %+v", u)
	}
	t.Logf("calls for a put: %.1f beside %d entries, %.1f beside %d, %.1f when full", atFew, few, atMany, many, full)
	if atFew > 12 || atMany > atFew+0.5 || full > 2*atFew+4 {
		t.Error("too many, or more with more entries")
	}
}

func total(calls map[string]int) (n int) {
	for _, c := range calls {
		n += c
	}
	return n
}
