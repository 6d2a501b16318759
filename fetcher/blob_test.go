package fetcher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func TestRangeAnswers(t *testing.T) {
	data := pattern(1000)
	header := func(status int, contentRange string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}
	}
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		want   fault.Reason
	}{
		{"exact", header(206, "bytes 100-199/1000", data[100:200]), ""},
		{"total unknown", header(206, "bytes 100-199/*", data[100:200]), ""},
		{"another start", header(206, "bytes 0-99/1000", data[:100]), fault.BadRange},
		{"another end", header(206, "bytes 100-149/1000", data[100:150]), fault.BadRange},
		{"another total", header(206, "bytes 100-199/2000", data[100:200]), fault.BadRange},
		{"no Content-Range", header(206, "", data[100:200]), fault.BadRange},
		{"several ranges", func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=100-199,300-399")
			sendRange(w, r, data)
		}, fault.BadRange},
		{"416", header(416, "bytes */1000", nil), fault.BadRange},
		{"another length", header(206, "bytes 100-199/1000", data[100:190]), fault.SizeMismatch},
		{"whole of another size", header(200, "", data[:500]), fault.SizeMismatch},
		{"too long, unannounced", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 100-199/1000")
			w.WriteHeader(206)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(data[100:201])
		}, fault.SizeMismatch},
		{"204", header(204, "", nil), fault.UpstreamProtocol},
		{"400", header(400, "", nil), fault.UpstreamProtocol},
		{"403", header(403, "", nil), fault.UpstreamForbidden},
		{"404", header(404, "", nil), fault.BlobUnknown},
		{"500", header(500, "", nil), fault.Upstream5xx},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := serve(t, tc.answer)
			f := open(t, fetcher.Options{Limits: quick()})
			got, err := readRange(f.Range(within(t), scope(reg.host), blobOf(data), 100, 100))
			if fault.ReasonOf(err) != tc.want {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if tc.want == "" && !bytes.Equal(got, data[100:200]) {
				t.Fatalf("got %d bytes", len(got))
			}
		})
	}
}

func TestHostWithoutRanges(t *testing.T) {
	data := pattern(5000)
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Range")
		sendRange(w, r, data)
	})
	f := open(t, fetcher.Options{})
	for range 2 {
		body, err := f.Range(within(t), scope(reg.host), blobOf(data), 1000, 10)
		if err != nil || body.Offset != 0 || body.Length != 5000 {
			t.Fatalf("%+v, %v", body, err)
		}
		if got, err := readRange(body, nil); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if got := reg.Counts(); got.Range != 1 || got.Blob != 1 {
		t.Fatalf("not remembered: %+v", got)
	}
}

