package fetcher_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
)

// faulty is a hand-made server for what no real registry does on demand; it counts like the real one.
type faulty struct {
	*registrytest.Proxy
	host string
	url  string
}

func serve(t testing.TB, h http.HandlerFunc) *faulty {
	t.Helper()
	p := registrytest.NewProxy(h)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return &faulty{p, strings.TrimPrefix(s.URL, "http://"), s.URL}
}

// quick are limits at which failures cost no time; the breaker is as good as off.
func quick() fetcher.Limits {
	return fetcher.Limits{RetryWait: time.Millisecond, BreakerMin: time.Nanosecond, BreakerMax: time.Nanosecond}
}

func blobOf(data []byte) oci.Descriptor {
	return oci.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// sendRange answers a request for a blob as a good registry does.
func sendRange(w http.ResponseWriter, r *http.Request, data []byte) {
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
}

// cutAfter answers like sendRange but breaks the connection after n bytes of the body.
func cutAfter(w http.ResponseWriter, r *http.Request, data []byte, n int) {
	rec := httptest.NewRecorder()
	sendRange(rec, r, data)
	body := rec.Body.Bytes()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body[:min(n, len(body))])
	if n < len(body) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func readAll(r io.ReadCloser, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func readRange(b oci.Body, err error) ([]byte, error) { return readAll(b.ReadCloser, err) }

// seen is an Observer that keeps what it is told.
type seen struct {
	mu    sync.Mutex
	asked map[string]int // registry kind code
	bytes map[string]int64
}

func (s *seen) UpstreamRequest(registry, kind, code string, seconds float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	if seconds < 0 {
		panic("negative seconds")
	}
	s.asked[registry+" "+kind+" "+code]++
}

func (s *seen) UpstreamBytes(registry string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes == nil {
		s.bytes = map[string]int64{}
	}
	s.bytes[registry] += n
}

// within gives a call more time than it should ever need.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
