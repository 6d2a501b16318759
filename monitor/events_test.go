package monitor_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blobd/blobd/monitor"
)

// in runs a test of events in virtual time, with a reader of all of them.
func in(t *testing.T, test func(m *monitor.Monitor, read func() []string)) {
	synctest.Test(t, func(t *testing.T) {
		m := monitor.New(monitor.Options{Registries: []string{"ghcr.io"}})
		defer m.Close()
		sub := m.Subscribe(0, time.Time{})
		defer sub.Close()
		test(m, func() (got []string) {
			synctest.Wait()
			for _, e := range sub.Take(1 << 20) {
				got = append(got, brief(e))
			}
			return got
		})
	})
}

// brief is what tells events apart.
func brief(e monitor.Event) string {
	s := fmt.Sprintf("%s %s%s%s%s ×%d", e.Kind, e.Reference, e.Cache, e.Registry, e.Reason, e.Count)
	if e.Bytes > 0 {
		s += fmt.Sprint(" ", e.Bytes)
	}
	return s
}

func wantEvents(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// The first of its sort is told at once, what follows within a second together with all like it.
func TestFolding(t *testing.T) {
	in(t, func(m *monitor.Monitor, read func() []string) {
		for range 1000 {
			m.Evicted("content", "size", 10)
		}
		m.Evicted("content", "removed", 1)
		m.Evicted("block", "size", 2)
		wantEvents(t, "at once", read(), "eviction contentsize ×1 10", "eviction contentremoved ×1 1", "eviction blocksize ×1 2")
		time.Sleep(time.Second)
		wantEvents(t, "after a second", read(), "eviction contentsize ×999 9990")
		m.Evicted("content", "size", 10) // still gathered
		m.Evicted("content", "size", 10)
		wantEvents(t, "in the next second", read())
		time.Sleep(time.Second)
		wantEvents(t, "after it", read(), "eviction contentsize ×2 20")
		time.Sleep(2 * time.Second)
		wantEvents(t, "in peace", read())
		m.Evicted("content", "size", 10)
		wantEvents(t, "after peace", read(), "eviction contentsize ×1 10")
	})
}

// More artifacts than are told apart are told together.
func TestFoldingOfManyPulls(t *testing.T) {
	in(t, func(m *monitor.Monitor, read func() []string) {
		const n = 1000
		for i := range n {
			m.Pulled(fmt.Sprint("r/a", i), "cache")
		}
		time.Sleep(time.Second)
		got := read()
		if len(got) > 300 {
			t.Errorf("%d events for %d pulls", len(got), n)
		}
		sum := 0
		for _, s := range got {
			_, count, _ := strings.Cut(s, "×")
			var k int
			if _, err := fmt.Sscan(count, &k); err != nil {
				t.Fatal(err)
			}
			sum += k
		}
		if sum != n {
			t.Errorf("the events stand for %d pulls of %d", sum, n)
		}
	})
}

func TestTexts(t *testing.T) {
	in(t, func(m *monitor.Monitor, _ func() []string) {
		m.Pulled("r/a:v1@sha256:ab", "upstream")
		m.Evicted("content", "min_free", 3<<20)
		m.Corrupted("block")
		m.UpstreamFailed("ghcr.io", "UPSTREAM_5XX", "ghcr.io/a:v1: ghcr.io answered 503")
		m.CallFailed("INTERNAL", "a bug\nin two lines")
		m.Degraded(errors.New("no space left"))
		m.Degraded(nil)
		sub := m.Subscribe(100, time.Time{})
		defer sub.Close()
		var got []string
		for _, e := range sub.Take(100) {
			got = append(got, e.Text)
		}
		wantEvents(t, "texts", got,
			"from its registry",
			"an entry, 3.0 MiB, left the content cache: the disk was nearly full",
			"the block cache held something damaged: it is dropped, and fetched again when it is wanted",
			"ghcr.io/a:v1: ghcr.io answered 503",
			"a bug in two lines",
			"the disk refuses writes: no space left",
			"the disk takes writes again",
		)
		if n := len(m.Brief().Errors); n != 4 {
			t.Errorf("%d errors: %v", n, m.Brief().Errors)
		}
	})
}

// Errors that say the same are one, the newest first.
func TestErrors(t *testing.T) {
	in(t, func(m *monitor.Monitor, _ func() []string) {
		for i := range 3 * monitor.MaxErrors {
			m.UpstreamFailed("ghcr.io", "UPSTREAM_5XX", "down")
			m.CallFailed("INTERNAL", fmt.Sprint("bug ", i))
			time.Sleep(3 * time.Second)
		}
		errs := m.Brief().Errors
		if len(errs) != monitor.MaxErrors {
			t.Fatalf("%d errors", len(errs))
		}
		if !slices.IsSortedFunc(errs, func(a, b monitor.Event) int { return b.At.Compare(a.At) }) {
			t.Error("not the newest first")
		}
		i := slices.IndexFunc(errs, func(e monitor.Event) bool { return e.Kind == monitor.Upstream })
		if i < 0 || errs[i].Count != 3*monitor.MaxErrors {
			t.Errorf("the registry's failures are not one: %v", errs)
		}
	})
}

// Rare events stay though others are many.
func TestRareEventsAreKept(t *testing.T) {
	in(t, func(m *monitor.Monitor, _ func() []string) {
		m.Corrupted("content")
		for range 5000 {
			m.Evicted("content", "size", 1)
			time.Sleep(time.Second)
		}
		sub := m.Subscribe(1<<20, time.Time{}, monitor.Corrupt)
		defer sub.Close()
		if got := sub.Take(10); len(got) != 1 || got[0].Cache != "content" {
			t.Errorf("%v", got)
		}
	})
}

func TestSubscribe(t *testing.T) {
	in(t, func(m *monitor.Monitor, _ func() []string) {
		var at []time.Time
		for i := range 5 {
			m.CallFailed("INTERNAL", fmt.Sprint(i))
			m.Corrupted(fmt.Sprint("c", i))
			at = append(at, time.Now())
			time.Sleep(3 * time.Second)
		}
		for _, tt := range []struct {
			name    string
			backlog int
			after   time.Time
			kinds   []monitor.Kind
			want    int
		}{
			{"none", 0, time.Time{}, nil, 0},
			{"the last", 3, time.Time{}, nil, 3},
			{"all", 100, time.Time{}, nil, 10},
			{"of a kind", 100, time.Time{}, []monitor.Kind{monitor.Corrupt}, 5},
			{"of another", 100, time.Time{}, []monitor.Kind{monitor.Pulled}, 0},
			{"after a time", 100, at[3].Add(time.Second), nil, 2},
		} {
			sub := m.Subscribe(tt.backlog, tt.after, tt.kinds...)
			got := sub.Take(1 << 20)
			if len(got) != tt.want || !slices.IsSortedFunc(got, func(a, b monitor.Event) int { return a.At.Compare(b.At) }) {
				t.Errorf("%s: %v", tt.name, got)
			}
			sub.Close()
		}
		// No two have one time: who goes on after the last one he saw misses none and sees none twice.
		sub := m.Subscribe(1<<20, time.Time{})
		defer sub.Close()
		all := sub.Take(1 << 20)
		for i, e := range all {
			rest := m.Subscribe(1<<20, e.At)
			if n := len(rest.Take(1 << 20)); n != len(all)-i-1 {
				t.Errorf("after event %d of %d there are %d", i, len(all), n)
			}
			rest.Close()
		}
	})
}

// A reader who is too slow is told how many he missed, where they are missing; others get all.
func TestSlowReader(t *testing.T) {
	in(t, func(m *monitor.Monitor, read func() []string) {
		slow := m.Subscribe(0, time.Time{}, monitor.Corrupt)
		defer slow.Close()
		const n = 2000
		for i := range n {
			m.Corrupted(fmt.Sprint("c", i))
			if i%100 == 0 {
				read()
				time.Sleep(3 * time.Second) // what was told apart is forgotten
			}
		}
		var told, missed int64
		for len(slow.More()) > 0 {
			<-slow.More()
			for _, e := range slow.Take(100) {
				if e.Kind == monitor.Missed {
					missed += e.Count
				} else {
					told += e.Count
				}
			}
		}
		if told+missed != n || missed == 0 || told < 500 {
			t.Errorf("told %d, missed %d of %d", told, missed, n)
		}
		m.Corrupted("after")
		if got := slow.Take(100); len(got) != 1 || got[0].Cache != "after" {
			t.Errorf("afterwards: %v", got)
		}
	})
}

func TestMissedComesBeforeWhatFollows(t *testing.T) {
	in(t, func(m *monitor.Monitor, _ func() []string) {
		sub := m.Subscribe(0, time.Time{})
		defer sub.Close()
		for i := range 600 {
			if i%200 == 0 {
				time.Sleep(3 * time.Second)
			}
			m.Corrupted(fmt.Sprint("c", i))
		}
		sub.Take(1)
		m.Corrupted("late") // for it there is room, and none to say first what is missing
		sub.Take(100)
		m.Corrupted("new")
		all := sub.Take(1 << 20)
		last := all[len(all)-2:]
		if last[0].Kind != monitor.Missed || last[0].Count != 600-512+1 || last[1].Cache != "new" {
			t.Errorf("the last two: %v", last)
		}
	})
}

// Whoever left is told nothing any more, and a closed monitor runs nothing.
func TestClose(t *testing.T) {
	in(t, func(m *monitor.Monitor, read func() []string) {
		sub := m.Subscribe(0, time.Time{})
		sub.Close()
		m.Corrupted("ref")
		if got := sub.Take(10); len(got) != 0 {
			t.Errorf("after the end: %v", got)
		}
		m.Close()
		m.Close()
		m.Corrupted("ref")
		time.Sleep(time.Hour)
		wantEvents(t, "after the monitor's end", read(), "corruption ref ×1")
	})
}
