package faults

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	. "github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/pullthrough"
)

// Where a fault strikes.
const (
	tag      = "tag"
	manifest = "manifest"
	index    = "index"
	first    = "first block"
	middle   = "middle block"
	last     = "last block"
)

var (
	everywhere = []string{tag, manifest, index, first, middle, last}
	byDigest   = everywhere[1:]
	blobs      = everywhere[2:]
	ranges     = everywhere[3:]
)

// place is a thing that the registry is asked for on the way to an answer.
type place struct {
	asked  func(*content) Match // requests for it
	before int                  // requests that come before, for a caller who knows nothing yet
	at     int64                // a byte of it, for faults in bodies
}

var places = map[string]place{
	tag:      {func(*content) Match { return Kind(registrytest.Tag) }, 0, 0},
	manifest: {func(*content) Match { return Kind(registrytest.Manifest) }, 1, 20},
	index:    {func(c *content) Match { return Blob(c.index) }, 2, 20},
	first:    {func(c *content) Match { return Blob(c.data) }, 0, 100},
	middle:   {func(c *content) Match { return Blob(c.data) }, 0, 2*block + 100},
	last:     {func(c *content) Match { return Blob(c.data) }, 0, 5*block + 100},
}

// want is what three callers get, and what it cost.
type want struct {
	code   codes.Code
	reason fault.Reason
	retry  time.Duration // least RetryInfo; 0: none
	tries  int           // requests for the thing itself
	within time.Duration
}

// row is a row of the fault table, or a part of one.
type row struct {
	name   string
	at     []string
	act    func(at int64) Act                             // what every request for the thing meets, or
	dial   func(ctx context.Context, d *net.Dialer) error // what every connection meets
	inBody bool                                           // it strikes at a byte of the body, of a whole file
	want   want
	except map[string]want // by place
	stale  bool            // a tag's last known digest may be served
}

func always(a Act) func(int64) Act { return func(int64) Act { return a } }

const soon = 2 * time.Second // what three tries may take, with a little for their answers

func unavailable(r fault.Reason, tries int, within time.Duration) want {
	return want{codes.Unavailable, r, 0, tries, within}
}

func dataLoss(r fault.Reason, tries int) want { return want{codes.DataLoss, r, 0, tries, soon} }

