package faults

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
)

// outside has h answer in a goroutine of the bubble's outside, where it was made: what it keeps must not be touched from
// both sides. Whoever waits for it does not let virtual time go on, so an answer takes none.
type outside struct {
	mu      sync.Mutex // held during one exchange
	asks    chan *http.Request
	answers chan *httptest.ResponseRecorder
}

func newOutside(h http.Handler) *outside {
	o := &outside{asks: make(chan *http.Request), answers: make(chan *httptest.ResponseRecorder)}
	go func() {
		for r := range o.asks {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			o.answers <- rec
		}
	}()
	return o
}

// close ends the goroutine.
func (o *outside) close() { close(o.asks) }

func (o *outside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asks <- r.Clone(context.Background())
	rec := <-o.answers
	o.mu.Unlock()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(rec.Body.Bytes())
	}
}
