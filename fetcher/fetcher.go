// Package fetcher gets manifests and blobs from registries.
//
// What it promises: a tag costs one HEAD, everything else is asked for by digest, and one call is one request
// upstream (plus one login where the registry asks, one for all callers). Manifests are verified; blobs are exactly
// as long as their descriptor says. A body that is cut is resumed from its last good byte. No registry can hold a
// caller longer than Limits say, send more than was asked for, see a login that is not its own, or point the daemon at
// an address that the registry itself does not live on. A caller whose context ends is free at once and nobody else
// notices. Errors are fault.Errors that name host and repository.
//
// Inside, requests are formed, sent and authorised by regclient, one small client for each (host, repository, login),
// through a RoundTripper of ours, the guard, which owns what regclient leaves open: time and size limits, TLS,
// redirects, ranges, where a login may go. Retries, mirrors and back-off are ours alone. Each shortcoming of regclient
// that this closes has a test.
package fetcher

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// Registry is what is configured for one registry or mirror. The zero value is the default.
type Registry struct {
	PlainHTTP      *bool    // nil: https, except for loopback hosts
	CAFile         string   // PEM certificates that are trusted besides the system's
	Credential     string   // name of the login; "": found by the credentials store
	Mirrors        []string // hosts that are asked first, in this order
	TokenRealms    []string // hosts besides its own domain that may be sent its logins
	MaxConnections int      // requests at once; 0: Limits.Connections
}

// Options configure a Fetcher.
type Options struct {
	Registries  map[string]Registry // by host[:port] as references name it
	Credentials *credentials.Store  // nil: every request is anonymous
	Limits      Limits              // zero fields take their defaults
	URLs        URLs                // what may be fetched by address
	Observer    Observer            // nil: nobody is told
	Tracer      Tracer              // nil: nothing is traced
	Now         func() time.Time    // nil: time.Now; it may jump
	Log         *slog.Logger        // nil: no log
	UserAgent   string              // "": blobd
	// Failed is told of every request that a registry or mirror failed, or spoilt, and why; a login too. What it may well
	// answer, as that there is no such thing, is no failure, nor is that the caller went. Nil: nobody is told.
	Failed func(registry string, failure *fault.Error)
	// Proxy is http.Transport.Proxy; nil is http.ProxyFromEnvironment, which leaves loopback hosts alone.
	Proxy func(*http.Request) (*url.URL, error)
	// Dial connects as d would, for tests: d.ControlContext is to be asked about the address that a name stands for. Nil
	// is (*net.Dialer).DialContext.
	Dial func(d *net.Dialer, ctx context.Context, network, addr string) (net.Conn, error)
}

// Observer is told about every request that went over the wire: registry is the host of the registry or mirror that was
// asked (for a redirect's target too), kind one of tag, manifest, blob, range and token, code one of 2xx, 3xx, 401, 403,
// 404, 429, 4xx, 5xx and error. Calls come from several goroutines and must not block.
type Observer interface {
	UpstreamRequest(registry, kind, code string, seconds float64)
	UpstreamBytes(registry string, n int64)
}

// Tracer hears of every request as it goes over the wire, on behalf of ctx; it may set headers of req. What it returns is
// called once, when the answer's body is closed, or there is none: with the status, 0 where there was no answer, how many
// bytes of the body came, and what failed. registry and kind are those of Observer.
type Tracer interface {
	Request(ctx context.Context, req *http.Request, registry, kind string) (end func(status int, bytes int64, err error))
}

// Fetcher is the way to all registries. Its methods may be called from several goroutines.
type Fetcher struct {
	now   func() time.Time
	log   *slog.Logger
	base  context.Context // ends with Close
	stop  context.CancelFunc
	large largeRoom

	mu    sync.Mutex // guards what follows, and calls.Add against Close
	conf  *generation
	hosts *lru[string, *host]
	calls sync.WaitGroup // goroutines that wait for regclient
	done  bool
}

// generation is one configuration with the clients that were made from it.
type generation struct {
	Options
	mirrors  Limits // of hosts that are asked as mirrors
	sessions *lru[sessionKey, *session]
}

// How much is remembered. A host costs a connection pool and a session some kilobytes, and names come from whoever may use
// the socket, so both must end somewhere; a busy machine has tens of hosts and some hundred repositories.
const (
	maxHosts    = 256
	maxSessions = 2048
)

// New returns a Fetcher. It fails when a CA file can't be used.
func New(o Options) (*Fetcher, error) {
	f := &Fetcher{now: o.Now, log: o.Log, large: newLargeRoom()}
	if f.now == nil {
		f.now = time.Now
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.base, f.stop = context.WithCancel(context.Background())
	f.hosts = newLRU[string](maxHosts, func(h *host) { h.close() })
	if err := f.Reload(o); err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

// Reload replaces configuration and logins for all calls that begin afterwards; those under way end as they began. What
// was learned about hosts is learned anew. When it fails nothing has changed. Options.Now and Log stay as New got them.
func (f *Fetcher) Reload(o Options) error {
	o.Limits = o.Limits.withDefaults()
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.UserAgent == "" {
		o.UserAgent = "blobd"
	}
	if o.Proxy == nil {
		o.Proxy = http.ProxyFromEnvironment
	}
	if o.Dial == nil {
		o.Dial = (*net.Dialer).DialContext
	}
	for name, r := range o.Registries {
		if _, err := rootCAs(r.CAFile); err != nil {
			return fault.Wrap(fault.InvalidArgument, err, "registry %s: ca_file %s", name, r.CAFile).
				Try("name a file of PEM certificates")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conf = &generation{Options: o, mirrors: o.Limits.ofMirror(), sessions: newLRU[sessionKey](maxSessions, func(*session) {})}
	f.hosts.clear() // open bodies keep their connections
	return nil
}

// Close ends every call and open body and waits for what runs in the background.
func (f *Fetcher) Close() {
	f.mu.Lock()
	f.done = true
	f.mu.Unlock()
	f.stop()
	f.calls.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts.clear()
}

// Credential returns the name of the login that opens a repository, for oci.Scope; "" is anonymous.
func (f *Fetcher) Credential(registry, repository string) string {
	return f.generation().credential(registry, repository)
}

func (f *Fetcher) generation() *generation {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conf
}

func (g *generation) credential(registry, repository string) string {
	if g.Credentials == nil {
		return g.Registries[registry].Credential
	}
	return g.Credentials.Name(registry, repository, g.Registries[registry].Credential)
}

// host returns what is known about a registry or mirror.
func (f *Fetcher) host(g *generation, name string) (*host, error) {
	return f.known(g, name, func() (*host, error) { return newHost(g, name, f.now) })
}

// known returns the host of that key, making it where there is none.
func (f *Fetcher) known(g *generation, key string, create func() (*host, error)) (*host, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return nil, fault.New(fault.ShuttingDown, "%s: blobd is stopping", key)
	}
	if h, ok := f.hosts.get(key); ok && h.gen == g {
		return h, nil
	}
	h, err := create()
	if err != nil {
		return nil, err
	}
	f.hosts.put(key, h)
	return h, nil
}

// background runs fn in a goroutine that Close waits for; false when the Fetcher is closed.
func (f *Fetcher) background(fn func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return false
	}
	f.calls.Go(fn)
	return true
}

// silent is the Observer that nobody gave.
type silent struct{}

func (silent) UpstreamRequest(string, string, string, float64) {}
func (silent) UpstreamBytes(string, int64)                     {}
