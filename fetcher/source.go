package fetcher

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// reply is an answered call with what it occupies until Close.
type reply struct {
	*call
	host    *host
	closer  io.Closer // nil for metadata
	release func()
}

func (r *reply) Close() error {
	var err error
	if r.closer != nil {
		err = r.closer.Close()
	}
	r.release()
	return err
}

// source is one host that may have what is wanted, as one scope sees it.
type source struct {
	f          *Fetcher
	host       *host
	registry   string
	repository string
	credential string
}

// each tries the mirrors of scope's registry in their order and then the registry itself, until one can. The
// registry's own answer is the one that is reported: it alone can say no. A mirror that was too slow is passed over for a
// while.
func (f *Fetcher) each(ctx context.Context, scope oci.Scope, try func(source) error) error {
	g := f.generation()
	var err error
	for _, name := range append(slices.Clone(g.Registries[scope.Registry].Mirrors), scope.Registry) {
		credential, mirror := scope.Credential, name != scope.Registry
		if mirror {
			credential = g.credential(name, scope.Repository)
		}
		var h *host
		if h, err = f.host(g, name); err == nil {
			if mirror && h.slow.has(h.now()) {
				continue
			}
			err = try(source{f, h, scope.Registry, scope.Repository, credential})
		}
		if err == nil || ctx.Err() != nil || fault.ReasonOf(err) == fault.ShuttingDown {
			return err
		}
		if mirror {
			if isSlow(err) {
				h.passOver()
			}
			f.log.LogAttrs(ctx, slog.LevelInfo, "mirror did not answer, going on with the next",
				slog.String("mirror", name), slog.String("registry", scope.Registry), slog.Any("error", err))
		}
	}
	return err
}

func isSlow(err error) bool {
	reason := fault.ReasonOf(err)
	return reason == fault.UpstreamSlow || reason == fault.UpstreamTimeout
}

// passOver leaves h out as a mirror for as long as a breaker is open at most.
func (h *host) passOver() { h.slow.note(h.now(), h.gen.Limits.BreakerMax) }

// ask sends a call with all the patience that its host deserves: several tries, a wait where the host asks for one, none
// at all while it is known to be down.
func (s source) ask(ctx context.Context, c call) (*reply, error) {
	c.registry, c.repository = s.registry, s.repository
	limits := &s.host.gen.Limits
	// Who asks for a tag may have an old one to go on with, and does not want to wait for the new one.
	patience := limits.RetryAfter
	if c.kind == kindTag {
		patience = limits.RetryTime
	}
	return s.host.patiently(ctx, s.repository, patience, func() (*reply, error) { return s.once(ctx, c) })
}

// patiently repeats what asks for something of a repository, or at a path, for as long as that makes sense.
func (h *host) patiently(ctx context.Context, repository string, patience time.Duration, once func() (*reply, error)) (*reply, error) {
	limits, b := &h.gen.Limits, h.breaker(repository)
	for {
		err := b.allow(h.now())
		if err == nil {
			break
		}
		if err.Reason != fault.UpstreamRateLimit || err.RetryAfter > patience {
			return nil, err
		}
		if err := sleep(ctx, err.RetryAfter); err != nil {
			return nil, err
		}
		patience -= err.RetryAfter
	}
	began, obeyed := time.Now(), time.Duration(0)
	for try := 1; ; try++ {
		r, err := once()
		e := ownFault(err)
		if e != nil {
			err = e
		}
		gaveUp := ctx.Err() != nil || err != nil && e == nil
		h.failed(ctx, err)
		wait, again := pause(e, try, limits, patience)
		if e != nil && e.RetryAfter > 0 {
			obeyed += wait
		} else if time.Since(began)-obeyed > limits.RetryTime {
			again = false // one that fails this slowly gets no three tries
		}
		if err == nil || gaveUp || !again {
			if e != nil {
				e.RetryAfter = min(e.RetryAfter, limits.RetryAfter)
			}
			b.done(h.now(), e, gaveUp)
			return r, err
		}
		if err := sleep(ctx, wait); err != nil {
			b.done(h.now(), nil, true)
			return nil, err
		}
		patience -= wait
	}
}

// ownFault returns the fault in err as a copy that may be changed, since callers who waited at a gate share one; nil
// where err is something else.
func ownFault(err error) *fault.Error {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return nil
	}
	own := *e
	return &own
}

// pause says whether another try makes sense after e, and when.
func pause(e *fault.Error, try int, limits *Limits, patience time.Duration) (time.Duration, bool) {
	if e == nil || try >= limits.Tries {
		return 0, false
	}
	if e.RetryAfter > 0 {
		return e.RetryAfter, e.RetryAfter <= patience && (e.Reason == fault.UpstreamRateLimit || e.Reason == fault.Upstream5xx)
	}
	switch e.Reason {
	case fault.UpstreamRedirect:
		return 0, try == 1
	case fault.UpstreamUnreachable, fault.Upstream5xx:
	case fault.UpstreamDNS:
		if dnsNotFound(e) {
			return 0, false
		}
	default:
		return 0, false
	}
	return rand.N(limits.RetryWait << (try - 1)), true // full jitter: many callers spread out
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// once sends a call one time. A login that was good and is no longer, because its token or its secret has ended, is
// made anew and the call repeated, once.
func (s source) once(ctx context.Context, template call) (*reply, error) {
	key := sessionKey{s.host.name, s.repository, s.credential}
	for renewed := false; ; renewed = true {
		session, err := s.f.session(ctx, s.host, key)
		if err != nil {
			return nil, err
		}
		worked := session.worked.Load()
		c := template
		r, err := s.through(ctx, session, &c)
		if err == nil || !c.denied || ctx.Err() != nil {
			return r, err
		}
		s.f.drop(key, session)
		if e := ownFault(err); e != nil && renewed && e.Reason == fault.UpstreamForbidden {
			e.Reason = fault.UpstreamUnauthorized
			err = e
		}
		if renewed || !worked {
			return nil, err
		}
	}
}

// through sends c by a session, past the gate of its login and within the host's limit of requests.
func (s source) through(ctx context.Context, session *session, c *call) (*reply, error) {
	first, err := session.gate.enter(ctx)
	if err != nil {
		c.denied = fault.ReasonOf(err) == fault.UpstreamForbidden
		return nil, err
	}
	defer func() { session.gate.leave(first, err) }()
	slot, err := s.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	// The answer's body lives as long as this context, and that no longer than the Fetcher.
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(s.f.base, func() {
		cancel(fault.New(fault.ShuttingDown, "%s: blobd is stopping", c.what(s.host.name)))
	})
	release := func() {
		unhook()
		cancel(nil)
		slot()
	}
	closer, err := session.ask(ctx, s.f, c)
	if err != nil {
		release()
		return nil, err
	}
	return &reply{call: c, host: s.host, closer: closer, release: release}, nil
}