func TestCutBodiesAreResumed(t *testing.T) {
	data := pattern(100_000)
	ranges := func(f *faulty) (list []string) {
		for _, r := range f.Requests() {
			list = append(list, r.Range)
		}
		return list
	}
	for _, tc := range []struct {
		name  string
		after []int // bytes of each answer before the cut; the last one is repeated
		want  fault.Reason
		asked []string
	}{
		{"once", []int{30_000, 1 << 20}, "", []string{"", "bytes=30000-99999"}},
		{"five times", []int{10_000, 10_000, 10_000, 10_000, 10_000, 1 << 20}, "",
			[]string{"", "bytes=10000-99999", "bytes=20000-99999", "bytes=30000-99999", "bytes=40000-99999", "bytes=50000-99999"}},
		{"six times", []int{10_000}, fault.Truncated,
			[]string{"", "bytes=10000-99999", "bytes=20000-99999", "bytes=30000-99999", "bytes=40000-99999", "bytes=50000-99999"}},
		{"without getting on", []int{10_000, 0}, fault.Truncated, []string{"", "bytes=10000-99999"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var n atomic.Int64
			reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
				i := int(n.Add(1)) - 1
				cutAfter(w, r, data, tc.after[min(i, len(tc.after)-1)])
			})
			f := open(t, fetcher.Options{Limits: quick()})
			got, err := readAll(f.Blob(within(t), scope(reg.host), blobOf(data)))
			if fault.ReasonOf(err) != tc.want || !bytes.Equal(got, data[:len(got)]) || tc.want == "" && len(got) != len(data) {
				t.Fatalf("%d bytes, %v; want %q", len(got), err, tc.want)
			}
			if asked := ranges(reg); !slices.Equal(asked, tc.asked) {
				t.Fatalf("asked %q, want %q", asked, tc.asked)
			}
		})
	}
	t.Run("a range", func(t *testing.T) {
		var n atomic.Int64
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
			cutAfter(w, r, data, []int{500, 1 << 20}[n.Add(1)-1])
		})
		f := open(t, fetcher.Options{})
		got, err := readRange(f.Range(within(t), scope(reg.host), blobOf(data), 1000, 2000))
		if err != nil || !bytes.Equal(got, data[1000:3000]) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if asked := ranges(reg); !slices.Equal(asked, []string{"bytes=1000-2999", "bytes=1500-2999"}) {
			t.Fatalf("asked %q", asked)
		}
	})
	t.Run("from a host without ranges", func(t *testing.T) {
		var n atomic.Int64
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			cutAfter(w, r, data, []int{40_000, 1 << 20}[n.Add(1)-1])
		})
		f := open(t, fetcher.Options{})
		got, err := readAll(f.Blob(within(t), scope(reg.host), blobOf(data)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}

func TestBlobIsVerified(t *testing.T) {
	data := pattern(10_000)
	wrong := bytes.Clone(data)
	wrong[9_999] ^= 1
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, wrong) })
	f := open(t, fetcher.Options{})
	if _, err := readAll(f.Blob(within(t), scope(reg.host), blobOf(data))); !errors.Is(err, fault.DigestMismatch) {
		t.Fatalf("wrong bytes: %v", err)
	}
	exact := make([]byte, len(data)) // a reader that takes Size bytes and never asks for more gets no io.EOF with them
	r, err := f.Blob(within(t), scope(reg.host), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, exact); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(exact); !errors.Is(err, fault.DigestMismatch) {
		t.Fatalf("at the end: %v", err)
	}
	if got, err := readAll(f.Blob(within(t), scope(reg.host), blobOf(nil))); err != nil || len(got) != 0 {
		t.Fatalf("the empty blob: %v", err)
	}
	lie := blobOf(data)
	lie.Size = 0
	if _, err := readAll(f.Blob(within(t), scope(reg.host), lie)); !errors.Is(err, fault.DigestMismatch) {
		t.Fatalf("a descriptor of size 0: %v", err)
	}
}

