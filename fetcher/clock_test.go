package fetcher_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

const year = 365 * 24 * time.Hour

// jumping is a clock that a test sets.
type jumping struct{ at atomic.Int64 }

func (c *jumping) now() time.Time       { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *jumping) jump(d time.Duration) { c.at.Add(int64(d)) }

func bothWays(t *testing.T, test func(t *testing.T, jump time.Duration)) {
	for _, jump := range []time.Duration{year, -year} {
		t.Run(fmt.Sprintf("%+.0f year", float64(jump/year)), func(t *testing.T) {
			t.Parallel()
			test(t, jump)
		})
	}
}

// Whatever keeps callers from a repository ends with the time that it was to take, or with a jump of the clock: the
// breaker, and a Retry-After in either form, be it for next year.
func TestClockJumpBackOff(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func(w http.ResponseWriter, now time.Time)
		want   fault.Reason
	}{
		{"breaker", func(w http.ResponseWriter, _ time.Time) { w.WriteHeader(500) }, fault.Upstream5xx},
		{"seconds", func(w http.ResponseWriter, _ time.Time) {
			w.Header().Set("Retry-After", "31536000")
			w.WriteHeader(429)
		}, fault.UpstreamRateLimit},
		{"date", func(w http.ResponseWriter, now time.Time) {
			w.Header().Set("Retry-After", now.Add(year).UTC().Format(http.TimeFormat))
			w.WriteHeader(429)
		}, fault.UpstreamRateLimit},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, jump time.Duration) {
				var c jumping
				var bad atomic.Bool
				reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
					if bad.Load() {
						tc.answer(w, c.now())
						return
					}
					w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
					w.Header().Set("Docker-Content-Digest", digest.FromString(smallManifest).String())
				})
				f := open(t, fetcher.Options{
					Limits: fetcher.Limits{RetryWait: time.Millisecond, BreakerMin: time.Minute, BreakerMax: time.Minute}, Now: c.now,
				})
				resolve := func(what string, want fault.Reason, asks bool) {
					t.Helper()
					reg.Reset()
					_, _, err := f.Resolve(within(t), scope(reg.host), "v1")
					if fault.ReasonOf(err) != want || (reg.Counts().Total() > 0) != asks {
						t.Fatalf("%s: %v, %d requests", what, err, reg.Counts().Total())
					}
				}
				fails := func() {
					t.Helper()
					bad.Store(true)
					resolve("bad", tc.want, true)
					resolve("known to be bad", tc.want, false)
					bad.Store(false)
				}
				fails()
				c.jump(jump)
				resolve("jumped", "", true)
				fails()
				c.jump(-jump)
				resolve("set right", "", true)
				fails()
				c.jump(time.Minute)
				resolve("a minute later", "", true)
			})
		})
	}
}

// What a host can't do is asked for again after an hour, or after a jump, and a mirror that was slow is tried again.
func TestClockJumpQuirks(t *testing.T) {
	data := pattern(10_000)
	blob := blobOf(data)
	bothWays(t, func(t *testing.T, jump time.Duration) {
		var c jumping
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) { // no ranges
			_, _ = w.Write(data)
		})
		f := open(t, fetcher.Options{Limits: quick(), Now: c.now})
		ranges := func(what string, asked int) {
			t.Helper()
			reg.Reset()
			if _, err := readRange(f.Range(within(t), scope(reg.host), blob, 10, 20)); err != nil {
				t.Fatal(err)
			}
			if got := reg.Counts(); got.Range != asked || got.Total() != 1 {
				t.Errorf("%s: %+v, want %d ranges", what, got, asked)
			}
		}
		ranges("first", 1)
		ranges("known", 0)
		c.jump(jump)
		ranges("jumped", 1)
		ranges("known", 0)
		c.jump(-jump)
		ranges("set right", 1)
		c.jump(59 * time.Minute)
		ranges("within the hour", 0)
		c.jump(time.Minute)
		ranges("after the hour", 1)
	})
}

func TestClockJumpMirror(t *testing.T) {
	data := pattern(10_000)
	blob := blobOf(data)
	bothWays(t, func(t *testing.T, jump time.Duration) {
		var c jumping
		var stalls atomic.Bool
		mirror := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if stalls.Load() {
				<-r.Context().Done()
				return
			}
			sendRange(w, r, data)
		})
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, data) })
		limits := fetcher.Limits{RetryWait: time.Millisecond, BreakerMin: time.Nanosecond, BreakerMax: 30 * time.Second, Mirror: time.Second}
		f := open(t, fetcher.Options{
			Registries: map[string]fetcher.Registry{reg.host: {Mirrors: []string{mirror.host}}}, Limits: limits, Now: c.now,
		})
		from := func(what string, mirrored bool) {
			t.Helper()
			mirror.Reset()
			if got, err := readAll(f.Blob(within(t), scope(reg.host), blob)); err != nil || len(got) != len(data) {
				t.Fatalf("%s: %d bytes, %v", what, len(got), err)
			}
			if (mirror.Counts().Total() > 0) != mirrored {
				t.Errorf("%s: %+v at the mirror", what, mirror.Counts())
			}
		}
		stall := func() {
			t.Helper()
			stalls.Store(true)
			from("it stalls", true)
			stalls.Store(false)
			from("passed over", false)
		}
		from("good", true)
		stall()
		c.jump(jump)
		from("jumped", true)
		stall()
		c.jump(-jump)
		from("set right", true)
	})
}
