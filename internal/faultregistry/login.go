package faultregistry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Login is a handler that asks for a bearer token before it lets a request through, and grants tokens at /token to
// whoever has the password; to everybody where there is none. Its methods may be called from several goroutines.
type Login struct {
	Realm    string        // "" is its own /token, over plain HTTP
	Password string        // of whatever user name; "" lets everybody in
	Life     time.Duration // of a token; 0 is an hour. What the token's answer says of it is always an hour.

	next http.Handler

	mu     sync.Mutex // guards what follows
	serial int
	ends   map[string]time.Time
}

// NewLogin puts a login before next.
func NewLogin(next http.Handler) *Login { return &Login{next: next, ends: map[string]time.Time{}} }

// Revoke ends every token that was granted.
func (l *Login) Revoke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.ends)
}

// ServeHTTP implements http.Handler.
func (l *Login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		l.grant(w, r)
		return
	}
	l.mu.Lock()
	end, known := l.ends[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	l.mu.Unlock()
	if known && time.Now().Before(end) {
		l.next.ServeHTTP(w, r)
		return
	}
	realm := l.Realm
	if realm == "" {
		realm = "http://" + r.Host + "/token"
	}
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, part := range []string{"/manifests/", "/blobs/"} {
		path, _, _ = strings.Cut(path, part)
	}
	w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test",scope="repository:%s:pull"`, realm, path))
	w.WriteHeader(http.StatusUnauthorized)
}

func (l *Login) grant(w http.ResponseWriter, r *http.Request) {
	if _, password, _ := r.BasicAuth(); l.Password != "" && password != l.Password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	life := l.Life
	if life == 0 {
		life = time.Hour
	}
	l.mu.Lock()
	l.serial++
	token := fmt.Sprintf("token-%d", l.serial)
	l.ends[token] = time.Now().Add(life)
	l.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 3600})
}
