package faults

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	. "github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/internal/registrytest"
)

const storageName = "storage.test"

// Signed redirects to a second host: one that has ended sends blobd back to the registry once; one that ends midway
// through a body costs a fresh one; and the second host never sees the login.
func TestSignedRedirects(t *testing.T) {
	for _, at := range blobs {
		for _, refuse := range []int{400, 401, 403, 410} {
			t.Run(fmt.Sprintf("%s, %d", at, refuse), func(t *testing.T) {
				t.Parallel()
				var login *Login
				o := withLogin(t, &login)
				inWorld(t, o, func(w *world) {
					storage := NewStorage("http://"+storageName, w.registry)
					storage.Refuse = refuse
					front := New(storage)
					second := w.net.watch(w.t, storageName+":80", front)
					blob := places[at].asked(w.content)
					read := func() outcome { return w.read(bigFile, 0, -1) }

					w.reg.Always(blob, storage.RedirectExpired())
					all := together(3, read)
					for _, o := range all {
						w.hold(o, unavailable(fault.UpstreamRedirect, 0, soon))
						w.canary(canarySecret, o)
					}
					if got := w.reg.Struck(); got != 2 {
						t.Errorf("the registry was asked %d times", got)
					}

					w.reg.Heal()
					w.reg.On(blob, storage.RedirectExpired(), storage.Redirect())
					together(3, func() outcome { return w.mustRead(bigFile, 0, -1) })
					if at == index {
						return
					}

					// Midway: the storage cuts, and no signature is good any more.
					if _, err := w.service.Clear(w.t.Context(), nil); err != nil {
						t.Fatal(err)
					}
					w.reg.Heal()
					w.reg.Always(blob, storage.Redirect())
					front.On(Any, CutAnd(places[at].at, storage.Expire))
					together(3, func() outcome { return w.mustRead(bigFile, 0, -1) })
					if leak := second.leaked(); leak != "" || second.requests() == 0 {
						t.Errorf("of %d requests: %s", second.requests(), leak)
					}
					w.sound()
				})
			})
		}
	}
}

// Logins go to the registry's own host and nowhere else, whichever way another host comes into play. Two servers, one of
// them an enemy's; not one Authorization at the second, and the secret in no log line, status or metric.
func TestLoginsStayHome(t *testing.T) {
	const enemy = "enemy.test"
	for _, c := range []struct {
		name  string
		set   func(w *world, l *Login)
		want  fault.Reason // "" when the read works in spite of it
		calls int          // requests at the enemy's
	}{
		{"redirect of a tag", func(w *world, _ *Login) { w.reg.Always(Kind(registrytest.Tag), Redirect("http://"+enemy)) }, "", 1},
		{"redirect of a manifest", func(w *world, _ *Login) { w.reg.Always(Kind(registrytest.Manifest), Redirect("http://"+enemy)) }, "", 1},
		{"redirect of a blob", func(w *world, _ *Login) { w.reg.Always(Blob(w.data), Redirect("http://"+enemy)) }, "", 1},
		{"redirect with a login in it", func(w *world, _ *Login) { w.reg.Always(Blob(w.data), Redirect("http://user:pass@"+enemy)) }, "", 1},
		{"redirect to another port", func(w *world, _ *Login) { w.reg.Always(Blob(w.data), Redirect("http://"+registryName+":81")) }, "", 0},
		{"realm", func(_ *world, l *Login) { l.Realm = "http://" + enemy + "/token" }, fault.AuthRealm, 0},
		{"realm over https", func(_ *world, l *Login) { l.Realm = "https://" + enemy + "/token" }, fault.AuthRealm, 0},
		{"realm on a look-alike", func(_ *world, l *Login) { l.Realm = "http://" + registryName + ".enemy.test/token" }, fault.AuthRealm, 0},
		{"realm with a login in it", func(_ *world, l *Login) { l.Realm = "http://" + registryName + "@" + enemy + "/token" }, fault.AuthRealm, 0},
		{"realm on another port", func(_ *world, l *Login) { l.Realm = "http://" + registryName + ":81/token" }, fault.AuthRealm, 0},
		{"login redirected", func(w *world, _ *Login) {
			w.reg.Always(Kind(registrytest.Token), Redirect("http://"+enemy))
		}, fault.AuthServer, 0},
		{"challenge behind a redirect", func(w *world, _ *Login) {
			w.reg.Always(Kind(registrytest.Tag), Redirect("http://"+enemy+"/challenge"))
		}, fault.UpstreamRedirect, 2},
		{"foreign addresses in a manifest", func(w *world, _ *Login) {
			foreign := `"urls":["http://` + enemy + `/layer"],"mediaType"`
			w.reg.Always(Kind(registrytest.Manifest), Edit(func(a *Answer) {
				a.Body = []byte(strings.ReplaceAll(string(a.Body), `"mediaType"`, foreign))
				a.Header.Del("Content-Length")
			}))
		}, fault.DigestMismatch, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var login *Login
			o := withLogin(t, &login)
			inWorld(t, o, func(w *world) {
				h := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/challenge") {
						rw.Header().Set("WWW-Authenticate", `Basic realm="give it to me"`)
						rw.WriteHeader(http.StatusUnauthorized)
						return
					}
					w.registry.ServeHTTP(rw, r)
				})
				second := w.net.watch(w.t, enemy+":80", h)
				port := w.net.watch(w.t, registryName+":81", h)
				w.net.watch(w.t, registryName+".enemy.test:80", h)
				c.set(w, login)
				got := together(3, func() outcome { return w.read(bigFile, 0, -1) })
				for _, o := range got {
					if o.reason() != c.want || c.want == "" && string(o.data) != string(w.files[bigFile]) {
						t.Errorf("%v, want %q", o, c.want)
					}
				}
				for _, s := range []*watched{second, port} {
					if leak := s.leaked(); leak != "" {
						t.Errorf("the other host was sent %s", leak)
					}
				}
				if n := second.requests(); n != c.calls {
					t.Errorf("%d requests at the enemy's, want %d", n, c.calls)
				}
				w.canary(canarySecret, got...)
				rec := httptest.NewRecorder()
				w.metrics.Handler(nil).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
				if strings.Contains(rec.Body.String(), canarySecret) || !strings.Contains(rec.Body.String(), "blobd_upstream") {
					t.Error("the metrics hold the secret, or nothing")
				}
			})
		})
	}
}