var table = []row{
	{name: "refused", at: everywhere, dial: refuses, stale: true,
		want: want{codes.Unavailable, fault.UpstreamUnreachable, time.Millisecond, 3, soon + 100*time.Millisecond}},
	{name: "every packet lost", at: everywhere, dial: swallows, stale: true,
		want: want{codes.Unavailable, fault.UpstreamUnreachable, time.Millisecond, 1, 11 * time.Second}},
	{name: "name does not exist", at: everywhere, dial: unknownName, stale: true, want: unavailable(fault.UpstreamDNS, 1, 50*time.Millisecond)},
	{name: "resolver fails", at: everywhere, dial: resolverDown, stale: true, want: unavailable(fault.UpstreamDNS, 3, soon)},
	{name: "certificate that nobody trusts", at: everywhere, dial: untrusted, want: want{codes.FailedPrecondition, fault.UpstreamTLS, 0, 1, soon}},
	{name: "401", at: everywhere, act: always(Status(401)), // without a word on how to log in
		want: want{codes.PermissionDenied, fault.UpstreamUnauthorized, 0, 2, soon},
		// A registry that never let anybody in is not one whose token has expired.
		except: map[string]want{tag: {codes.PermissionDenied, fault.UpstreamForbidden, 0, 1, soon}}},
	{name: "403", at: everywhere, act: always(Status(403)), want: want{codes.PermissionDenied, fault.UpstreamForbidden, 0, 1, soon}},
	{name: "404", at: everywhere, act: always(Status(404)), want: want{codes.NotFound, fault.BlobUnknown, 0, 1, soon},
		except: map[string]want{
			tag:      {codes.NotFound, fault.ManifestUnknown, 0, 1, soon},
			manifest: {codes.NotFound, fault.ManifestUnknown, 0, 1, soon},
		}},
	{name: "429", at: everywhere, act: always(Status(429)), stale: true,
		want: want{codes.ResourceExhausted, fault.UpstreamRateLimit, time.Second, 1, soon}},
	{name: "429 for 5 seconds", at: byDigest, act: always(Status(429, "Retry-After", "5")),
		want: want{codes.ResourceExhausted, fault.UpstreamRateLimit, 5 * time.Second, 3, 11 * time.Second}},
	{name: "429 for 5 seconds, tag", at: []string{tag}, act: always(Status(429, "Retry-After", "5")), stale: true,
		want: want{codes.ResourceExhausted, fault.UpstreamRateLimit, 5 * time.Second, 1, soon}},
	{name: "429 for an hour", at: everywhere, act: always(Status(429, "Retry-After", "3600")), stale: true,
		want: want{codes.ResourceExhausted, fault.UpstreamRateLimit, time.Minute, 1, soon}},
	{name: "429 until a date", at: byDigest, act: always(RetryAt(429, 20*time.Second)),
		want: want{codes.ResourceExhausted, fault.UpstreamRateLimit, 19 * time.Second, 3, 41 * time.Second}},
	{name: "429 until a date, tag", at: []string{tag}, act: always(RetryAt(429, 20*time.Second)), stale: true,
		want: want{codes.ResourceExhausted, fault.UpstreamRateLimit, 19 * time.Second, 1, soon}},
	{name: "429 for longer than can be counted", at: everywhere, act: always(Status(429, "Retry-After", "99999999999999999999")), stale: true,
		want: want{codes.ResourceExhausted, fault.UpstreamRateLimit, time.Minute, 1, soon}},
	{name: "500", at: everywhere, act: always(Status(500)), stale: true, want: unavailable(fault.Upstream5xx, 3, soon)},
	{name: "502", at: everywhere, act: always(Status(502)), stale: true, want: unavailable(fault.Upstream5xx, 3, soon)},
	{name: "503", at: everywhere, act: always(Status(503)), stale: true, want: unavailable(fault.Upstream5xx, 3, soon)},
	{name: "503 for an hour", at: everywhere, act: always(Status(503, "Retry-After", "3600")), stale: true,
		want: unavailable(fault.Upstream5xx, 1, soon)},
	{name: "504", at: everywhere, act: always(Status(504)), stale: true, want: unavailable(fault.Upstream5xx, 3, soon)},
	{name: "cut", at: byDigest, act: Cut, inBody: true, want: dataLoss(fault.Truncated, 2),
		except: map[string]want{manifest: dataLoss(fault.Truncated, 1)}},
	{name: "reset", at: byDigest, act: Reset, inBody: true, want: dataLoss(fault.Truncated, 2),
		except: map[string]want{manifest: dataLoss(fault.Truncated, 1)}},
	{name: "too long, and says so", at: byDigest, act: always(Longer(10)), inBody: true, want: dataLoss(fault.SizeMismatch, 1),
		// Nobody knows a manifest's size before, but its digest.
		except: map[string]want{manifest: dataLoss(fault.DigestMismatch, 2)}},
	{name: "too short, and says so", at: byDigest, act: always(Longer(-10)), inBody: true, want: dataLoss(fault.SizeMismatch, 1),
		except: map[string]want{manifest: dataLoss(fault.DigestMismatch, 2)}},
	{name: "wrong bytes", at: byDigest, act: WrongByte, inBody: true, want: dataLoss(fault.DigestMismatch, 2)},
	{name: "another range", at: ranges, act: always(OtherRange(1000)), want: dataLoss(fault.BadRange, 1)},
	{name: "several ranges", at: ranges, act: always(SeveralRanges), want: dataLoss(fault.BadRange, 1)},
	{name: "416", at: blobs, act: always(Status(416)), want: dataLoss(fault.BadRange, 3)}, // the second is a HEAD
	{name: "redirect loop", at: everywhere, act: always(Loop), want: want{codes.FailedPrecondition, fault.RedirectLoop, 0, 6, soon}},
	{name: "no headers", at: everywhere, act: always(Stall), stale: true, want: unavailable(fault.UpstreamTimeout, 1, 15100*time.Millisecond)},
	{name: "stall midway", at: byDigest, act: StallAt, inBody: true, want: unavailable(fault.UpstreamTimeout, 1, 20100*time.Millisecond),
		except: map[string]want{manifest: unavailable(fault.UpstreamTimeout, 1, 30100*time.Millisecond)}},
	{name: "a byte a second", at: byDigest, act: func(at int64) Act { return Trickle(at, 1, time.Second) }, inBody: true,
		want: unavailable(fault.UpstreamSlow, 1, 32*time.Second),
		except: map[string]want{
			manifest: unavailable(fault.UpstreamTimeout, 1, 30100*time.Millisecond),
			last:     unavailable(fault.UpstreamSlow, 1, 61*time.Second), // what came before it made up for the first 30 s
		}},
	{name: "web page", at: []string{tag, manifest}, act: always(Page), stale: true, want: want{codes.FailedPrecondition, fault.MediaType, 0, 1, soon},
		except: map[string]want{tag: {codes.FailedPrecondition, fault.MediaType, 0, 2, soon}}}, // its HEAD has no digest
	{name: "web page for a blob", at: blobs, act: always(Page), want: dataLoss(fault.SizeMismatch, 1)},
}

