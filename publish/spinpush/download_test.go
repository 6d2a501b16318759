package spinpush_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/publish/spinpush"
)

// remote is a manifest with components that are this address.
func remote(url, body string, components ...string) string {
	text := none
	for _, id := range components {
		text += fmt.Sprintf("[component.%s]\nsource = { url = %q, digest = %q }\n", id, url, digest.FromString(body))
	}
	return text
}

func TestDownload(t *testing.T) {
	body := wasm(strings.Repeat("code", 1000))
	var asked atomic.Int32
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/old":
			http.Redirect(w, r, "/wasm", http.StatusFound)
		case "/wasm":
			_, _ = w.Write([]byte(body))
		default:
			http.NotFound(w, r)
		}
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	for name, c := range map[string]struct {
		url   string
		asked int32
	}{
		"on loopback": {plain.URL + "/wasm", 1},
		"redirected":  {plain.URL + "/old", 2},
		"over TLS":    {secure.URL + "/wasm", 1},
	} {
		asked.Store(0)
		p := pack(t, folder(t, map[string]string{"spin.toml": remote(c.url, body, "a", "b")}), spinpush.Options{Transport: secure.Client().Transport})
		layers := p.parsed(t).Layers
		if len(layers) != 2 || p.blobs[layers[0].Digest] != body || asked.Load() != c.asked {
			t.Errorf("%s: %d layers, %d requests", name, len(layers), asked.Load())
		}
		if strings.Contains(p.locked(t), "127.0.0.1") {
			t.Errorf("%s: %s", name, p.locked(t))
		}
	}
}

func TestDownloadRefuses(t *testing.T) {
	body := wasm(strings.Repeat("code", 1000))
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	var plain *httptest.Server
	mux := http.NewServeMux()
	mux.HandleFunc("/other", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body + "!")) })
	mux.HandleFunc("/text", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("text")) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write([]byte(body[:100]))
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("x", 100_000))) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for range 1000 {
			_, _ = w.Write([]byte(strings.Repeat("x", 1000)))
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/403", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://a.example/", http.StatusFound)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	plain = httptest.NewServer(mux)
	defer plain.Close()
	downgrade := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/other", http.StatusFound))
	defer downgrade.Close()
	pool := downgrade.Client().Transport
	for name, c := range map[string]struct {
		url    string
		body   string
		reason fault.Reason
		says   string
	}{
		"another file":     {plain.URL + "/other", body, fault.DigestMismatch, digest.FromString(body + "!").String()},
		"no wasm":          {plain.URL + "/text", "text", fault.InvalidArgument, "/text is no wasm"},
		"cut":              {plain.URL + "/cut", body, fault.Truncated, "only 100 bytes of 4008"},
		"too large":        {plain.URL + "/large", "", fault.SizeMismatch, "50000 bytes"},
		"endless":          {plain.URL + "/endless", "", fault.SizeMismatch, "50000 bytes"},
		"failing":          {plain.URL + "/503", body, fault.Upstream5xx, "503"},
		"forbidden":        {plain.URL + "/403", body, fault.UpstreamForbidden, "403"},
		"not there":        {plain.URL + "/none", body, fault.BlobUnknown, "404"},
		"sent away":        {plain.URL + "/away", body, fault.UpstreamRedirect, "http://a.example/"},
		"sent to a file":   {plain.URL + "/file", body, fault.UpstreamRedirect, "file:///etc/passwd"},
		"sent around":      {plain.URL + "/loop", body, fault.RedirectLoop, "more than 10"},
		"sent off TLS":     {downgrade.URL, body, fault.UpstreamRedirect, "from https to http"},
		"nobody there":     {"http://127.0.0.1:1/x", body, fault.UpstreamUnreachable, "127.0.0.1:1"},
		"a password hides": {"http://u:secret@127.0.0.1:1/x", body, fault.UpstreamUnreachable, "u:xxxxx@127.0.0.1:1"},
	} {
		dir := folder(t, map[string]string{"spin.toml": remote(c.url, c.body, "a")})
		_, err := spinpush.Pack(t.Context(), dir, spinpush.Options{MaxSource: 50_000, Transport: pool})
		if !errors.Is(err, c.reason) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "component a: ") ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v (%s)", name, err, fault.ReasonOf(err))
		}
	}
}

// TestDownloadEnds has a caller who gives up.
func TestDownloadEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	dir := folder(t, map[string]string{"spin.toml": remote(server.URL, "x", "a")})
	if _, err := spinpush.Pack(ctx, dir, spinpush.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// trickling is a server that sends a byte, and after each pause another one, until the caller has enough of it.
type trickling struct {
	req   *http.Request
	body  string
	pause time.Duration
}

func (s *trickling) RoundTrip(req *http.Request) (*http.Response, error) {
	s.req = req
	return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: io.NopCloser(s), Request: req}, nil
}

func (s *trickling) Read(b []byte) (int, error) {
	select {
	case <-s.req.Context().Done():
		return 0, s.req.Context().Err()
	case <-time.After(s.pause):
	}
	if s.body == "" {
		return 0, io.EOF
	}
	b[0], s.body = s.body[0], s.body[1:]
	return 1, nil
}

// TestDownloadStalls has a server that is slow, which may be, and one that falls silent.
func TestDownloadStalls(t *testing.T) {
	body := wasm("slow")
	dir := folder(t, map[string]string{"spin.toml": remote("https://a.example/", body, "a")})
	for pause, want := range map[time.Duration]error{50 * time.Second: nil, time.Hour: fault.UpstreamSlow} {
		synctest.Test(t, func(t *testing.T) {
			app, err := spinpush.Pack(t.Context(), dir, spinpush.Options{Transport: &trickling{body: body, pause: pause}})
			if !errors.Is(err, want) {
				t.Errorf("a byte in %s: %v", pause, err)
			}
			if err == nil {
				app.Close()
			}
		})
	}
}
