package faults

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	. "github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/internal/registrytest"
)

// Mirrors are asked in their order, and one that fails in whichever way costs little and is left out for a while; what it
// says of a tag or a blob is never the last word.
func TestMirrors(t *testing.T) {
	plain := true
	for _, c := range []struct {
		name   string
		act    Act
		within time.Duration // of a cold read of everything
	}{
		{"well", Well, soon},
		{"404", Status(404), soon},
		{"403", Status(403), soon},
		{"500", Status(500), 4 * soon},
		{"no headers", Stall, 11 * time.Second},
		{"web page", Page, soon},
		{"redirect loop", Loop, soon},
		{"stall midway", StallAt(100), 12 * time.Second},
		{"a byte a second", Trickle(100, 1, time.Second), 12 * time.Second},
		{"cut", Cut(100), soon},
		{"wrong range", OtherRange(block), soon},
		{"too long", Longer(100), soon},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := setup{registries: map[string]fetcher.Registry{
				registryName:   {PlainHTTP: &plain, Mirrors: []string{"mirror1.test", "mirror2.test"}},
				"mirror1.test": {PlainHTTP: &plain}, "mirror2.test": {PlainHTTP: &plain},
			}}
			inWorld(t, o, func(w *world) {
				one, two := New(w.registry, Latency(latency)), New(w.registry, Latency(latency))
				w.net.serve(w.t, "mirror1.test:80", "", one, nil)
				w.net.serve(w.t, "mirror2.test:80", "", two, nil)
				one.Always(Any, c.act)
				two.Always(Any, c.act)
				for _, o := range together(3, func() outcome { return w.mustRead(bigFile, 0, -1) }) {
					if o.took > c.within {
						t.Errorf("it took %v, more than %v", o.took, c.within)
					}
				}
				for _, r := range one.Requests() {
					if r.Query != "ns="+registryName {
						t.Errorf("asked without a name space: %+v", r)
					}
				}
				if c.name == "well" {
					if one.Counts().Total() != 4 || two.Counts().Total() != 0 || w.reg.Counts().Total() != 0 {
						t.Errorf("out of order: %+v, %+v, %+v", one.Counts(), two.Counts(), w.reg.Counts())
					}
				}
				// The last word is the registry's.
				w.reg.Always(Any, Status(404))
				if o := w.pull(registryName+"/"+repository+":none", nil); o.code() != codes.NotFound {
					t.Errorf("a tag that nobody has: %v", o)
				}
				w.sound()
			})
		})
	}
}

// A repository that fails costs the others nothing: neither of the same registry nor of another. While it is known to be
// down, nobody asks it.
func TestBreaker(t *testing.T) {
	plain := true
	o := setup{registries: map[string]fetcher.Registry{registryName: {PlainHTTP: &plain}, "other.test": {PlainHTTP: &plain}}}
	inWorld(t, o, func(w *world) {
		other := New(w.registry)
		w.net.serve(w.t, "other.test:80", "", other, nil)
		w.reg.Always(Repository("acme/broken"), Status(503))
		broken := func() outcome { return w.pull(registryName+"/acme/broken:v1", nil) }
		began, failed := time.Now(), 0
		for time.Since(began) < 10*time.Minute {
			o := broken()
			w.hold(o, unavailable(fault.Upstream5xx, 0, soon))
			failed++
			time.Sleep(o.retry())
			// Meanwhile, beside it:
			if o := w.pull(registryName+"/acme/missing:v1", nil); o.code() != codes.NotFound || o.took > 100*time.Millisecond {
				t.Fatalf("another repository: %v", o)
			}
		}
		// Pauses grow to 30 s: some 25 calls that tried three times each, and no more than as many that were refused.
		if got := w.reg.Struck(); got > 100 {
			t.Errorf("%d requests in ten minutes to a repository that is down, by %d calls", got, failed)
		}
		w.mustRead(bigFile, 0, -1)
		if o := w.pull("other.test/acme/broken:v1", nil); o.code() != codes.NotFound {
			t.Errorf("another registry: %v", o)
		}
		before := w.reg.Struck()
		for range 100 {
			if o := broken(); o.retry() == 0 || o.took > 3*time.Second {
				t.Fatal(o)
			}
		}
		if got := w.reg.Struck() - before; got > 6 {
			t.Errorf("a hundred calls while it is known to be down cost %d requests", got)
		}
		w.reg.Heal()
		time.Sleep(30 * time.Second)
		if o := broken(); o.code() != codes.NotFound {
			t.Errorf("half a minute later: %v", o)
		}
	})
}

// A 404 is remembered for ten seconds, for this tag of this repository.
func TestMissingTag(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		missing := func() outcome { return w.pull(registryName+"/"+repository+":none", nil) }
		for _, o := range append(together(3, missing), missing()) {
			w.hold(o, want{codes.NotFound, fault.ManifestUnknown, 0, 1, soon})
		}
		if got := w.reg.Counts().Total(); got != 1 {
			t.Errorf("%d requests", got)
		}
		time.Sleep(11 * time.Second)
		missing()
		if got := w.reg.Counts().Total(); got != 2 {
			t.Errorf("%d requests after ten seconds", got)
		}
		w.mustRead(smallOne, 0, -1)

		// A tag that goes is gone: its entry does not come back when the registry fails afterwards.
		w.reg.Always(Kind(registrytest.Tag), Status(404))
		time.Sleep(16 * time.Minute)
		w.hold(w.pull(reference, nil), want{codes.NotFound, fault.ManifestUnknown, 0, 1, soon})
		w.reg.Heal()
		w.reg.Always(Kind(registrytest.Tag), Status(503))
		time.Sleep(time.Minute)
		w.hold(w.pull(reference, nil), unavailable(fault.Upstream5xx, 3, soon))
	})
}
