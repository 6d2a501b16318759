// Package registrytest runs a real registry (olareg) on loopback behind a proxy that counts every request, so that a
// test, an example or a benchmark can say what an operation costs upstream. It is test support: no daemon imports it.
//
//	reg := registrytest.New(t, registrytest.Options{})
//	layer := reg.PutBlob(t, "acme/app", data)
//	…                                   // read reg.Host() + "/acme/app:v1" through blobd
//	if got := reg.Counts(); got.Range != 1 { … }
//
// The registry can be stopped and started again on the same port with its content, slowed down, and made to hold back
// the end of every blob.
package registrytest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
	"golang.org/x/crypto/bcrypt"
)

// Auth is how a registry asks who is calling.
type Auth int

// What a registry may ask for. Requests to PushHost are never asked.
const (
	AuthNone  Auth = iota
	AuthBasic      // user and password with every request
	AuthToken      // a bearer token from the registry's own /token
)

// Options of a registry. The zero value is an open registry in memory on a free port of 127.0.0.1.
type Options struct {
	Addr     string // address to listen on; "" is 127.0.0.1:0
	Dir      string // keeps blobs in this folder instead of in memory
	Auth     Auth
	Username string // with Auth; "" is "user"
	Password string // with Auth; "" is "secret"
}

// Registry is a running registry with its counting proxy. Its methods may be called from several goroutines.
type Registry struct {
	*Proxy
	server *server
	push   *listener
	front  *listener
	temp   string // folder of the accounts; "" without Auth
}

// New starts a registry that ends with the test.
func New(t testing.TB, o Options) *Registry {
	t.Helper()
	r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// Open starts a registry for a command; Close ends it.
func Open(o Options) (_ *Registry, err error) {
	r := &Registry{}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	conf := config.Config{Storage: config.ConfigStorage{StoreType: config.StoreMem}}
	conf.Storage.GC.Frequency = -1 // nothing is collected: what a test pushes stays
	if o.Dir != "" {
		conf.Storage.StoreType, conf.Storage.RootDir = config.StoreDir, o.Dir
	}
	sparse := true // manifests may name blobs that were never pushed: hostile ones do
	conf.API.Manifest.SparseImage, conf.API.Manifest.SparseIndex = &sparse, &sparse
	if r.front, err = listen(o.Addr); err != nil {
		return nil, err
	}
	if err := r.guard(&conf, o); err != nil {
		return nil, err
	}
	r.server = &server{registry: olareg.New(conf)}
	r.Proxy = NewProxy(r.server)
	r.front.serve(r.Proxy)
	if r.push, err = listen(""); err != nil {
		return nil, err
	}
	r.push.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.server.ServeHTTP(w, req.WithContext(unguarded(req.Context())))
	}))
	return r, nil
}

// Host is the registry's host:port, which asks for a login where Auth says so and counts every request.
func (r *Registry) Host() string { return r.front.addr }

// PushHost is another host:port of the same registry, for filling it: open to everybody, never counted, never
// slowed, and there while the registry is stopped.
func (r *Registry) PushHost() string { return r.push.addr }

// Stop refuses connections on Host and cuts those that are open.
func (r *Registry) Stop() { r.front.stop() }

// Start listens on Host again after Stop.
func (r *Registry) Start() error { return r.front.start(r.Proxy) }

// Close ends the registry; only Counts and Requests may be called afterwards.
func (r *Registry) Close() {
	if r.Proxy != nil {
		r.Release()
	}
	for _, l := range []*listener{r.front, r.push} {
		if l != nil {
			l.stop()
		}
	}
	if r.server != nil {
		r.server.close()
	}
	if r.temp != "" {
		_ = os.RemoveAll(r.temp)
	}
}

// guard makes the registry ask for o's login, except on requests marked by unguarded.
func (r *Registry) guard(conf *config.Config, o Options) error {
	if o.Auth == AuthNone {
		return nil
	}
	user, password := o.Username, o.Password
	if user == "" {
		user = "user"
	}
	if password == "" {
		password = "secret"
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost) // the cheapest: it is checked on every request
	if err != nil {
		return err
	}
	if r.temp, err = os.MkdirTemp("", "registrytest-"); err != nil {
		return err
	}
	file := filepath.Join(r.temp, "accounts.yaml")
	accounts := fmt.Sprintf("users:\n  %q: {cred: %q}\nacls:\n  - {repo: \"*\", members: [%q], access: [\"*\"]}\n", user, hash, user)
	if err := os.WriteFile(file, []byte(accounts), 0o600); err != nil {
		return err
	}
	if o.Auth == AuthToken {
		conf.Auth = config.NewAuthTokenOpaque(file, config.WithAuthRealm("http://"+r.front.addr+"/token"))
	} else {
		conf.Auth = config.NewAuthBasicFile(file)
	}
	ask := conf.Auth.Handler
	conf.Auth.Handler = func(repo string, access config.AuthAccess, next http.Handler) http.Handler {
		asked := ask(repo, access, next)
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if isUnguarded(req.Context()) {
				next.ServeHTTP(w, req)
				return
			}
			asked.ServeHTTP(w, req)
		})
	}
	return nil
}

// server is the registry itself, which must not be asked and closed at once.
type server struct {
	registry *olareg.Server

	mu     sync.RWMutex // held for reading by each request, and for writing to close; guards closed
	closed bool
}

func (s *server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		panic(http.ErrAbortHandler) // its connection is cut
	}
	s.registry.ServeHTTP(w, req)
}

// close waits for requests under way, whose connections are cut.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.registry.Close()
}

// listener is one port that can be closed and opened again.
type listener struct {
	addr string

	mu  sync.Mutex // guards what follows
	lis net.Listener
	srv *http.Server
}

func listen(addr string) (*listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &listener{addr: lis.Addr().String(), lis: lis}, nil
}

func (l *listener) serve(h http.Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.srv = &http.Server{Handler: h}
	go func(srv *http.Server, lis net.Listener) { _ = srv.Serve(lis) }(l.srv, l.lis)
}

func (l *listener) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.srv != nil {
		_ = l.srv.Close()
	}
	if l.lis != nil {
		_ = l.lis.Close() // the server closes it too, unless it has not begun to serve
	}
	l.srv, l.lis = nil, nil
}

func (l *listener) start(h http.Handler) error {
	l.mu.Lock()
	running := l.srv != nil
	l.mu.Unlock()
	if running {
		return nil
	}
	again, err := listen(l.addr)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.lis = again.lis
	l.mu.Unlock()
	l.serve(h)
	return nil
}
