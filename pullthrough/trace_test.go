package pullthrough_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

// book is a Tracer that writes down what it hears. Contexts have names: a caller's is its own, a flight's is its kind.
type book struct {
	mu     sync.Mutex // guards all below
	began  []string   // "caller → kind what"
	joined []string   // "caller → kind"
	landed map[string]error
}

type nameKey struct{}

func called(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, nameKey{}, name)
}

func (b *book) Flight(base, caller context.Context, kind, what string) (context.Context, func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.began = append(b.began, fmt.Sprint(caller.Value(nameKey{}), " → ", kind, " ", what))
	return called(base, kind), func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, twice := b.landed[kind+" "+what]; twice {
			err = errors.New("it landed twice")
		}
		b.landed[kind+" "+what] = err
	}
}

func (b *book) Joined(caller, flight context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.joined = append(b.joined, fmt.Sprint(caller.Value(nameKey{}), " → ", flight.Value(nameKey{})))
}

// flights are those that began since the last call, sorted; all of them have landed as they should.
func (b *book) flights(t *testing.T, lands func(error) bool) (all []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for what, err := range b.landed {
		if !lands(err) {
			t.Errorf("%s landed with %v", what, err)
		}
	}
	if len(b.landed) != len(b.began) {
		t.Errorf("%d flights began, %d landed", len(b.began), len(b.landed))
	}
	all, b.began, b.landed = b.began, nil, map[string]error{}
	slices.Sort(all)
	return all
}

func well(err error) bool { return err == nil }

// A tracer hears of each flight once: who began it, what it is for, how it ended, and who joined it; flights begin others
// in their own name.
func TestTracer(t *testing.T) {
	traced := &book{landed: map[string]error{}}
	b := start(t)
	b.Trace(traced)
	files := []archivetest.File{{Path: "large", Data: random(1, 300_000)}, {Path: "small", Data: random(2, 1000)}}
	manifest := b.up.push("v1", files, archivetest.Options{Zstd: true})
	expect := func(when string, lands func(error) bool, want ...string) {
		t.Helper()
		b.rest()
		slices.Sort(want)
		if got := traced.flights(t, lands); !slices.Equal(got, want) {
			t.Errorf("%s: began\n\t%q, want\n\t%q", when, got, want)
		}
	}

	a, err := b.Pull(called(t.Context(), "puller"), "", repo+":v1", pullthrough.Options{})
	if err != nil {
		t.Fatal(err)
	}
	expect("a pull", well, "puller → tag "+repo+":v1", fmt.Sprintf("puller → manifest %s@%s", repo, manifest),
		fmt.Sprintf("puller → index %s@%s", repo, manifest))

	entry, err := a.Tree.Lookup("large")
	if err != nil {
		t.Fatal(err)
	}
	blob := rangeOf(entry).Blob.Digest
	open := b.up.shut()
	var readers sync.WaitGroup
	read := func(name, path string) {
		readers.Go(func() {
			if _, _, err := b.read(called(t.Context(), name), a, path, 0, -1, pullthrough.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	read("first", "large")
	b.up.held.await("held", 1)
	read("second", "large")
	b.ledger.await("joins", 1)
	open()
	readers.Wait()
	expect("two readers", well, fmt.Sprintf("first → content %s", digest.FromBytes(files[0].Data)), "content → blocks "+blob.String())
	if want := []string{"second → content"}; !slices.Equal(traced.joined, want) {
		t.Errorf("joined: %q, want %q", traced.joined, want)
	}

	read("warm", "large")
	readers.Wait()
	expect("a warm read", well)

	denied := fault.New(fault.UpstreamForbidden, "no")
	b.up.set(func(u *upstream) { u.fail = func(string) error { return denied } })
	if _, _, err := b.read(called(t.Context(), "refused"), a, "small", 0, -1, pullthrough.Options{NoCache: true}); !errors.Is(err, fault.UpstreamForbidden) {
		t.Errorf("read: %v", err)
	}
	expect("a refused read", func(err error) bool { return errors.Is(err, fault.UpstreamForbidden) },
		fmt.Sprintf("refused → content %s", digest.FromBytes(files[1].Data)), "content → blocks "+blob.String())
}