// TestTable lets every row strike wherever it can, with three callers waiting: what they get, what it costs, that it is
// over when the fault is, and that nothing wrong was kept.
func TestTable(t *testing.T) {
	for _, r := range table {
		for _, at := range r.at {
			t.Run(r.name+"/"+at, func(t *testing.T) {
				t.Parallel()
				inWorld(t, setup{}, func(w *world) { w.strike(r, at) })
			})
		}
	}
}

func (w *world) strike(r row, at string) {
	t, p := w.t, places[at]
	want := r.want
	if other, ok := r.except[at]; ok {
		want = other
	}
	call, before := w.callFor(r, at), p.before
	if slices.Contains(ranges, at) {
		if o := w.pull(reference, nil); o.err != nil {
			t.Fatal(o)
		}
	}
	w.reg.Reset()
	if r.dial != nil {
		w.strikeDials(r, at)
	} else {
		w.reg.Always(p.asked(w.content), r.act(p.at))
	}

	again := 11 * time.Second // a 404 is remembered for ten seconds
	for _, o := range together(3, call) {
		w.hold(o, want)
		again = max(again, o.retry()+latency)
	}
	if r.dial == nil {
		if got := w.reg.Counts().Total(); got != before+want.tries {
			t.Errorf("%d requests, want %d before it and %d for it: %+v", got, before, want.tries, w.reg.Requests())
		}
	} else if got := w.site.triedInVain(); got != want.tries {
		t.Errorf("%d connections tried, want %d", got, want.tries)
	}

	// Over is over: who comes back when told to gets what it wants.
	w.reg.Heal()
	w.site.breaks(nil)
	time.Sleep(again)
	if o := call(); o.err != nil {
		t.Errorf("after the fault: %v", o)
	}
	w.mustRead(bigFile, 0, -1)
	w.mustRead(smallOne, 0, -1)
	w.sound()
}

// callFor is a call that needs what is at a place: for a block a part of a file in it, or, when its body breaks there, the
// whole of a file that reaches over all.
func (w *world) callFor(r row, at string) func() outcome {
	p := places[at]
	switch {
	case !slices.Contains(ranges, at):
		return func() outcome { return w.pull(reference, nil) }
	case r.inBody:
		return func() outcome { return w.read(bigFile, 0, -1) }
	}
	return func() outcome { return w.read(bigFile, p.at, 500) }
}

