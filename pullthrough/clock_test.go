package pullthrough_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

const year = 365 * 24 * time.Hour

// jumps runs test with the clock a year ahead and a year behind, each as it happens and with a restart in between.
func jumps(t *testing.T, test func(t *testing.T, jump time.Duration, after func(*bench))) {
	for _, jump := range []time.Duration{year, -year} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%+.0f year restart %v", float64(jump/year), restart), func(t *testing.T) {
				test(t, jump, func(b *bench) {
					if restart {
						b.restart()
					}
				})
			})
		}
	}
}

func down(string) error { return fault.New(fault.Upstream5xx, "the registry is down") }

// A tag checked at a time that is not now's past is asked for again, also once the clock is right again.
func TestClockJumpTagTTL(t *testing.T) {
	jumps(t, func(t *testing.T, jump time.Duration, after func(*bench)) {
		b := start(t)
		hour := time.Hour
		version := 0
		moves := func(what string, o pullthrough.Options, asks int) {
			t.Helper()
			version++
			want := b.up.push("latest", oneFile(fmt.Sprint(version)), archivetest.Options{})
			after(b)
			b.up.counts()
			if a := b.pull(repo, o); asks > 0 && (a.Digest != want || a.Stale || a.Age != 0) {
				t.Errorf("%s: an old tag, %v old, stale %v", what, a.Age, a.Stale)
			}
			if got := b.up.counts()["tag"]; got != asks {
				t.Errorf("%s: %d requests for the tag, want %d", what, got, asks)
			}
		}
		moves("first", pullthrough.Options{}, 1)
		b.clock.advance(jump)
		moves("jumped", pullthrough.Options{MaxAge: &hour}, 1)
		moves("jumped, a little later", pullthrough.Options{}, 0)
		b.clock.advance(-jump)
		moves("set right", pullthrough.Options{}, 1)
		b.clock.advance(16 * time.Minute)
		moves("TTL over", pullthrough.Options{}, 1)
	})
}

// While the registry is down a tag stands in only if its age is known and allowed; it does again when the clock is right.
func TestClockJumpMaxStale(t *testing.T) {
	jumps(t, func(t *testing.T, jump time.Duration, after func(*bench)) {
		b := start(t)
		want := b.up.push("latest", oneFile("1"), archivetest.Options{})
		b.pull(repo, pullthrough.Options{})
		b.clock.advance(20 * time.Minute)
		b.up.set(func(u *upstream) { u.fail = down })
		stale := func() {
			t.Helper()
			if a := b.pull(repo, pullthrough.Options{}); !a.Stale || a.Digest != want || a.Age < 0 || a.Age > 24*time.Hour {
				t.Errorf("%s, stale %v, %v old", a.Digest, a.Stale, a.Age)
			}
		}
		stale()
		b.clock.advance(jump)
		after(b)
		if a, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{}); !errors.Is(err, fault.Upstream5xx) {
			t.Fatalf("a tag of unknown age: %+v, %v", a, err)
		}
		b.clock.advance(-jump)
		after(b)
		stale()
		b.clock.advance(24 * time.Hour)
		if _, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{}); !errors.Is(err, fault.Upstream5xx) {
			t.Fatalf("past max_stale: %v", err)
		}
	})
}

// "Not found" is not remembered beyond its ten seconds, whichever way the clock goes.
func TestClockJumpNegative(t *testing.T) {
	jumps(t, func(t *testing.T, jump time.Duration, after func(*bench)) {
		b := start(t)
		b.up.push("other", oneFile("1"), archivetest.Options{})
		missing := func(asks int) {
			t.Helper()
			b.up.counts()
			if _, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{}); !errors.Is(err, fault.ManifestUnknown) {
				t.Fatal(err)
			}
			if got := b.up.counts()["tag"]; got != asks {
				t.Errorf("%d requests, want %d", got, asks)
			}
		}
		missing(1)
		missing(0)
		b.clock.advance(jump)
		after(b)
		missing(1)
		missing(0)
		b.clock.advance(-jump)
		after(b)
		want := b.up.push("latest", oneFile("2"), archivetest.Options{})
		if a := b.pull(repo, pullthrough.Options{}); a.Digest != want {
			t.Errorf("%s", a.Digest)
		}
	})
}

