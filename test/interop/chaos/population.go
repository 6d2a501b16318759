package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/oci"
)

var (
	repositories = [...]string{"acme/app", "acme/site", "acme/tools", "other/data"}
	// tags of each repository. The first is for ever the same, and its TTL is without end; the second asks each time; all
	// but the first move.
	tags = [...]string{"fixed", "always", "latest", "edge", "next"}
)

const (
	fixedTag  = 0
	alwaysTag = 1
	lazyTags  = 3 // those from here on nobody asks for freshly: their TTL alone decides when the registry is asked
	// stagingTag is what new archives are pushed under; nobody reads it.
	stagingTag = "staging"
	// moveEvery is how long a tag stays what it is, on average, divided by the number of tags.
	moveEvery = 400 * time.Millisecond
	// rollbacks: one move in so many goes back to an older archive of the repository.
	rollbacks = 4
)

// population is what the registry holds. Its methods may be called from several goroutines, but for fill and move.
type population struct {
	oracle   *oracle
	blame    *blame
	events   *events
	pushHost string
	rng      *rand.Rand
	author   *author

	mu    sync.Mutex // guards what follows
	later string     // repository:tag that does not exist yet, and will
	nth   int
}

func newPopulation(o *oracle, b *blame, e *events, pushHost string, rng *rand.Rand) *population {
	return &population{oracle: o, blame: b, events: e, pushHost: pushHost, rng: rng, author: newAuthor(rng), later: "acme/app:later-0"}
}

// fill pushes an archive for each tag.
func (p *population) fill(ctx context.Context) error {
	for _, repository := range repositories {
		for _, tag := range tags {
			if err := p.push(ctx, repository, tag); err != nil {
				return err
			}
		}
	}
	return nil
}

// unborn is a tag that does not exist yet.
func (p *population) unborn() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.later
}

// move has some tag name something else, or be born.
func (p *population) move(ctx context.Context) error {
	repository := repositories[p.rng.IntN(len(repositories))]
	tag := tags[1+p.rng.IntN(len(tags)-1)]
	switch n := p.rng.IntN(30); {
	case n == 0:
		return p.bear(ctx)
	case n%rollbacks == 0:
		old := p.oracle.some(repository, func(all []*archive) *archive { return all[p.rng.IntN(len(all))] })
		return p.tag(ctx, old, tag)
	}
	return p.push(ctx, repository, tag)
}

// bear pushes what is to come, and promises another.
func (p *population) bear(ctx context.Context) error {
	repository, tag, _ := strings.Cut(p.unborn(), ":")
	if err := p.push(ctx, repository, tag); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nth++
	p.later = fmt.Sprintf("%s:later-%d", repositories[p.nth%len(repositories)], p.nth)
	return nil
}

// push makes a new archive, and has the tag name it.
func (p *population) push(ctx context.Context, repository, tag string) error {
	a, index, data := p.author.write(repository)
	p.oracle.knows(a)
	d, err := archivetest.Push(ctx, p.pushHost, repository+":"+stagingTag, index, data)
	if err != nil {
		return err
	}
	if d != a.digest {
		return fmt.Errorf("%s was pushed as %s", a, d)
	}
	p.oracle.has(a)
	return p.tag(ctx, a, tag)
}

// tag has a tag name an archive.
func (p *population) tag(ctx context.Context, a *archive, tag string) (err error) {
	name := a.repository + ":" + tag
	p.oracle.naming(name, a.digest, time.Now())
	defer func() {
		if err == nil {
			p.oracle.named(name, time.Now())
			p.blame.counted(moved)
			p.events.note("%s is %s", name, short(a.digest))
		}
	}()
	to := "http://" + p.pushHost + "/v2/" + a.repository + "/manifests/" + tag
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to, bytes.NewReader(a.manifest))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", oci.MediaTypeImageManifest)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if res.StatusCode != http.StatusCreated {
		return fmt.Errorf("PUT %s: %s: %s", to, res.Status, text)
	}
	return nil
}

// run moves tags until ctx ends.
func (p *population) run(ctx context.Context) error {
	for sleep(ctx, p.rng, moveEvery) {
		if err := p.move(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("the registry takes no more archives: %w", err)
		}
	}
	return nil
}

// sleep waits for about d, and reports whether ctx still stands.
func sleep(ctx context.Context, rng *rand.Rand, d time.Duration) bool {
	t := time.NewTimer(time.Duration((0.5 + rng.Float64()) * float64(d)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
