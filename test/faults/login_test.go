package faults

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	. "github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/internal/registrytest"
)

// canarySecret must never be seen again.
const canarySecret = "canary-4f1e9c"

// withLogin is a registry that asks for a login, and a daemon that has one.
func withLogin(t *testing.T, login **Login) setup {
	file := filepath.Join(t.TempDir(), "logins.yaml")
	text := fmt.Sprintf("robot: {username: robot, password: %s}\n", canarySecret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := true
	return setup{
		next: func(c *content) http.Handler {
			*login = NewLogin(c.registry)
			(*login).Password = canarySecret
			return *login
		},
		credentials: file,
		registries:  map[string]fetcher.Registry{registryName: {PlainHTTP: &plain, Credential: "robot"}},
	}
}

// A token server that fails, for a tag that nobody knows and for one that may be stale. Three callers wait together.
func TestLoginFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		act   Act
		want  want
		stale bool
	}{
		{"stalls", Stall, unavailable(fault.AuthServer, 0, 10100*time.Millisecond), true},
		{"stalls midway", StallAt(5), unavailable(fault.AuthServer, 0, 10100*time.Millisecond), true},
		{"trickles", Trickle(0, 1, time.Second), unavailable(fault.AuthServer, 0, 10100*time.Millisecond), true},
		{"floods", Flood("application/json", `{"token":"`, 1<<30), unavailable(fault.AuthServer, 0, soon), true},
		{"500", Status(500), unavailable(fault.AuthServer, 0, soon), true},
		{"429", Status(429, "Retry-After", "3600"), want{codes.ResourceExhausted, fault.UpstreamRateLimit, time.Minute, 0, soon}, true},
		{"redirects", Redirect("http://elsewhere.test"), unavailable(fault.AuthServer, 0, soon), true},
		{"refuses", Status(403), want{codes.PermissionDenied, fault.UpstreamForbidden, 0, 0, soon}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var login *Login
			o := withLogin(t, &login)
			inWorld(t, o, func(w *world) {
				elsewhere := w.net.watch(w.t, "elsewhere.test:80", http.NotFoundHandler())
				token := Kind(registrytest.Token)
				w.reg.Always(token, c.act)
				cold := together(3, func() outcome { return w.pull(reference, nil) })
				for _, o := range cold {
					w.hold(o, c.want)
				}
				// One login for the three, unless regclient asks twice (it knows two ways).
				if got := w.reg.Counts(); got.Token > 2 {
					t.Errorf("%d logins for three callers", got.Token)
				}
				for _, r := range w.reg.Requests() {
					if r.Kind == registrytest.Token && r.Bytes > 4<<20 {
						t.Errorf("%d bytes of a token were taken", r.Bytes)
					}
				}
				w.reg.Heal()
				time.Sleep(61 * time.Second)
				w.mustRead(bigFile, 0, -1)

				login.Revoke()
				w.reg.Always(token, c.act)
				time.Sleep(16 * time.Minute)
				warm := w.pull(reference, nil)
				if stale := warm.err == nil && warm.resolution.Stale; stale != c.stale {
					t.Errorf("stale: %v, want %v: %v", stale, c.stale, warm)
				}
				if warm.took > c.want.within {
					t.Errorf("the stale answer took %v", warm.took)
				}
				w.canary(canarySecret, append(cold, warm)...)
				if n := elsewhere.requests(); n != 0 {
					t.Errorf("%d requests at another host", n)
				}
			})
		})
	}
}

// A token that ends midway through a blob costs a new one and a request, and no caller sees it; when there is no new
// token they are told so.
func TestTokenExpiresMidway(t *testing.T) {
	for _, at := range ranges {
		for _, renewed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, renewed %v", at, renewed), func(t *testing.T) {
				t.Parallel()
				var login *Login
				o := withLogin(t, &login)
				inWorld(t, o, func(w *world) {
					w.pull(reference, nil)
					w.reg.Reset()
					w.reg.On(Blob(w.data), CutAnd(places[at].at, login.Revoke))
					if !renewed {
						w.reg.Always(Kind(registrytest.Token), Status(401))
					}
					for _, o := range together(3, func() outcome { return w.read(bigFile, 0, -1) }) {
						switch {
						case !renewed:
							w.hold(o, want{codes.PermissionDenied, fault.UpstreamUnauthorized, 0, 0, soon})
						case o.err != nil || string(o.data) != string(w.files[bigFile]):
							t.Error(o)
						}
						w.canary(canarySecret, o)
					}
					// Cut; refused with the old token and without one; a login; and on from the last good byte.
					if got := w.reg.Counts(); renewed && (got.Range != 2 || got.Token != 1 || got.Challenge != 2 || got.Bytes > bigSize+4000) {
						t.Errorf("%+v", got)
					}
					w.sound()
				})
			})
		}
	}
}

