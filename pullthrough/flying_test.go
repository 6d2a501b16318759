package pullthrough_test

import (
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/pullthrough"
)

// Who looks sees each flight once: what it is for, since when, and how many share it; and none that has landed.
func TestFlights(t *testing.T) {
	b := start(t)
	files := []archivetest.File{{Path: "large", Data: random(1, 300_000)}, {Path: "small", Data: random(2, 1000)}}
	b.up.push("v1", files, archivetest.Options{Zstd: true})
	a := b.pull(repo+":v1", pullthrough.Options{})
	since := b.clock.now()
	open := b.up.shut()
	var callers sync.WaitGroup
	reads := func(path string, n int) {
		for range n {
			callers.Go(func() {
				if _, _, err := b.read(t.Context(), a, path, 0, -1, pullthrough.Options{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	reads("large", 3)
	b.ledger.await("joins", 2)
	b.up.held.await("held", 1)
	b.clock.advance(time.Second)
	callers.Go(func() {
		age := time.Duration(0)
		if _, err := b.Pull(t.Context(), "", repo+":v1", pullthrough.Options{MaxAge: &age}); err != nil {
			t.Error(err)
		}
	})
	b.up.held.await("held", 2)

	large, err := a.Tree.Lookup("large")
	if err != nil {
		t.Fatal(err)
	}
	want := []pullthrough.Flight{
		{Kind: "blocks", What: rangeOf(large).Blob.Digest.String(), Since: since, Callers: 1},
		{Kind: "content", What: digest.FromBytes(files[0].Data).String(), Since: since, Callers: 3},
		{Kind: "tag", What: repo + ":v1", Since: since.Add(time.Second), Callers: 1},
	}
	got := b.Flights()
	if len(got) != len(want) {
		t.Fatalf("%d flights: %v", len(got), got)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("flight %d is %v, want %v", i, got[i], want[i])
		}
	}
	if n := b.Status().Flights; n != 3 {
		t.Errorf("status counts %d", n)
	}
	open()
	callers.Wait()
	b.ledger.await("flights", 0)
	b.Close(t.Context()) // the last of them has told so by then
	if left := b.Flights(); len(left) != 0 {
		t.Errorf("landed, and listed: %v", left)
	}
}
