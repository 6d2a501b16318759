package monitor

import (
	"context"
	"slices"
	"sync"
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
	mu    sync.Mutex // guards what follows; held while a list is made
	until time.Time  // when it is to be made anew
	list  []Artifact
	more  int
}

func (a *artifactList) get(
	ctx context.Context, from func(ctx context.Context, most int) (list []Artifact, more int),
) (list []Artifact, more int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	began := time.Now() // whose pace does not depend on the clock
	if began.Before(a.until) || ctx.Err() != nil {
		return slices.Clone(a.list), a.more
	}
	if list, more = from(ctx, MaxArtifacts); ctx.Err() != nil {
		return list, more
	}
	a.list, a.more = slices.Clone(list), more
	a.until = time.Now().Add(max(artifactsFor, artifactsShare*time.Since(began)))
	return list, more
}
