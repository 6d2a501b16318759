package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/internal/registrytest"
)

// weather is what the daemon meets upstream: a registry that is well for some seconds, and then fails this way or that.
// Its methods may be called from several goroutines.
type weather struct {
	reg    *registrytest.Registry
	oracle *oracle
	blame  *blame
	events *events
	change *rand.Rand // of run alone

	mu     sync.Mutex // guards what follows
	rng    *rand.Rand
	faults []gust
}

// gust is one kind of fault that some requests meet.
type gust struct {
	trouble
	repository string  // "" is all
	share      float64 // of the requests that could meet it
}

// trouble is a fault, and the kinds of requests that can meet it.
type trouble struct {
	cause cause
	kinds []registrytest.Kind
	rare  bool // it holds up callers for long
	act   func(w *weather, req *http.Request) faultregistry.Act
}

var (
	metadata = []registrytest.Kind{registrytest.Tag, registrytest.Manifest}
	bodies   = []registrytest.Kind{registrytest.Manifest, registrytest.Blob, registrytest.Range}
	ranges   = []registrytest.Kind{registrytest.Range}
	requests = []registrytest.Kind{registrytest.Tag, registrytest.Manifest, registrytest.Blob, registrytest.Range}
	logins   = []registrytest.Kind{registrytest.Token}
)

// troubles are all faults upstream.
var troubles = []trouble{
	{broken, requests, false, statuses(500, 502, 503, 504)},
	{refused, requests, false, statuses(401, 403)},
	{absent, requests, false, statuses(404)},
	{teapot, requests, false, statuses(400, 418)},
	{throttled, requests, false, func(*weather, *http.Request) faultregistry.Act {
		return faultregistry.Status(http.StatusTooManyRequests, "Retry-After", "1")
	}},
	{cut, bodies, false, func(w *weather, req *http.Request) faultregistry.Act { return faultregistry.Cut(w.somewhere(req)) }},
	{reset, bodies, false, func(w *weather, req *http.Request) faultregistry.Act { return faultregistry.Reset(w.somewhere(req)) }},
	{wrongByte, bodies, false, (*weather).lie},
	{wrongByte, ranges, false, (*weather).lie},
	{longer, bodies, false, func(w *weather, _ *http.Request) faultregistry.Act {
		return faultregistry.Longer([]int{-1, 1, 4096}[w.intN(3)])
	}},
	{badRange, ranges, false, func(w *weather, _ *http.Request) faultregistry.Act {
		return faultregistry.OtherRange([]int64{-block, 1, block}[w.intN(3)])
	}},
	{noRange, ranges, true, always(faultregistry.NoRange)},
	{page, metadata, false, always(faultregistry.Page)},
	{loop, requests, false, always(faultregistry.Loop)},
	{stall, requests, true, always(faultregistry.Stall)},
	{stall, bodies, true, func(w *weather, req *http.Request) faultregistry.Act { return faultregistry.StallAt(w.somewhere(req)) }},
	{trickle, bodies, true, func(w *weather, req *http.Request) faultregistry.Act {
		return faultregistry.Trickle(w.somewhere(req), 100, 100*time.Millisecond)
	}},
	{late, requests, false, func(w *weather, _ *http.Request) faultregistry.Act {
		return faultregistry.Delay(time.Duration(w.intN(2000))*time.Millisecond, faultregistry.Well)
	}},
	{noLogin, logins, false, statuses(401, 403, 500, 503)},
}

func statuses(codes ...int) func(*weather, *http.Request) faultregistry.Act {
	return func(w *weather, _ *http.Request) faultregistry.Act {
		return faultregistry.Status(codes[w.intN(len(codes))])
	}
}

func always(act faultregistry.Act) func(*weather, *http.Request) faultregistry.Act {
	return func(*weather, *http.Request) faultregistry.Act { return act }
}

// newWeather puts the weather before reg.
func newWeather(reg *registrytest.Registry, o *oracle, b *blame, e *events, change, rng *rand.Rand) *weather {
	w := &weather{reg: reg, oracle: o, blame: b, events: e, change: change, rng: rng}
	reg.Fault(w.strike)
	return w
}

type behindKey struct{}

// strike answers a request that meets a fault. What the registry behind would have said comes through the same door.
func (w *weather) strike(rw http.ResponseWriter, req *http.Request) bool {
	if req.Context().Value(behindKey{}) != nil {
		return false
	}
	act := w.pick(req)
	if act == nil {
		return false
	}
	behind := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		w.reg.ServeHTTP(rw, req.WithContext(context.WithValue(req.Context(), behindKey{}, true)))
	})
	act(rw, req, behind)
	return true
}