// strikeDials makes the registry unreachable once what comes before the place was answered.
func (w *world) strikeDials(r row, at string) {
	strike := func() {
		w.site.breaks(r.dial)
		w.site.hangUp()
	}
	p := places[at]
	if p.before == 0 {
		strike()
		return
	}
	acts := slices.Repeat([]Act{Well}, p.before-1)
	hangUp := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		w.Header().Set("Connection", "close")
		next.ServeHTTP(w, r)
	}
	w.reg.On(Any, append(acts, After(func() { w.site.breaks(r.dial) }, hangUp))...)
}

// hold compares one caller's outcome with what the table says.
func (w *world) hold(o outcome, want want) {
	w.t.Helper()
	if o.code() != want.code || o.reason() != want.reason || o.took > want.within {
		w.t.Errorf("%v; want %s %s within %v", o, want.code, want.reason, want.within)
	}
	// Whoever is told UNAVAILABLE may always be told when, too.
	if o.retry() < want.retry || o.retry() > time.Minute || o.retry() > 0 && want.retry == 0 && want.code != codes.Unavailable {
		w.t.Errorf("RetryInfo %v, want at least %v: %v", o.retry(), want.retry, o)
	}
	if o.err != nil && bytes.Equal(o.data, w.files[bigFile]) && want.reason == fault.DigestMismatch {
		w.t.Error("all bytes were right, and yet it failed")
	}
}

// TestStale holds every row that can strike a tag against the table's word on stale answers: the last known digest, marked
// and with its age, or the failure; never to a caller who wants it fresh; not for ever; and asked anew when it is over.
func TestStale(t *testing.T) {
	for _, r := range table {
		if !slices.Contains(r.at, tag) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			brief := func(p *pullthrough.Policy) {
				p.MaxStale = 10 * time.Minute
				p.TTL = func(oci.Reference) pullthrough.TTL { return pullthrough.TTL{For: time.Minute} }
			}
			inWorld(t, setup{policy: brief}, func(w *world) { w.goStale(r) })
		})
	}
}

func (w *world) goStale(r row) {
	t := w.t
	want := r.want
	if other, ok := r.except[tag]; ok {
		want = other
	}
	w.mustRead(bigFile, 0, -1)
	strike := func() {
		if r.dial != nil {
			w.site.hangUp()
			w.site.breaks(r.dial)
		} else {
			w.reg.Always(Kind(registrytest.Tag), r.act(0))
		}
	}
	time.Sleep(2 * time.Minute)
	strike()
	for _, o := range together(3, func() outcome { return w.pull(reference, nil) }) {
		if !r.stale {
			now := want
			if r.name == "401" { // until now the registry had let this scope in
				now.reason = fault.UpstreamUnauthorized
			}
			w.hold(o, now)
			continue
		}
		if o.err != nil || !o.resolution.Stale || o.resolution.Digest != w.manifest.String() {
			t.Fatalf("no stale answer: %v %v", o, o.resolution)
		}
		if age := o.resolution.Age.AsDuration(); age < 2*time.Minute || age > 3*time.Minute {
			t.Errorf("it says that it is %v old", age)
		}
		if o.took > want.within {
			t.Errorf("the stale answer took %v", o.took)
		}
	}
	if r.stale {
		w.mustRead(bigFile, 0, -1) // what is cached can be read meanwhile
	}
	time.Sleep(61 * time.Second)
	w.hold(w.pull(reference, &blobdv1.ReadOptions{RequireFresh: true}), want)
	time.Sleep(10 * time.Minute) // more than max_stale
	w.hold(w.pull(reference, nil), want)

	w.reg.Heal()
	w.site.breaks(nil)
	time.Sleep(61 * time.Second)
	if o := w.pull(reference, nil); o.err != nil || o.resolution.Stale {
		t.Errorf("after the fault: %v %v", o, o.resolution)
	}
	w.sound()
}
