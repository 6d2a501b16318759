package faultregistry

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Storage is a second host that serves a registry's blobs to whoever comes by a signed address that is still good. Its
// methods may be called from several goroutines.
type Storage struct {
	Base   string        // where it is served: scheme://host
	Life   time.Duration // of a signature; 0 is 5 minutes
	Refuse int           // what it says to a signature that is not good; 0 is 403

	next http.Handler

	mu     sync.Mutex // guards what follows
	serial int
	ends   map[string]time.Time
}

// NewStorage returns a Storage at base for what next has.
func NewStorage(base string, next http.Handler) *Storage {
	return &Storage{Base: base, next: next, ends: map[string]time.Time{}}
}

// Redirect sends a client to the storage by a fresh signature.
func (s *Storage) Redirect() Act { return s.redirect(0) }

// RedirectExpired sends a client to the storage by a signature that is no longer good.
func (s *Storage) RedirectExpired() Act { return s.redirect(-time.Hour) }

func (s *Storage) redirect(more time.Duration) Act {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		life := s.Life
		if life == 0 {
			life = 5 * time.Minute
		}
		s.mu.Lock()
		s.serial++
		signature := fmt.Sprintf("signature-%d", s.serial)
		s.ends[signature] = time.Now().Add(life + more)
		s.mu.Unlock()
		w.Header().Set("Location", s.Base+r.URL.Path+"?signature="+signature)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// Expire ends every signature that was made.
func (s *Storage) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.ends)
}

// ServeHTTP implements http.Handler.
func (s *Storage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	end, known := s.ends[r.URL.Query().Get("signature")]
	s.mu.Unlock()
	if !known || !time.Now().Before(end) {
		refuse := s.Refuse
		if refuse == 0 {
			refuse = http.StatusForbidden
		}
		w.WriteHeader(refuse)
		return
	}
	s.next.ServeHTTP(w, r)
}