func (w *weather) pick(req *http.Request) faultregistry.Act {
	kind, repository := registrytest.KindOf(req), repositoryOf(req)
	for _, g := range w.now() {
		if !slices.Contains(g.kinds, kind) || g.repository != "" && repository != "" && g.repository != repository || w.float() >= g.share {
			continue
		}
		if repository != "" {
			w.blame.struck(g.cause, repository, time.Now())
		} else { // a login: who is let in by it is not known here
			for _, r := range repositories {
				w.blame.struck(g.cause, r, time.Now())
			}
		}
		w.events.note("%s meets %s %s %s", g.cause, req.Method, req.URL.Path, req.Header.Get("Range"))
		return g.act(w, req)
	}
	return nil
}

// repositoryOf is "" where a request is about none.
func repositoryOf(req *http.Request) string {
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	for _, part := range []string{"/manifests/", "/blobs/"} {
		if repository, _, ok := strings.Cut(path, part); ok {
			return repository
		}
	}
	return ""
}

// lie flips a bit of some byte, and has the oracle know it.
func (w *weather) lie(req *http.Request) faultregistry.Act {
	d := digest.Digest(req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:])
	return faultregistry.Edit(func(a *faultregistry.Answer) {
		good := a.Status == http.StatusOK || a.Status == http.StatusPartialContent
		if !good || len(a.Body) == 0 || req.Method != http.MethodGet {
			return
		}
		i := w.intN(len(a.Body))
		w.oracle.lied(d, a.Offset+int64(i), time.Now())
		a.Body = slices.Clone(a.Body)
		a.Body[i] ^= 1
	})
}

// somewhere is a byte of what a request asks for, or a little beyond.
func (w *weather) somewhere(req *http.Request) int64 {
	first, _, _ := strings.Cut(strings.TrimPrefix(req.Header.Get("Range"), "bytes="), "-")
	var at int64
	for _, c := range first {
		if c < '0' || c > '9' {
			break
		}
		at = 10*at + int64(c-'0')
	}
	return at + int64(w.intN([]int{1, 1000, 100_000, 1 << 20}[w.intN(4)]))
}

func (w *weather) now() []gust {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faults
}

func (w *weather) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *weather) float() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64()
}

const (
	// weatherLasts, on average; half of the time it is fair.
	weatherLasts = 1500 * time.Millisecond
	fairOf8      = 4
	// outages: one change of weather in so many stops the registry.
	outages = 20
)

// run changes the weather until ctx ends, and leaves it fair.
func (w *weather) run(ctx context.Context) error {
	defer w.clear()
	for {
		if w.change.IntN(outages) == 0 {
			if err := w.outage(ctx); err != nil {
				return err
			}
		}
		w.set(w.forecast())
		if !sleep(ctx, w.change, weatherLasts) {
			return nil
		}
	}
}

func (w *weather) set(faults []gust) {
	w.mu.Lock()
	w.faults = faults
	w.mu.Unlock()
	for _, g := range faults {
		w.events.note("weather: %s for %.0f %% of %q", g.cause, 100*g.share, g.repository)
	}
}

func (w *weather) clear() {
	w.set(nil)
	w.reg.Throttle(0)
}

func (w *weather) forecast() []gust {
	w.reg.Throttle([]int64{0, 0, 0, 0, 4 << 20, 1 << 20}[w.change.IntN(6)])
	w.reg.Reset() // what was asked is of no use here, and would pile up
	if w.change.IntN(8) < fairOf8 {
		return nil
	}
	var faults []gust
	for range 1 + w.change.IntN(3) {
		g := gust{trouble: troubles[w.change.IntN(len(troubles))], share: []float64{0.02, 0.1, 0.3, 1}[w.change.IntN(4)]}
		switch {
		case g.rare:
			g.share = min(g.share, 0.2)
		case g.cause == wrongByte: // what must not come through should be tried most
			g.share = max(g.share, 0.3)
		}
		if w.change.IntN(2) == 0 {
			g.repository = repositories[w.change.IntN(len(repositories))]
		}
		faults = append(faults, g)
	}
	return faults
}

// outage stops the registry for a while.
func (w *weather) outage(ctx context.Context) error {
	w.events.note("the registry stops")
	w.blame.begins(regDown, time.Now())
	w.reg.Stop()
	sleep(ctx, w.change, 2*weatherLasts)
	err := w.reg.Start()
	w.blame.ends(regDown, time.Now())
	w.events.note("the registry is back: %v", err)
	return err
}
