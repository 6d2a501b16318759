package fetcher

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// streamBuffer is how much of a body HTTP/2 takes in before it is read: 20 MB/s on one stream at 50 ms. With Go's 4 MiB
// the 64 streams of a host whose readers are slow would hold 256 MiB.
const streamBuffer = 1 << 20

// host is a registry or mirror: how to reach it, and what was learned about it.
type host struct {
	gen       *generation
	name      string // as references and the configuration name it
	addr      string // host[:port] to connect to
	scheme    string
	conf      Registry
	transport *http.Transport
	slots     chan struct{} // one for each request or open body
	now       func() time.Time

	// listed reports whether a site may live on a private or loopback address; nil for a registry.
	listed  func(addr string) bool
	local   atomic.Bool // the host itself lives on a private or loopback address
	noHead  quirk
	noRange quirk
	slow    quirk // it was given up as a mirror

	mu       sync.Mutex // guards breakers
	breakers *lru[string, *breaker]
}

// quirk is something that a host can't do, remembered for a while: registries get repaired. One that lies ahead, after
// the clock was set back, is not: it might do so for years.
type quirk struct{ noted atomic.Pointer[note] }

type note struct {
	at  time.Time
	ttl time.Duration
}

func (q *quirk) has(now time.Time) bool {
	n := q.noted.Load()
	if n == nil {
		return false
	}
	age := now.Sub(n.at)
	return age >= 0 && age < n.ttl
}

func (q *quirk) note(now time.Time, ttl time.Duration) { q.noted.Store(&note{now, ttl}) }

func newHost(g *generation, name string, now func() time.Time) (*host, error) {
	h := &host{
		gen: g, name: name, addr: name, scheme: "https", conf: g.Registries[name], now: now,
		breakers: newLRU[string](maxSessions, func(*breaker) {}),
	}
	if name == "docker.io" || name == "index.docker.io" {
		h.addr = "registry-1.docker.io" // the name of Docker Hub in references is not that of its server
	}
	h.local.Store(isLocalName(hostname(h.addr)))
	if h.conf.PlainHTTP != nil && *h.conf.PlainHTTP || h.conf.PlainHTTP == nil && isLoopbackName(hostname(h.addr)) {
		h.scheme = "http"
	}
	return h, h.prepare()
}

// prepare makes what h needs to be asked.
func (h *host) prepare() error {
	g, slots := h.gen, h.conf.MaxConnections
	if slots <= 0 {
		slots = g.Limits.Connections
	}
	h.slots = make(chan struct{}, slots)
	roots, err := rootCAs(h.conf.CAFile)
	if err != nil {
		return err
	}
	d := &dialer{host: h, timeout: g.Limits.Dial}
	h.transport = &http.Transport{
		Proxy:               d.proxy(g.Proxy),
		DialContext:         d.dial,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: g.Limits.Dial,
		ForceAttemptHTTP2:   true,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: g.Limits.Headers, PingTimeout: g.Limits.Dial, // or dead connections are used on
			MaxReceiveBufferPerStream: streamBuffer,
		},
		DisableCompression:     true,     // a digest is over the bytes as they are stored
		MaxResponseHeaderBytes: 64 << 10, // real ones have some kilobytes, signed redirects included
		MaxIdleConnsPerHost:    16,       // as many as a busy flight uses at once; the others are cheap to make again
		IdleConnTimeout:        90 * time.Second,
	}
	return nil
}

func (h *host) close() { h.transport.CloseIdleConnections() }

// acquire takes one of the host's slots; release gives it back, as often as it is called.
func (h *host) acquire(ctx context.Context) (release func(), err error) {
	select {
	case h.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-h.slots }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (h *host) breaker(repository string) *breaker {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, ok := h.breakers.get(repository)
	if !ok {
		b = &breaker{least: h.gen.Limits.BreakerMin, most: h.gen.Limits.BreakerMax}
		h.breakers.put(repository, b)
	}
	return b
}

// hostname is addr without its port.
func hostname(addr string) string {
	if name, _, err := net.SplitHostPort(addr); err == nil {
		return name
	}
	return strings.Trim(addr, "[]")
}

func isLoopbackName(name string) bool {
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// isLocalName reports whether a host's name alone says that it is not on the internet.
func isLocalName(name string) bool {
	if isLoopbackName(name) {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && kindOfAddress(ip) == addressPrivate
}

// rootCAs returns the system's certificates and those in file; nil, the system's, for no file.
func rootCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without certificates of its own
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("it holds no PEM certificate")
	}
	return pool, nil
}
