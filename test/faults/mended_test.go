package faults

import (
	"net/http"
	"slices"
	"testing"
	"time"

	. "github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/pullthrough"
)

// TestMended holds the faults that blobd gets over by itself: three callers see none of them, what they read is right, and
// it costs no more requests than it must.
func TestMended(t *testing.T) {
	cutsAt := func(blocks ...int64) (acts []Act) {
		for _, b := range blocks {
			acts = append(acts, Cut(b*block+100))
		}
		return acts
	}
	for _, c := range []struct {
		name   string
		at     []string
		acts   func(at int64) []Act
		more   int // requests than without it
		within time.Duration
	}{
		{"503 twice", everywhere, func(int64) []Act { return []Act{Status(503), Status(503)} }, 2, soon},
		{"429 for 5 seconds", byDigest, func(int64) []Act { return []Act{Status(429, "Retry-After", "5")} }, 1, 6 * time.Second},
		{"429 until a date", byDigest, func(int64) []Act { return []Act{RetryAt(429, 5*time.Second)} }, 1, 6 * time.Second},
		{"429 for a second, tag", []string{tag}, func(int64) []Act { return []Act{Status(429, "Retry-After", "1")} }, 1, soon},
		{"cut once", blobs, func(at int64) []Act { return []Act{Cut(at)} }, 1, soon},
		{"reset once", blobs, func(at int64) []Act { return []Act{Reset(at)} }, 1, soon},
		{"cut five times", []string{first}, func(int64) []Act { return cutsAt(0, 1, 2, 3, 4) }, 5, soon},
		{"wrong bytes once", []string{manifest, index, last}, func(at int64) []Act { return []Act{WrongByte(at)} }, 1, soon},
		{"416 once", blobs, func(int64) []Act { return []Act{Status(416)} }, 2, soon}, // the second is a HEAD
		{"slow headers", everywhere, func(int64) []Act { return []Act{Delay(14*time.Second, Well)} }, 0, 15 * time.Second},
		{"slow body", blobs, func(at int64) []Act { return []Act{Trickle(at, 100<<10, 5*time.Second)} }, 0, 61 * time.Second},
		{"ranges ignored", ranges, func(int64) []Act { return []Act{NoRange} }, 0, soon},
		// The GET brings the manifest too.
		{"HEAD refused", []string{tag}, func(int64) []Act { return []Act{Status(405)} }, 0, soon},
		{"HEAD without a digest", []string{tag},
			func(int64) []Act { return []Act{Edit(func(a *Answer) { a.Header.Del("Docker-Content-Digest") })} }, 0, soon},
	} {
		for _, at := range c.at {
			t.Run(c.name+"/"+at, func(t *testing.T) {
				t.Parallel()
				inWorld(t, setup{}, func(w *world) {
					p := places[at]
					least := 4 // requests without a fault
					if slices.Contains(ranges, at) {
						w.pull(reference, nil)
						least = 1
					}
					w.reg.Reset()
					w.reg.On(p.asked(w.content), c.acts(p.at)...)
					for _, o := range together(3, func() outcome { return w.read(bigFile, 0, -1) }) {
						if o.err != nil || string(o.data) != string(w.files[bigFile]) || !o.verified {
							t.Errorf("%d bytes, verified %v: %v", len(o.data), o.verified, o)
						}
						if o.took > c.within {
							t.Errorf("it took %v, more than %v", o.took, c.within)
						}
					}
					if got, want := w.reg.Counts().Total(), least+c.more; got != want {
						t.Errorf("%d requests, want %d: %+v", got, want, w.reg.Requests())
					}
					w.sound()
				})
			})
		}
	}
}

// Wrong bytes that were handed out can't be taken back: the stream fails. Who asks for checked bytes never sees them, and
// gets the right ones at the second try.
func TestWrongBytesOnce(t *testing.T) {
	for _, at := range ranges {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			inWorld(t, setup{policy: func(p *pullthrough.Policy) {
				p.RequireVerified = func(oci.Reference) bool { return true }
			}}, func(w *world) {
				w.reg.On(Blob(w.data), WrongByte(places[at].at))
				together(3, func() outcome { return w.mustRead(bigFile, 0, -1) })
				if got := w.reg.Counts(); got.Range != 2 {
					t.Errorf("%+v", got)
				}
				w.sound()
			})
		})
	}
}

