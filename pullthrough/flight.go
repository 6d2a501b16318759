package pullthrough

import (
	"context"
	"errors"
	"sync"

	"github.com/blobd/blobd/internal/fault"
)

// group shares one run of a function between all callers who want the same key. The run belongs to none of them: it has
// a context of its own, which ends when the last caller has gone or the service closes.
type group[K flightKey, V any] struct {
	svc  *Service
	kind string // as in Flight

	mu      sync.Mutex // guards flights and what is in them
	flights map[K]*flight[V]
}

// flightKey names what a flight is for, in words too.
type flightKey interface {
	comparable
	String() string
}

type flight[V any] struct {
	waiters int
	ctx     context.Context // of the run
	land    func(error)     // ends what the tracer knows of it
	cancel  context.CancelFunc
	done    chan struct{} // closed when value and err stand
	value   V
	err     error
}

func newGroup[K flightKey, V any](svc *Service, kind string) *group[K, V] {
	return &group[K, V]{svc: svc, kind: kind, flights: make(map[K]*flight[V])}
}

// do returns what run returns, or the error of ctx as soon as that ends.
func (g *group[K, V]) do(ctx context.Context, key K, run func(context.Context) (V, error)) (V, error) {
	g.mu.Lock()
	f, joined := g.flights[key]
	if !joined {
		runCtx, cancel := context.WithCancel(g.svc.base)
		f = &flight[V]{cancel: cancel, done: make(chan struct{})}
		f.ctx, f.land = g.svc.departs(runCtx, ctx, g.kind, key.String)
		g.flights[key] = f
		g.svc.goes(func() { g.fly(key, f, run) })
	}
	f.waiters++
	g.mu.Unlock()
	if joined {
		g.svc.joins(ctx, f.ctx)
	}

	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		g.mu.Lock()
		f.waiters--
		if f.waiters == 0 {
			f.cancel()
			g.drop(key, f)
		}
		g.mu.Unlock()
		var none V
		return none, ctx.Err()
	}
}

// doFresh is do for a caller who must not be answered by a run that began before it asked.
func (g *group[K, V]) doFresh(ctx context.Context, key K, run func(context.Context) (V, error)) (V, error) {
	g.mu.Lock()
	earlier := g.flights[key]
	g.mu.Unlock()
	if earlier != nil {
		select {
		case <-earlier.done:
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	return g.do(ctx, key, run)
}

func (g *group[K, V]) fly(key K, f *flight[V], run func(context.Context) (V, error)) {
	defer g.svc.flies(g.kind, key.String, func() int { return g.followers(f) })()
	defer f.cancel()
	f.value, f.err = guard(func() (V, error) { return run(f.ctx) })
	f.err = g.svc.outcome(f.ctx, f.err)
	f.land(f.err)
	g.mu.Lock()
	g.drop(key, f)
	g.mu.Unlock()
	close(f.done)
}

// followers is how many wait for f.
func (g *group[K, V]) followers(f *flight[V]) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return f.waiters
}

// drop forgets f; the caller holds mu. A later flight under the same key stays.
func (g *group[K, V]) drop(key K, f *flight[V]) {
	if g.flights[key] == f {
		delete(g.flights, key)
	}
}

// guard turns a panic in work that several callers share into an error for each of them: the goroutine that would
// carry it up has no handler above it.
func guard[V any](run func() (V, error)) (v V, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Internal, "panic in shared work: %v", p)
		}
	}()
	return run()
}

// outcome is what the followers of shared work under ctx are told when it ended in err. That its context ended counts and
// not what err looks like: upstream's own limits may be told by a context's error too.
func (s *Service) outcome(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case s.base.Err() != nil:
		return fault.Wrap(fault.ShuttingDown, err, "blobd is stopping")
	case ctx.Err() != nil:
		return errDeserted
	}
	return err
}

// errDeserted tells those who joined shared work just as its last caller left that it was given up; they begin anew and
// no caller sees it.
var errDeserted = errors.New("nobody followed it any more")
