package storetest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store"
)

const year = 365 * 24 * time.Hour

// testClock sets the clock a year ahead and back: what was read last stays whatever the clock says, nothing goes that need
// not, and nobody waits for a time to come.
func testClock(t *testing.T, open Opener) {
	// filled returns a store of 4 MiB with 40 objects, and its clock.
	filled := func(t *testing.T) (store.Options, *Clock, *store.Store, []store.Key) {
		opts, clock := Options(t, 4<<20), NewClock()
		opts.Now = clock.Now
		s := open(t, opts)
		var keys []store.Key
		for i := range 40 {
			keys = append(keys, put(t, s.Class("data"), Data(uint64(i), 60*kib)))
		}
		return opts, clock, s, keys
	}
	for name, jumps := range map[string][]time.Duration{
		"a year back": {-year}, "a year ahead": {year}, "ahead and back": {year, -year}, "back and ahead": {-year, year},
	} {
		for _, restart := range []bool{false, true} {
			how := name
			if restart {
				how += ", then a restart"
			}
			t.Run(how, func(t *testing.T) {
				opts, clock, s, keys := filled(t)
				for _, jump := range jumps {
					clock.Add(jump)
					for i := range 20 {
						if !has(t, s.Class("data"), keys[2*i]) {
							t.Fatal("an object is gone too early")
						}
					}
				}
				if restart {
					closeStore(t, s)
					s = open(t, opts)
				}
				var hot, cold []store.Key
				for i := range 20 {
					hot, cold = append(hot, keys[2*i]), append(cold, keys[2*i+1])
				}
				checkOrder(t, s, hot, cold)
			})
		}
	}
	t.Run("set back, between classes", func(t *testing.T) {
		_, clock, s, _ := filled(t)
		clock.Add(-year)
		data := Data(77, 60*kib)
		p := openPartial(t, s.Class("blocks"), KeyFor(data), len(data))
		fill(t, p, data, 0)
		p.Close()
		for i := range 40 {
			put(t, s.Class("data"), Data(uint64(500+i), 60*kib))
		}
		if !s.Class("blocks").Contains(KeyFor(data)) {
			t.Error("what was written last went before what was not read since")
		}
	})
	t.Run("a file from the future", func(t *testing.T) {
		opts, clock, s, keys := filled(t)
		closeStore(t, s)
		for _, name := range []string{"journal", "snapshot"} {
			_ = os.Remove(filepath.Join(opts.Dir, name))
		}
		clock.Add(-2 * year) // all files were written later than it is
		s = open(t, opts)
		<-s.Scanned()
		hot := readAllOf(t, s, keys[:20])
		closeStore(t, s)
		checkOrder(t, open(t, opts), hot, keys[20:])
	})
	t.Run("prune", func(t *testing.T) {
		_, clock, s, keys := filled(t)
		<-s.Scanned()
		unused := store.PruneOptions{UnusedFor: time.Hour, DryRun: true}
		for _, step := range []struct {
			jump time.Duration
			want int64
		}{{0, 0}, {-year, 0}, {year, 0}, {2 * time.Hour, 40}} {
			clock.Add(step.jump)
			if r, err := s.Prune(t.Context(), unused); err != nil || r.FreedEntries != step.want {
				t.Errorf("after %v: %d entries are unused for an hour, want %d: %v", step.jump, r.FreedEntries, step.want, err)
			}
		}
		readAllOf(t, s, keys[:10])
		clock.Add(-year)
		if r, err := s.Prune(t.Context(), unused); err != nil || r.FreedEntries != 0 {
			t.Errorf("set back: %d entries are unused for an hour: %v", r.FreedEntries, err)
		}
	})
	t.Run("lease", func(t *testing.T) {
		_, clock, s, keys := filled(t)
		c := s.Class("data")
		for _, k := range keys {
			c.Lease(k, "reader", clock.Now().Add(time.Hour))
		}
		clock.Add(-year)
		flood(t, c, 1000, 2, nil)
		if n := contained(c, keys); n != 40 {
			t.Errorf("%d of 40 leased objects are left", n)
		}
		clock.Add(2 * year)
		if err := c.Put(t.Context(), store.DerivedKey("after"), Data(1, 60*kib)); err != nil {
			t.Errorf("no lease lasts, and there is no room: %v", err)
		}
		if n := contained(c, keys); n < 35 {
			t.Errorf("for one object all but %d of 40 went", n)
		}
	})
	t.Run("again and again", func(t *testing.T) {
		opts, clock, s, _ := filled(t)
		for i := range 60 {
			jump := []time.Duration{year, -year, -year, year}[i%4]
			clock.Add(jump)
			data := Data(uint64(3000+i), 60*kib)
			k := put(t, s.Class("data"), data)
			if err := loadPartial(t.Context(), s.Class("blocks"), data); err != nil && !errors.Is(err, store.ErrNoSpace) {
				t.Fatal(err)
			}
			if !has(t, s.Class("data"), k) {
				t.Fatalf("step %d: what was just put is gone", i)
			}
			if u := s.Usage(); u.Bytes < opts.MaxSize*3/4-200*kib && i > 20 {
				t.Fatalf("step %d: the store was emptied to %d bytes", i, u.Bytes)
			}
		}
		SameAsDisk(t, s, opts)
	})
}

func readAllOf(t *testing.T, s *store.Store, keys []store.Key) []store.Key {
	t.Helper()
	for _, k := range keys {
		if !has(t, s.Class("data"), k) {
			t.Fatal("an object is gone too early")
		}
	}
	return keys
}

func contained(c *store.Class, keys []store.Key) (n int) {
	for _, k := range keys {
		if c.Contains(k) {
			n++
		}
	}
	return n
}
