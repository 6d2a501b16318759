package fetcher_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
)

// book is a Tracer that writes down what it hears: "who: METHOD kind status bytes reason", in the order of the ends.
type book struct {
	mu    sync.Mutex // guards lines and open
	lines []string
	open  int
}

type whoKey struct{}

func (b *book) Request(ctx context.Context, req *http.Request, registry, kind string) func(int, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open++
	req.Header.Set("Traceparent", "told")
	return func(status int, bytes int64, err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.open--
		b.lines = append(b.lines, fmt.Sprint(ctx.Value(whoKey{}), ": ", req.Method, " ", kind, " ", status, " ", bytes, " ", fault.ReasonOf(err)))
	}
}

func (b *book) heard(t *testing.T, what string, want ...string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.lines, want) || b.open != 0 {
		t.Errorf("%s: heard\n\t%q, %d open, want\n\t%q", what, b.lines, b.open, want)
	}
	b.lines = nil
}

func by(t *testing.T, who string) context.Context { return context.WithValue(within(t), whoKey{}, who) }

// A tracer hears of each request on the wire, whose it is and how it ended: of a login, which regclient sends without a
// context, and of each hop of a redirect too.
func TestTracer(t *testing.T) {
	reg := newTokenRegistry(t, nil)
	traced := &book{}
	f := open(t, fetcher.Options{Tracer: traced, Limits: quick()})
	answer := fmt.Sprintf("GET manifest 200 %d ", len(smallManifest))
	token := fmt.Sprintf("GET token 200 %d ", len(`{"expires_in":3600,"token":"first"}`)+1)
	if err := get(by(t, "first"), f, scope(reg.host)); err != nil {
		t.Fatal(err)
	}
	traced.heard(t, "a cold call", "first: GET manifest 401 0 ", "first: "+token, "first: "+answer)
	if err := get(by(t, "second"), f, scope(reg.host)); err != nil {
		t.Fatal(err)
	}
	traced.heard(t, "a warm call", "second: "+answer)
	reg.token.Store(new("later"))
	if err := get(by(t, "third"), f, scope(reg.host)); err != nil {
		t.Fatal(err)
	}
	traced.mu.Lock()
	for _, line := range traced.lines {
		if line[:6] != "third:" {
			t.Errorf("%q is not the third's", line)
		}
	}
	traced.lines = nil
	traced.mu.Unlock()
	for _, r := range reg.Requests() {
		if r.Trace != "told" {
			t.Errorf("%s %s was not told", r.Method, r.Path)
		}
	}
}

func TestTracerOfBodies(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 10_000)
	traced := &book{}
	cut := true
	far := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if cut {
			cut = false
			cutAfter(w, r, data, 30_000)
			return
		}
		sendRange(w, r, data)
	})
	near := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, far.url+"/blob", http.StatusTemporaryRedirect)
	})
	f := open(t, fetcher.Options{Tracer: traced, Limits: quick()})
	if _, err := readAll(f.Blob(by(t, "a"), scope(near.host), blobOf(data))); err != nil {
		t.Fatal(err)
	}
	hop := fmt.Sprintf("a: GET blob 307 %d ", len(`<a href="">Temporary Redirect</a>.`)+len(far.url+"/blob")+2)
	traced.heard(t, "a body that was cut", hop, "a: GET blob 200 30000 ", "a: GET range 307"+hop[len("a: GET blob 307"):], "a: GET range 206 70000 ")

	gone := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	limits := quick()
	limits.Tries = 1
	f = open(t, fetcher.Options{Tracer: traced, Limits: limits})
	if _, err := readAll(f.Blob(by(t, "b"), scope(gone.host), blobOf(data))); err == nil {
		t.Fatal("a body came from nowhere")
	}
	traced.heard(t, "no answer", "b: GET blob 0 0 UPSTREAM_UNREACHABLE")
}