// A host without ranges sends the whole blob once, for whatever is read of it later; it is remembered for an hour.
func TestRangesIgnored(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		w.reg.Always(Kind(registrytest.Range), NoRange)
		together(3, func() outcome { return w.mustRead(bigFile, 3*block, 100) })
		if got := w.reg.Counts(); got.Range != 1 || got.Blob != 1 { // the other blob is the index
			t.Fatalf("%+v", got)
		}
		w.reg.Reset()
		w.mustRead(bigFile, 0, -1)
		w.mustRead(smallOne, 0, -1)
		if got := w.reg.Counts().Total(); got != 0 {
			t.Fatalf("%d requests for what the first has brought", got)
		}
		if _, err := w.service.Clear(w.t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		w.mustRead(bigFile, 3*block, 100)
		if got := w.reg.Counts(); got.Range != 0 || got.Blob != 2 {
			t.Fatalf("asked for a range again: %+v", got)
		}
		time.Sleep(61 * time.Minute)
		w.reg.Heal()
		if _, err := w.service.Clear(w.t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		w.reg.Reset()
		w.mustRead(bigFile, 3*block, 100)
		if got := w.reg.Counts(); got.Range != 1 {
			t.Fatalf("an hour later: %+v", got)
		}
		w.sound()
	})
}

// A host that takes no HEAD is asked by GET for an hour; one whose HEAD failed behind a captive portal is not.
func TestHeadRefused(t *testing.T) {
	head := All(Kind(registrytest.Tag), Method(http.MethodHead))
	inWorld(t, setup{}, func(w *world) {
		w.reg.Always(head, Status(405))
		w.mustRead(smallOne, 0, -1)
		if got := w.reg.Counts(); got.Tag != 2 || got.Head != 1 || got.Manifest != 0 {
			t.Fatalf("%+v", got) // the GET brings the manifest too
		}
		time.Sleep(16 * time.Minute)
		w.reg.Reset()
		w.mustRead(smallOne, 0, -1)
		if got := w.reg.Counts(); got.Tag != 1 || got.Head != 0 {
			t.Fatalf("%+v", got)
		}
		time.Sleep(time.Hour)
		w.reg.Heal()
		w.reg.Reset()
		w.mustRead(smallOne, 0, -1)
		if got := w.reg.Counts(); got.Tag != 1 || got.Head != 1 {
			t.Fatalf("an hour later: %+v", got)
		}
	})
	inWorld(t, setup{}, func(w *world) {
		w.reg.Always(Kind(registrytest.Tag), Page)
		if o := w.pull(reference, nil); o.err == nil {
			t.Fatal("a web page was taken for a manifest")
		}
		w.reg.Heal()
		w.reg.Reset()
		w.mustRead(smallOne, 0, -1)
		if got := w.reg.Counts(); got.Tag != 1 || got.Head != 1 {
			t.Fatalf("after the portal: %+v", got)
		}
	})
}

// A tag that moves between its HEAD and the manifest's GET means what the HEAD said; the next check sees the new one.
func TestTagMoves(t *testing.T) {
	inWorld(t, setup{own: true}, func(w *world) {
		w.reg.On(Kind(registrytest.Tag), After(w.moveTag, Well))
		for _, o := range together(3, func() outcome { return w.mustRead(bigFile, 0, -1) }) {
			if o.resolution.Digest != w.manifest.String() {
				t.Errorf("got %s, the HEAD said %s", o.resolution.Digest, w.manifest)
			}
		}
		time.Sleep(16 * time.Minute)
		if o := w.pull(reference, nil); o.err != nil || o.resolution.Digest == w.manifest.String() || o.resolution.Stale {
			t.Errorf("after the TTL: %v %v", o, o.resolution)
		}
		w.sound()
	})
}