// regclient leaks one of its three slots for a host with each body that it resumes. After a thousand of them, as many
// bodies as a host may have are open at once.
func TestCutBodiesLeakNoSlot(t *testing.T) {
	const bodies, parallel = 1000, 64 // parallel is the default of Limits.Connections
	data := pattern(1000)
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			cutAfter(w, r, data, 100)
			return
		}
		sendRange(w, r, data)
	})
	f := open(t, fetcher.Options{Limits: quick()})
	var left atomic.Int64
	left.Store(bodies)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := readAll(f.Blob(within(t), scope(reg.host), blobOf(data))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readers.Wait()
	if got := reg.Counts(); got.Range != bodies {
		t.Fatalf("%d of %d bodies were resumed", got.Range, bodies)
	}
	var opened, done sync.WaitGroup
	opened.Add(parallel)
	for range parallel {
		done.Go(func() {
			b, err := f.Range(within(t), scope(reg.host), blobOf(data), 0, 1000)
			opened.Done()
			opened.Wait()
			if got, err := readRange(b, err); err != nil || len(got) != len(data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	done.Wait()
}

func TestMaxConnections(t *testing.T) {
	data := pattern(1000)
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, data) })
	f := open(t, fetcher.Options{Registries: map[string]fetcher.Registry{reg.host: {MaxConnections: 1}}})
	first, err := f.Blob(within(t), scope(reg.host), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.Blob(ctx, scope(reg.host), blobOf(data)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("while the only slot is taken: %v", err)
	}
	if got := reg.Counts().Total(); got != 1 {
		t.Fatalf("%d requests", got)
	}
	_ = first.Close()
	if _, err := readAll(f.Blob(within(t), scope(reg.host), blobOf(data))); err != nil {
		t.Fatal(err)
	}
}

func TestLimits(t *testing.T) {
	data := pattern(100_000)
	stall := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	limits := quick()
	limits.Headers, limits.Idle, limits.RateWindow, limits.Metadata = 60*time.Millisecond, 60*time.Millisecond, 100*time.Millisecond, 120*time.Millisecond
	type handler = http.HandlerFunc
	drip := func(w http.ResponseWriter, r *http.Request) {
		for i := range data {
			if _, err := w.Write(data[i : i+1]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(5 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
	}
	for _, tc := range []struct {
		name   string
		answer handler
		ask    func(*fetcher.Fetcher, oci.Scope) error
		want   fault.Reason
	}{
		{"no headers, tag", stall, func(f *fetcher.Fetcher, sc oci.Scope) error { _, _, err := f.Resolve(within(t), sc, "v1"); return err }, fault.UpstreamTimeout},
		{"no headers, blob", stall, func(f *fetcher.Fetcher, sc oci.Scope) error {
			_, err := readAll(f.Blob(within(t), sc, blobOf(data)))
			return err
		}, fault.UpstreamTimeout},
		{"a stall in the body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:50_000])
			_ = http.NewResponseController(w).Flush()
			stall(w, r)
		}, func(f *fetcher.Fetcher, sc oci.Scope) error {
			_, err := readAll(f.Blob(within(t), sc, blobOf(data)))
			return err
		}, fault.UpstreamTimeout},
		{"byte by byte, blob", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			drip(w, r)
		}, func(f *fetcher.Fetcher, sc oci.Scope) error {
			_, err := readAll(f.Blob(within(t), sc, blobOf(data)))
			return err
		}, fault.UpstreamSlow},
		{"byte by byte, manifest", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			drip(w, r)
		}, func(f *fetcher.Fetcher, sc oci.Scope) error {
			_, _, err := f.Manifest(within(t), sc, blobOf(data).Digest)
			return err
		}, fault.UpstreamTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := serve(t, tc.answer)
			f := open(t, fetcher.Options{Limits: limits})
			begin := time.Now()
			if err := tc.ask(f, scope(reg.host)); !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %s", err, tc.want)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Fatalf("it took %v", took)
			}
		})
	}
}

// A reader that takes its time is not a slow registry.
func TestSlowReaderIsNotASlowRegistry(t *testing.T) {
	data := pattern(8 << 20) // more than the buffers of a connection
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, data) })
	limits := quick()
	const limit = 500 * time.Millisecond // more than a busy machine keeps a registry on it waiting
	limits.Idle, limits.RateWindow, limits.MinRate = limit, limit, 64<<10
	f := open(t, fetcher.Options{Limits: limits})
	r, err := f.Blob(within(t), scope(reg.host), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(r, first); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * limit)
	if rest, err := io.ReadAll(r); err != nil || len(rest) != len(data)-1000 {
		t.Fatalf("%d bytes, %v", len(rest), err)
	}
}

func TestCallersContext(t *testing.T) {
	data := pattern(1000)
	arrived, gone := make(chan struct{}), make(chan struct{})
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	f := open(t, fetcher.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := f.Blob(ctx, scope(reg.host), blobOf(data))
		failed <- err
	}()
	<-arrived
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || fault.ReasonOf(err) != "" {
		t.Fatalf("got %v", err)
	}
	<-gone // the request ended too

	// While a body is read:
	held := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(data[:10])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel = context.WithCancel(t.Context())
	r, err := f.Blob(ctx, scope(held.host), blobOf(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) || fault.ReasonOf(err) != "" {
		t.Fatalf("got %v", err)
	}
}

func TestCloseEndsOpenBodies(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	f := open(t, fetcher.Options{})
	r, err := f.Blob(within(t), scope(reg.host), blobOf(pattern(1000)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f.Close()
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fault.ShuttingDown) {
		t.Fatalf("got %v", err)
	}
	if _, err := f.Blob(within(t), scope(reg.host), blobOf(pattern(1000))); !errors.Is(err, fault.ShuttingDown) {
		t.Fatalf("after Close: %v", err)
	}
}