// A token server that fails once the token has ended, wherever that is on the way: nobody waits longer than for a login,
// and all is well when it is back.
func TestLoginFailsMidway(t *testing.T) {
	for _, c := range []struct {
		name string
		act  Act
		want want
	}{
		{"stalls", Stall, unavailable(fault.AuthServer, 0, 10100*time.Millisecond)},
		{"floods", Flood("application/json", `{"token":"`, 1<<30), unavailable(fault.AuthServer, 0, soon)},
		{"500", Status(500), unavailable(fault.AuthServer, 0, soon)},
	} {
		for _, at := range byDigest {
			t.Run(c.name+"/"+at, func(t *testing.T) {
				t.Parallel()
				var login *Login
				inWorld(t, withLogin(t, &login), func(w *world) {
					call := func() outcome { return w.pull(reference, nil) }
					switch at {
					case manifest: // the repository is known, the archive is not
						w.pull(registryName+"/"+repository+":other", nil)
						w.reg.On(Kind(registrytest.Tag), After(login.Revoke, Well))
					case index:
						w.pull(registryName+"/"+repository+":other", nil)
						w.reg.On(Kind(registrytest.Manifest), After(login.Revoke, Well))
					default:
						w.pull(reference, nil)
						login.Revoke()
						call = func() outcome { return w.read(bigFile, places[at].at, 500) }
					}
					w.reg.Always(Kind(registrytest.Token), c.act)
					for _, o := range together(3, call) {
						w.hold(o, c.want)
						w.canary(canarySecret, o)
					}
					w.reg.Heal()
					time.Sleep(61 * time.Second)
					w.mustRead(bigFile, 0, -1)
					w.sound()
				})
			})
		}
	}
}

// A refusal ends what the scope was let in for: content by digest needs its registry again, and only then.
func TestRefusalEndsTheGrant(t *testing.T) {
	for _, code := range []int{401, 403} {
		inWorld(t, setup{}, func(w *world) {
			byDigest := registryName + "/" + repository + "@" + w.manifest.String()
			read := func() outcome { return w.readIn(w.t.Context(), byDigest, bigFile, 0, -1) }
			w.mustRead(bigFile, 0, -1)
			time.Sleep(16 * time.Minute)
			w.site.breaks(refuses)
			w.site.hangUp()
			if o := read(); o.err != nil {
				t.Fatalf("granted, and the registry is away: %v", o)
			}
			w.site.breaks(nil)
			w.reg.Always(Any, Status(code))
			w.pull(reference, nil)
			if o := read(); o.code() != codes.PermissionDenied {
				t.Errorf("after %d: %v", code, o)
			}
			w.reg.Heal()
			time.Sleep(61 * time.Second)
			if o := read(); o.err != nil {
				t.Errorf("let in again: %v", o)
			}
		})
	}
}

// A stalled login holds nobody past their own deadline, and no other repository at all.
func TestStalledLogin(t *testing.T) {
	var login *Login
	o := withLogin(t, &login)
	inWorld(t, o, func(w *world) {
		w.reg.Always(All(Kind(registrytest.Token), func(r *http.Request) bool {
			return strings.Contains(r.URL.RawQuery, "acme")
		}), Stall)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				deadline := time.Duration(i+1) * time.Second
				ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
				defer cancel()
				got := w.readIn(ctx, reference, bigFile, 0, -1)
				if got.code() != codes.DeadlineExceeded || got.took > deadline+10*time.Millisecond {
					t.Errorf("deadline %v: %v", deadline, got)
				}
			})
		}
		all.Go(func() {
			got := w.pull(registryName+"/other/app:v1", nil)
			if got.code() != codes.NotFound || got.took > soon {
				t.Errorf("another repository: %v", got)
			}
		})
		all.Wait()
	})
}

// watched is a site that remembers what it was sent.
type watched struct {
	*site
	mu   sync.Mutex // guards seen
	seen []*http.Request
}

func (n *network) watch(t *testing.T, hostport string, h http.Handler) *watched {
	return n.watchTLS(t, hostport, h, nil)
}

func (n *network) watchTLS(t *testing.T, hostport string, h http.Handler, config *tls.Config) *watched {
	w := &watched{}
	w.site = n.serve(t, hostport, "", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r)
		w.mu.Unlock()
		h.ServeHTTP(rw, r)
	}), config)
	return w
}

func (w *watched) requests() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// leaked returns what a request must not carry to another host.
func (w *watched) leaked() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.seen {
		for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
			if r.Header.Get(name) != "" {
				return name + " at " + r.Host + r.URL.Path
			}
		}
		if strings.Contains(r.URL.String(), canarySecret) || strings.Contains(r.URL.String(), "token-") {
			return r.URL.String()
		}
	}
	return ""
}
