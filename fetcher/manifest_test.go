package fetcher_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
)

const smallManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`

func TestResolveWithoutHead(t *testing.T) {
	for _, tc := range []struct {
		name string
		head func(http.ResponseWriter)
	}{
		{"refused", func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) }},
		{"without a digest", func(w http.ResponseWriter) { w.Header().Set("Content-Type", oci.MediaTypeImageManifest) }},
		{"with a malformed digest", func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", "sha256:")
		}},
		{"without a media type", func(w http.ResponseWriter) {
			w.Header()["Content-Type"] = nil
			w.Header().Set("Docker-Content-Digest", digest.FromString(smallManifest).String())
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					tc.head(w)
					return
				}
				w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
				_, _ = w.Write([]byte(smallManifest))
			})
			var hours atomic.Int64
			begin := time.Now()
			f := open(t, fetcher.Options{Now: func() time.Time { return begin.Add(time.Duration(hours.Load()) * time.Hour) }})
			resolve := func() {
				t.Helper()
				d, raw, err := f.Resolve(within(t), scope(reg.host), "v1")
				if err != nil || d.Digest != digest.FromString(smallManifest) || string(raw) != smallManifest ||
					d.MediaType != oci.MediaTypeImageManifest || d.Size != int64(len(raw)) {
					t.Fatalf("%+v %q %v", d, raw, err)
				}
			}
			resolve()
			resolve()
			if got := reg.Counts(); got.Head != 1 || got.Tag != 3 {
				t.Fatalf("the missing HEAD was not remembered: %+v", got)
			}
			hours.Store(2)
			resolve()
			if got := reg.Counts(); got.Head != 2 {
				t.Fatalf("the missing HEAD was remembered for more than an hour: %+v", got)
			}
		})
	}
}

func TestStatWithoutHead(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
		_, _ = w.Write([]byte(smallManifest))
	})
	f := open(t, fetcher.Options{})
	if err := f.Stat(within(t), scope(reg.host), digest.FromString(smallManifest)); err != nil {
		t.Fatal(err)
	}
}

func TestManifestAnswers(t *testing.T) {
	good := digest.FromString(smallManifest)
	for _, tc := range []struct {
		name, mediaType, body string
		want                  fault.Reason
	}{
		{"good", oci.MediaTypeImageManifest, smallManifest, ""},
		{"parameters in the type", oci.MediaTypeImageManifest + "; charset=utf-8", smallManifest, ""},
		{"type in the body only", "application/json", smallManifest, ""},
		{"other bytes", oci.MediaTypeImageManifest, strings.Replace(smallManifest, ":2}", ":3}", 1), fault.DigestMismatch},
		{"no bytes", oci.MediaTypeImageManifest, "", fault.DigestMismatch},
		{"HTML", "text/html", "<html>log in to the hotel's network</html>", fault.MediaType},
		{"a blob", "application/octet-stream", smallManifest, fault.MediaType},
		{"schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", smallManifest, fault.MediaType},
		{"too large", oci.MediaTypeImageManifest, strings.Repeat(" ", 5<<20), fault.ManifestInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tc.mediaType)
				_, _ = w.Write([]byte(tc.body))
			})
			f := open(t, fetcher.Options{Limits: quick()})
			mediaType, raw, err := f.Manifest(within(t), scope(reg.host), good)
			if tc.want != "" {
				if !errors.Is(err, tc.want) || raw != nil {
					t.Fatalf("got %v, want %s", err, tc.want)
				}
				return
			}
			if err != nil || string(raw) != smallManifest || mediaType != oci.MediaTypeImageManifest {
				t.Fatalf("%s %q %v", mediaType, raw, err)
			}
		})
	}
}

func TestResolveChecksWhatTheRegistrySays(t *testing.T) {
	sum512 := digest.SHA512.FromString(smallManifest)
	for _, tc := range []struct {
		name, said string
		want       digest.Digest
		fails      fault.Reason
	}{
		{"nothing", "", digest.FromString(smallManifest), ""},
		{"another algorithm", sum512.String(), sum512, ""},
		{"a lie", digest.FromString("other").String(), "", fault.DigestMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
				w.Header().Set("Docker-Content-Digest", tc.said)
				_, _ = w.Write([]byte(smallManifest))
			})
			d, _, err := open(t, fetcher.Options{}).Resolve(within(t), scope(reg.host), "v1")
			if d.Digest != tc.want || tc.fails != "" && !errors.Is(err, tc.fails) || tc.fails == "" && err != nil {
				t.Fatalf("%+v %v", d, err)
			}
		})
	}
}

// A failed host is tried three times, then left alone for a while that its other repositories don't share.
func TestRetriesAndBreaker(t *testing.T) {
	var bad atomic.Int64 // answers that fail before one works
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, repo) && bad.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", digest.FromString(smallManifest).String())
	})
	var now atomic.Int64
	begin := time.Now()
	f := open(t, fetcher.Options{
		Limits: fetcher.Limits{RetryWait: time.Millisecond, BreakerMin: time.Hour, BreakerMax: 3 * time.Hour},
		Now:    func() time.Time { return begin.Add(time.Duration(now.Load())) },
	})
	resolve := func(want fault.Reason, requests int) error {
		t.Helper()
		reg.Reset()
		_, _, err := f.Resolve(within(t), scope(reg.host), "v1")
		if fault.ReasonOf(err) != want || reg.Counts().Total() != requests {
			t.Fatalf("%v after %+v; want %q after %d requests", err, reg.Counts(), want, requests)
		}
		return err
	}
	bad.Store(2)
	resolve("", 3)
	bad.Store(100)
	resolve(fault.Upstream5xx, 3)
	err := resolve(fault.Upstream5xx, 0) // open
	if e, ok := errors.AsType[*fault.Error](err); !ok || e.RetryAfter != time.Hour {
		t.Fatalf("%+v", err)
	}
	other := scope(reg.host)
	other.Repository = "acme/other"
	if _, _, err := f.Resolve(within(t), other, "v1"); err != nil {
		t.Fatalf("another repository suffers: %v", err)
	}
	now.Add(int64(time.Hour))
	resolve(fault.Upstream5xx, 3) // one caller may look, and finds it still down
	now.Add(int64(time.Hour))
	resolve(fault.Upstream5xx, 0) // the pause has doubled
	now.Add(int64(time.Hour))
	bad.Store(0)
	resolve("", 1)
	resolve("", 1)
}

func TestRetryAfter(t *testing.T) {
	for _, tc := range []struct {
		name   string
		value  func() string
		status int
		want   fault.Reason // "": it is obeyed and works
		tell   time.Duration
	}{
		{"seconds, obeyed", func() string { return "1" }, 429, "", 0},
		{"seconds, obeyed, 503", func() string { return "1" }, 503, "", 0},
		{"a date, obeyed", func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) }, 429, "", 0},
		{"an hour", func() string { return "3600" }, 429, fault.UpstreamRateLimit, time.Minute},
		{"none", func() string { return "" }, 429, fault.UpstreamRateLimit, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, repo) && asked.Add(1) == 1 {
					w.Header().Set("Retry-After", tc.value())
					w.WriteHeader(tc.status)
					return
				}
				w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
				_, _ = w.Write([]byte(smallManifest))
			})
			f := open(t, fetcher.Options{})
			_, _, err := f.Manifest(within(t), scope(reg.host), digest.FromString(smallManifest))
			if fault.ReasonOf(err) != tc.want {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if e, ok := errors.AsType[*fault.Error](err); ok && e.RetryAfter != tc.tell {
				t.Fatalf("RetryAfter %v, want %v", e.RetryAfter, tc.tell)
			}
			other := scope(reg.host)
			other.Repository = "acme/other"
			begin := time.Now()
			if _, _, err := f.Manifest(within(t), other, digest.FromString(smallManifest)); err != nil || time.Since(begin) > time.Second {
				t.Fatalf("another repository waited %v: %v", time.Since(begin), err)
			}
		})
	}
}

func TestObserver(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthToken})
	blob := reg.PutBlob(t, repo, pattern(1000))
	manifest, raw := reg.PutArtifact(t, repo, "v1", "application/x-test", blob)
	var s seen
	f := open(t, fetcher.Options{Credentials: logins(t, "secret"), Observer: &s})
	sc := scope(reg.Host())
	sc.Credential = "robot"
	_, _, err1 := f.Resolve(within(t), sc, "v1")
	_, _, err2 := f.Resolve(within(t), sc, "v2")
	_, _, err3 := f.Manifest(within(t), sc, manifest.Digest)
	_, err4 := readAll(f.Blob(within(t), sc, blob))
	_, err5 := readRange(f.Range(within(t), sc, blob, 10, 20))
	if err := errors.Join(err1, err3, err4, err5); err != nil || !errors.Is(err2, fault.ManifestUnknown) {
		t.Fatal(err, err2)
	}
	h := reg.Host()
	want := map[string]int{
		h + " tag 401": 1, h + " token 2xx": 1, h + " tag 2xx": 1, h + " tag 404": 1,
		h + " manifest 2xx": 1, h + " blob 2xx": 1, h + " range 2xx": 1,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) != len(want) {
		t.Fatalf("%v, want %v", s.asked, want)
	}
	for k, n := range want {
		if s.asked[k] != n {
			t.Errorf("%s: %d, want %d", k, s.asked[k], n)
		}
	}
	if least := int64(len(raw) + 1020); s.bytes[h] < least || s.bytes[h] > least+2000 {
		t.Errorf("%d bytes, want %d and a token", s.bytes[h], least)
	}
}

func TestEndlessManifestIsCutOff(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 256 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	f := open(t, fetcher.Options{})
	if _, _, err := f.Manifest(within(t), scope(reg.host), digest.FromString(smallManifest)); !errors.Is(err, fault.ManifestInvalid) {
		t.Fatalf("got %v", err)
	}
	if got := reg.Requests()[0].Bytes; got > 32<<20 { // what fits the limit and the buffers on the way
		t.Fatalf("%d bytes were sent", got)
	}
}