// A grant holds for its day and no longer: one given under a clock that was ahead does not last until that time comes.
func TestClockJumpGrant(t *testing.T) {
	jumps(t, func(t *testing.T, jump time.Duration, after func(*bench)) {
		b := start(t)
		d := b.up.push("latest", oneFile("1"), archivetest.Options{})
		b.mustRead(b.pull(repo, pullthrough.Options{}), "a.txt", []byte("1"), pullthrough.Options{})
		byDigest := func(what string, stats int) {
			t.Helper()
			after(b)
			b.up.counts()
			b.mustRead(b.pull(repo+"@"+d.String(), pullthrough.Options{}), "a.txt", []byte("1"), pullthrough.Options{})
			b.wants(what, map[string]int{"stat": stats})
		}
		byDigest("granted", 0)
		b.clock.advance(jump)
		byDigest("jumped", 1)
		byDigest("jumped, a little later", 0)
		b.clock.advance(-jump)
		byDigest("set right", 1)
		b.clock.advance(23 * time.Hour)
		byDigest("within the day", 0)
		b.clock.advance(2 * time.Hour)
		b.up.set(func(u *upstream) {
			u.fail = func(string) error { return fault.New(fault.UpstreamForbidden, "no longer") }
		})
		after(b)
		if _, err := b.Pull(t.Context(), "uid:1", repo+"@"+d.String(), pullthrough.Options{}); !errors.Is(err, fault.UpstreamForbidden) {
			t.Errorf("after its day: %v", err)
		}
	})
}

// A grant without end has none under any clock.
func TestClockJumpEndlessGrant(t *testing.T) {
	jumps(t, func(t *testing.T, jump time.Duration, after func(*bench)) {
		b := start(t, func(b *bench) { b.policy.Grant = 0 })
		d := b.up.push("latest", oneFile("1"), archivetest.Options{})
		b.pull(repo, pullthrough.Options{})
		b.up.counts()
		for range 2 {
			b.clock.advance(jump)
			after(b)
			b.pull(repo+"@"+d.String(), pullthrough.Options{})
		}
		b.wants("for ever", nil)
	})
}

// What is under way when the clock jumps goes on, and what comes of it is not believed for longer than else.
func TestClockJumpMidway(t *testing.T) {
	jumps(t, func(t *testing.T, jump time.Duration, after func(*bench)) {
		b := start(t)
		data := random(9, 3<<20)
		b.up.push("latest", []archivetest.File{{Path: "f", Data: data}}, archivetest.Options{})

		pulled := make(chan error, 1)
		open := b.up.shut()
		go func() {
			_, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{})
			pulled <- err
		}()
		b.up.held.await("held", 1)
		b.clock.advance(jump)
		open()
		if err := <-pulled; err != nil {
			t.Fatal(err)
		}
		a := b.pull(repo, pullthrough.Options{})

		st, err := b.Open(t.Context(), a, "f", 0, -1, pullthrough.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		half := make([]byte, len(data)/2)
		if _, err := io.ReadFull(st, half); err != nil {
			t.Fatal(err)
		}
		b.clock.advance(-jump)
		b.mustRead(a, "f", data, pullthrough.Options{}) // who joins, or reads what the other left
		rest, err := io.ReadAll(st)
		if err != nil || !bytes.Equal(append(half, rest...), data) {
			t.Fatalf("%d bytes, %v", len(half)+len(rest), err)
		}
		st.Close()
		after(b)
		b.up.counts()
		b.pull(repo, pullthrough.Options{})
		b.wants("checked under another clock", map[string]int{"tag": 1})
		b.clock.advance(14 * time.Minute)
		b.pull(repo, pullthrough.Options{})
		b.wants("within the TTL", nil)
	})
}

// A clock that jumps evicts nothing, and what is cached stays readable without its registry.
func TestClockJumpEvictsNothing(t *testing.T) {
	jumps(t, func(t *testing.T, jump time.Duration, after func(*bench)) {
		b := start(t)
		var files []archivetest.File
		for n := range 40 {
			files = append(files, archivetest.File{Path: fmt.Sprintf("f%02d", n), Data: random(uint64(n), 100_000)})
		}
		b.up.push("latest", files, archivetest.Options{})
		a := b.pull(repo, pullthrough.Options{})
		all := func() {
			t.Helper()
			for _, f := range files {
				b.mustRead(a, f.Path, f.Data, pullthrough.Options{})
			}
		}
		all()
		for _, d := range []time.Duration{jump, -jump, -jump, jump} {
			b.clock.advance(d)
			after(b)
			b.up.counts()
			all()
			b.wants("warm", nil)
		}
		b.ledger.mu.Lock()
		defer b.ledger.mu.Unlock()
		for key, n := range b.ledger.counts {
			if strings.HasPrefix(key, "evicted") {
				t.Errorf("%s: %d", key, n)
			}
		}
	})
}
