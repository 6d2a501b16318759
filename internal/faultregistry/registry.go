// Package faultregistry makes a registry fail on command. A Registry is a plain http.Handler around another one; rules
// say which requests meet which fault, and how often. It counts like the registrytest.Proxy that it is made of.
//
//	reg := faultregistry.New(registrytest.New(t, registrytest.Options{}))
//	reg.On(faultregistry.Kind(registrytest.Tag), faultregistry.Status(503), faultregistry.Status(429, "Retry-After", "5"))
//	…                // the first two requests for a tag fail; all others are answered well
//	reg.Heal()
//
// Faults wait by time and the request's context alone, so that they cost no real time under testing/synctest. It is test
// support: no daemon imports it.
package faultregistry

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/registrytest"
)

// Act answers one request; next is the registry behind, which would have answered it well.
type Act func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Match picks requests.
type Match func(*http.Request) bool

// Registry is a handler with rules. Its methods may be called from several goroutines.
type Registry struct {
	*registrytest.Proxy
	next    http.Handler
	latency time.Duration

	mu    sync.Mutex // guards rules and what they have left
	rules []*rule
}

type rule struct {
	match Match
	acts  []Act
	ever  bool // the last act stays
	met   int
}

// Option changes a Registry that is being made.
type Option func(*Registry)

// Latency holds every request back for d before anything else. With virtual time this lets all callers come before the
// first is answered.
func Latency(d time.Duration) Option { return func(r *Registry) { r.latency = d } }

// New returns a Registry that answers like next until rules say otherwise.
func New(next http.Handler, options ...Option) *Registry {
	r := &Registry{Proxy: registrytest.NewProxy(next), next: next}
	for _, o := range options {
		o(r)
	}
	r.Fault(r.strike)
	return r
}

// On lets the first request that matches meet the first act, the second the second, and so on; when all acts are used
// up the rule is gone. A request meets the first rule that matches it.
func (r *Registry) On(match Match, acts ...Act) { r.add(&rule{match: match, acts: acts}) }

// Always lets every request that matches meet act, until Heal.
func (r *Registry) Always(match Match, act Act) {
	r.add(&rule{match: match, acts: []Act{act}, ever: true})
}

func (r *Registry) add(one *rule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = append(r.rules, one)
}

// Heal forgets all rules. Answers that have begun stay as bad as they are.
func (r *Registry) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = nil
}

// Struck is how many requests met an act of the current rules.
func (r *Registry) Struck() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, one := range r.rules {
		n += one.met
	}
	return n
}

func (r *Registry) strike(w http.ResponseWriter, req *http.Request) bool {
	if !wait(req, r.latency) {
		panic(http.ErrAbortHandler)
	}
	act := r.pick(req)
	if act == nil {
		return false
	}
	act(w, req, r.next)
	return true
}

func (r *Registry) pick(req *http.Request) Act {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.rules {
		if one.met >= len(one.acts) && !one.ever || !one.match(req) {
			continue
		}
		act := one.acts[min(one.met, len(one.acts)-1)]
		one.met++
		return act
	}
	return nil
}

// wait waits for d, or until the client has gone, and reports whether it is still there.
func wait(req *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-req.Context().Done():
		return false
	}
}

// Any matches every request.
func Any(*http.Request) bool { return true }

// Kind matches requests of these kinds.
func Kind(kinds ...registrytest.Kind) Match {
	return func(req *http.Request) bool {
		is := registrytest.KindOf(req)
		for _, k := range kinds {
			if is == k {
				return true
			}
		}
		return false
	}
}

// Method matches requests by their method.
func Method(method string) Match { return func(req *http.Request) bool { return req.Method == method } }

// Blob matches requests for a blob or a part of it.
func Blob(d digest.Digest) Match {
	return func(req *http.Request) bool {
		return strings.HasSuffix(req.URL.Path, "/blobs/"+d.String()) && req.Method == http.MethodGet
	}
}

// Covering matches requests whose answer holds that byte of the blob.
func Covering(at int64) Match {
	return func(req *http.Request) bool {
		first, last, ok := rangeOf(req)
		return !ok || first <= at && at <= last
	}
}

// Repository matches requests about a repository.
func Repository(name string) Match {
	return func(req *http.Request) bool { return strings.HasPrefix(req.URL.Path, "/v2/"+name+"/") }
}

// All matches what every one of matches does.
func All(matches ...Match) Match {
	return func(req *http.Request) bool {
		for _, m := range matches {
			if !m(req) {
				return false
			}
		}
		return true
	}
}