// A public registry can't lead the daemon to an address that only the daemon can reach, by whichever name.
func TestRedirectsInward(t *testing.T) {
	for address, ok := range map[string]bool{
		"198.51.100.77:80":        true,
		"169.254.169.254:80":      false,
		"127.0.0.1:80":            false,
		"10.0.0.1:80":             false,
		"[::ffff:10.0.0.1]:80":    false,
		"[fe80::1%eth0]:80":       false,
		"[fd00:ec2::254]:80":      false,
		"[64:ff9b::a9fe:a9fe]:80": false,
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			inWorld(t, setup{}, func(w *world) {
				inside := &watched{}
				inside.site = w.net.serve(w.t, "harmless.test:80", address, w.registry, nil)
				w.reg.Always(Blob(w.data), Redirect("http://harmless.test"))
				for _, o := range together(3, func() outcome { return w.read(bigFile, 0, -1) }) {
					if ok != (o.err == nil) || !ok && (o.reason() != fault.AddressRefused || o.code() != codes.FailedPrecondition) {
						t.Error(o)
					}
				}
			})
		})
	}
}

// A registry whose certificate nobody trusts, or that speaks no TLS, is refused at once: no second try, no plain HTTP, no
// stale answer.
func TestTLS(t *testing.T) {
	own := httptest.NewUnstartedServer(nil) // for its certificate
	own.StartTLS()
	defer own.Close()
	for name, config := range map[string]*tls.Config{"untrusted": {Certificates: own.TLS.Certificates}, "no TLS": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, setup{}, func(w *world) {
				secure := w.net.watchTLS(w.t, "secure.test:443", w.registry, config)
				plain := w.net.watch(w.t, "secure.test:80", w.registry)
				for _, o := range together(3, func() outcome { return w.pull("secure.test/"+repository+":v1", nil) }) {
					w.hold(o, want{codes.FailedPrecondition, fault.UpstreamTLS, 0, 1, soon})
				}
				if secure.requests() != 0 || plain.requests() != 0 {
					t.Error("a request went over the wire")
				}
			})
		})
	}
}

// A registry that loses its good certificate makes no tag stale: that is an attack or a mistake, and both are for people.
func TestTLSIsNeverStale(t *testing.T) {
	yes, no := true, false
	o := setup{registries: map[string]fetcher.Registry{registryName: {PlainHTTP: &yes}}}
	inWorld(t, o, func(w *world) {
		w.mustRead(smallOne, 0, -1)
		w.net.serve(w.t, registryName+":443", "", w.registry, nil)
		time.Sleep(16 * time.Minute)
		w.reload(map[string]fetcher.Registry{registryName: {PlainHTTP: &no}})
		w.hold(w.pull(reference, nil), want{codes.FailedPrecondition, fault.UpstreamTLS, 0, 1, soon})
	})
}
