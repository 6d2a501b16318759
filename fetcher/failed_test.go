package fetcher_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
)

// failures keeps what Options.Failed is told.
type failures struct {
	mu   sync.Mutex
	told []string // registry and reason
	text []string
}

func (f *failures) tell(registry string, e *fault.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, registry+" "+string(e.Reason))
	f.text = append(f.text, e.Error())
}

// TestFailures: each request that the registry fails is told once; answers, if it be no, and callers that go are not.
func TestFailures(t *testing.T) {
	data := pattern(100_000)
	wrong := bytes.Clone(data)
	wrong[9] ^= 1
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	resolve := func(ctx context.Context, f *fetcher.Fetcher, sc oci.Scope) error {
		_, _, err := f.Resolve(ctx, sc, "v1")
		return err
	}
	blob := func(ctx context.Context, f *fetcher.Fetcher, sc oci.Scope) error {
		_, err := readAll(f.Blob(ctx, sc, blobOf(data)))
		return err
	}
	manifest := func(ctx context.Context, f *fetcher.Fetcher, sc oci.Scope) error {
		_, _, err := f.Manifest(ctx, sc, digest.FromString("another"))
		return err
	}
	tests := []struct {
		name   string
		serve  http.HandlerFunc
		ask    func(context.Context, *fetcher.Fetcher, oci.Scope) error
		reason fault.Reason // of the error
		want   []fault.Reason
	}{
		{"good", func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, data) }, blob, "", nil},
		{"not found", status(404), resolve, fault.ManifestUnknown, nil},
		{"no such blob", status(404), blob, fault.BlobUnknown, nil},
		{"each try", status(503), resolve, fault.Upstream5xx, []fault.Reason{fault.Upstream5xx, fault.Upstream5xx, fault.Upstream5xx}},
		{"denied", status(403), blob, fault.UpstreamForbidden, []fault.Reason{fault.UpstreamForbidden}},
		{"one failure, then good", func() http.HandlerFunc {
			var once sync.Once
			return func(w http.ResponseWriter, r *http.Request) {
				failed := false
				once.Do(func() { failed = true })
				if failed {
					w.WriteHeader(500)
					return
				}
				sendRange(w, r, data)
			}
		}(), blob, "", []fault.Reason{fault.Upstream5xx}},
		{"no HEAD", func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			_, _ = w.Write([]byte(smallManifest))
		}, resolve, "", nil},
		{"a captive portal", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Docker-Content-Digest", digest.FromString("x").String())
		}, resolve, fault.MediaType, []fault.Reason{fault.MediaType}},
		{"another manifest, twice", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			_, _ = w.Write([]byte(smallManifest))
		}, manifest, fault.DigestMismatch, []fault.Reason{fault.DigestMismatch, fault.DigestMismatch}},
		{"wrong bytes", func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, wrong) }, blob,
			fault.DigestMismatch, []fault.Reason{fault.DigestMismatch}},
		{"cut without end", func(w http.ResponseWriter, r *http.Request) { cutAfter(w, r, data, 1000) }, blob,
			fault.Truncated, []fault.Reason{fault.Truncated}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := serve(t, tt.serve)
			var told failures
			f := open(t, fetcher.Options{Limits: quick(), Failed: told.tell})
			err := tt.ask(within(t), f, scope(reg.host))
			if tt.reason == "" && err != nil || tt.reason != "" && !errors.Is(err, tt.reason) {
				t.Fatalf("got %v, want %q", err, tt.reason)
			}
			var want []string
			for _, reason := range tt.want {
				want = append(want, reg.host+" "+string(reason))
			}
			if !slices.Equal(told.told, want) {
				t.Errorf("told %q, want %q", told.told, want)
			}
		})
	}
}

// What is told holds no secret: it is shown to more people than the error.
func TestFailuresTellNoSecret(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthToken})
	reg.PutArtifact(t, repo, "v1", "application/x-test")
	var told failures
	f := open(t, fetcher.Options{Credentials: logins(t, "canary-of-the-password"), Failed: told.tell})
	sc := scope(reg.Host())
	sc.Credential = "robot"
	if _, _, err := f.Resolve(within(t), sc, "v1"); !errors.Is(err, fault.UpstreamForbidden) {
		t.Fatal(err)
	}
	if len(told.text) == 0 {
		t.Fatal("nothing was told")
	}
	for _, text := range told.text {
		if strings.Contains(text, "canary") {
			t.Errorf("told %q", text)
		}
	}
}

func TestNoFailureWhenTheCallerGoes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reg := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	var told failures
	f := open(t, fetcher.Options{Limits: quick(), Failed: told.tell})
	if _, _, err := f.Resolve(ctx, scope(reg.host), "v1"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(told.told) != 0 {
		t.Errorf("told %q", told.told)
	}
}
