package monitor

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

const (
	// artifactsFor is how old a list of artifacts may be: who looks each second sees it move now and then.
	artifactsFor = 3 * time.Second
	// artifactsShare is how many times longer than its making a list stands at least: making one reads the index of each
	// artifact that is not in memory, and however many look that takes a twentieth of the time.
	artifactsShare = 20
)

// artifactList is the list that was made last. It is made for one who looks, and shown to all.
type artifactList struct {
	one   chan struct{} // of capacity 1: full while somebody makes a list, and holds until
	until time.Time     // when it is to be made anew
	known atomic.Pointer[artifacts]
}

type artifacts struct {
	list []Artifact
	more int
}

func newArtifactList() *artifactList {
	a := &artifactList{one: make(chan struct{}, 1)}
	a.known.Store(new(artifacts))
	return a
}

// get returns the list, made anew when it is time to. Who has no time for that gets the one before.
func (a *artifactList) get(
	ctx context.Context, from func(ctx context.Context, most int) (list []Artifact, more int),
) (list []Artifact, more int) {
	select {
	case a.one <- struct{}{}:
		a.renew(ctx, from)
	case <-ctx.Done():
	}
	known := a.known.Load()
	return slices.Clone(known.list), known.more
}

// renew makes the list anew, when it is time to. A part is kept only where nothing better is known: whoever comes next
// would have to begin from the start, too. The caller has filled one.
func (a *artifactList) renew(ctx context.Context, from func(ctx context.Context, most int) (list []Artifact, more int)) {
	defer func() { <-a.one }()
	began := time.Now() // whose pace does not depend on the clock
	if began.Before(a.until) || ctx.Err() != nil {
		return
	}
	list, more := from(ctx, MaxArtifacts)
	if ctx.Err() == nil || len(list) > len(a.known.Load().list) {
		a.known.Store(&artifacts{slices.Clone(list), more})
	}
	a.until = time.Now().Add(max(artifactsFor, artifactsShare*time.Since(began)))
}
