// Package page is the daemon's status page: what a person wants to see at a glance, in one HTML document that loads
// nothing else, runs without JavaScript, and changes nothing.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"sync"
	"time"

	"github.com/blobd/blobd/monitor"
)

const (
	// fresh is how long a snapshot is shown: people can't tell, and no crowd of them makes the daemon work more.
	fresh = time.Second
	// writeLimit is how long a reader may take for a page, which is some tens of kilobytes, and two megabytes at most.
	writeLimit = 30 * time.Second
)

//go:embed page.html
var document string

//go:embed page.css
var style string

//go:embed page.js
var script string

// handler draws one page at a time, so that a crowd costs one core and one buffer.
type handler struct {
	template *template.Template

	mu       sync.Mutex // guards what is below
	snapshot func() monitor.Snapshot
	last     monitor.Snapshot
	made     time.Time // when last was
}

// Handler shows what snapshot returns, which is asked at most once a second. Paths but / are unknown to it, and methods
// but GET and HEAD refused.
func Handler(snapshot func() monitor.Snapshot) http.Handler {
	h := &handler{
		template: template.Must(template.New("page").Funcs(functions).Parse(document)),
		snapshot: snapshot,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.serve)
	return mux
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	page, err := h.draw(queryOf(r.URL))
	if err != nil {
		http.Error(w, "the page can't be drawn: "+err.Error(), http.StatusInternalServerError)
		return
	}
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit)) // where there is a connection
	_, _ = w.Write(page)                                                           // a reader that has gone needs no answer
}

func (h *handler) draw(q query) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); h.made.IsZero() || now.Sub(h.made) >= fresh {
		h.last, h.made = h.snapshot(), now
	}
	var out bytes.Buffer
	err := h.template.Execute(&out, newView(h.last, q))
	return out.Bytes(), err
}

// headers let the page run its own style and script, ask its own address, and nothing else; nobody may frame or keep it.
var headers = map[string]string{
	"Content-Type": "text/html; charset=utf-8",
	"Content-Security-Policy": "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) +
		"; img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cache-Control":                "no-store",
}

// hash is how a Content-Security-Policy names a text.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
