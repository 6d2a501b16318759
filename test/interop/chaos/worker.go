package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
)

// worker is a client that does this and that, one thing after another. It is for one goroutine.
type worker struct {
	*storm
	rng    *rand.Rand
	client *client.Client // nil while it has none
}

// attempt is one thing that a worker does.
type attempt struct {
	asked
	kind            string
	text            string // the reference
	repository      string
	tag             string
	requireVerified bool
	deadline        time.Duration
	gaveUp          bool           // the worker broke it off
	tolerated       []fault.Reason // what it may fail of, besides what chaos explains
	bytes           int64
}

// violation is something that must never be.
type violation struct{ what string }

func (v *violation) Error() string { return v.what }

func violated(format string, args ...any) error { return &violation{fmt.Sprintf(format, args...)} }

const (
	// patience is how long a caller without a deadline may have to wait: a manifest, an index and a file that stall each
	// until they are given up, one after another.
	patience = 150 * time.Second
	// overtime is what a call may take beyond its deadline on a machine that is busy.
	overtime = 10 * time.Second
)

// within picks a deadline. Most callers have some patience, a few have none and a few would wait for ever.
func (w *worker) within() time.Duration {
	switch n := w.rng.IntN(100); {
	case n < 15:
		return time.Duration(100+w.rng.IntN(2000)) * time.Millisecond
	case n < 95:
		return time.Duration(5+w.rng.IntN(10)) * time.Second
	}
	return patience
}

// attempt picks a reference and how it is to be read.
func (w *worker) attempt(kind string) *attempt {
	t := &attempt{kind: kind, deadline: w.within(), asked: asked{maxAge: -1, maxStale: maxStale}}
	switch n := w.rng.IntN(40); {
	case n < 26:
		t.repository, t.tag = repositories[w.rng.IntN(len(repositories))], tags[w.rng.IntN(len(tags))]
		t.name = t.repository + ":" + t.tag
		t.text = t.name
	case n < 37:
		w.byDigest(t, w.someArchive(""))
	case n < 39:
		a := w.someArchive("")
		w.byDigest(t, a)
		t.text = a.repository + ":" + tags[w.rng.IntN(len(tags))] + "@" + a.digest.String()
	default:
		t.name = w.population.unborn()
		t.text = t.name
		t.repository, t.tag, _ = strings.Cut(t.name, ":")
	}
	t.text = w.registry.Host() + "/" + t.text
	t.requireVerified = w.rng.IntN(5) == 0
	t.requireFresh = w.rng.IntN(6) == 0
	if slices.Contains(tags[lazyTags:], t.tag) {
		return t
	}
	switch w.rng.IntN(10) {
	case 0:
		t.noCache = true
	case 1, 2:
		t.maxAge = 0
	case 3:
		t.maxAge = time.Second
	}
	return t
}

func (w *worker) byDigest(t *attempt, a *archive) {
	t.repository, t.digest = a.repository, a.digest
	t.text = a.repository + "@" + a.digest.String()
}

// someArchive is mostly one of the latest.
func (w *worker) someArchive(repository string) *archive {
	return w.oracle.some(repository, func(all []*archive) *archive {
		if w.rng.IntN(4) > 0 {
			all = all[max(0, len(all)-12):]
		}
		return all[w.rng.IntN(len(all))]
	})
}

func (t *attempt) options() []client.ReadOption {
	var o []client.ReadOption
	if t.noCache {
		o = append(o, client.NoCache())
	}
	if t.maxAge >= 0 {
		o = append(o, client.MaxAge(t.maxAge))
	}
	if t.requireFresh {
		o = append(o, client.RequireFresh())
	}
	if t.requireVerified {
		o = append(o, client.RequireVerified())
	}
	return o
}

// do makes an attempt, judges how it ends, and reports whether it went well.
func (w *worker) do(t *attempt, run func(ctx context.Context, t *attempt) error) bool {
	ctx, cancel := context.WithTimeout(w.abort, t.deadline)
	defer cancel()
	t.began = time.Now()
	err := run(ctx, t)
	ended := time.Now()
	if w.abort.Err() != nil {
		return false
	}
	outcome, bad := w.judge(t, ended, err)
	w.tally.add(t.kind, outcome, t.bytes)
	w.events.note("%s %s (no-cache %v, max-age %v, fresh %v, verified %v): %s in %v; %v",
		t.kind, t.text, t.noCache, t.maxAge, t.requireFresh, t.requireVerified, outcome, ended.Sub(t.began).Round(time.Millisecond), err)
	if bad != nil {
		w.violate(fmt.Errorf("%s %s, begun %s, ended %s: %w", t.kind, t.text, clock(t.began), clock(ended), bad))
	}
	return err == nil
}

// judge names how an attempt ended, and what is wrong with that.
func (w *worker) judge(t *attempt, ended time.Time, err error) (outcome string, bad error) {
	took := ended.Sub(t.began)
	if took > t.deadline+overtime {
		return "hung", fmt.Errorf("it took %v, and its deadline was %v: %w", took, t.deadline, errors.Join(err, errHung))
	}
	if err == nil {
		return "ok", nil
	}
	if v, ok := errors.AsType[*violation](err); ok {
		return "WRONG", v
	}
	reason := reasonOf(err)
	switch {
	case reason == "":
		return "odd", fmt.Errorf("an error that names no reason: %w", err)
	case reason == deadlineExceeded && t.deadline == patience:
		return "hung", fmt.Errorf("nobody should have to wait for %v: %w", patience, err)
	case reason == deadlineExceeded && took >= t.deadline*9/10, reason == canceled && t.gaveUp:
		return string(reason), nil
	case reason == fault.ManifestUnknown && t.name != "" && w.oracle.missing(t.name, t.began.Add(-negativeTTL-lag)):
		return "not there yet", nil
	}
	for _, r := range t.tolerated {
		if r == reason {
			return string(reason), nil
		}
	}
	if w.blame.explains(reason, t.repository, t.began, ended) {
		return string(reason), nil
	}
	return string(reason), fmt.Errorf("nothing that was done explains %s: %w", reason, err)
}

var errHung = errors.New("hung")

// Reasons for which there is no name in the daemon's rooms.
const (
	canceled         fault.Reason = "CANCELED"
	deadlineExceeded fault.Reason = "DEADLINE_EXCEEDED"
	readerIdle       fault.Reason = "READER_IDLE"
)

// reasonOf is why a call failed, as the contract names it; "" where the contract knows no such failure.
func reasonOf(err error) fault.Reason {
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case !ok && errors.Is(err, context.DeadlineExceeded):
		return deadlineExceeded
	case !ok:
		return ""
	case e.Reason != "":
		return fault.Reason(e.Reason)
	case e.Code == codes.DeadlineExceeded:
		return deadlineExceeded
	case e.Code == codes.Canceled:
		return canceled
	}
	return ""
}

// dial connects anew now and then, and always after it was refused.
func (w *worker) dial(ctx context.Context) error {
	if w.client != nil && w.rng.IntN(20) > 0 {
		return nil
	}
	w.hangUp()
	c, err := client.Dial(ctx, client.WithSocket(w.daemon.host.Socket()))
	w.client = c
	return err
}

func (w *worker) hangUp() {
	if w.client != nil {
		_ = w.client.Close()
		w.client = nil
	}
}
