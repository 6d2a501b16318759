package registrytest

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Kind is what a request asks a registry for.
type Kind string

// Kinds of requests, told by path and Range header.
const (
	Tag      Kind = "tag"      // a manifest by its tag
	Manifest Kind = "manifest" // a manifest by its digest
	Blob     Kind = "blob"     // a whole blob
	Range    Kind = "range"    // a part of a blob
	Token    Kind = "token"    // a login at /token
	Other    Kind = "other"    // anything else, the ping of /v2/ too
)

// Request is one request that reached the proxy. It is there from its arrival on; Status is 0 until it is answered.
type Request struct {
	Kind   Kind
	Method string
	Path   string
	Query  string
	Range  string // the Range header
	Trace  string // the traceparent header
	Status int
	Bytes  int64 // of the answer's body, as far as they were sent
}

// Counts sums up requests. A 401, which tells a client where to log in, counts as Challenge and nowhere else.
type Counts struct {
	Tag, Manifest, Blob, Range, Token, Challenge, Other int
	Head                                                int   // how many of them were HEAD requests
	Bytes                                               int64 // bodies of Blob and Range
}

// Total is the number of all requests.
func (c Counts) Total() int {
	return c.Tag + c.Manifest + c.Blob + c.Range + c.Token + c.Challenge + c.Other
}

// Proxy is a http.Handler that records what passes to the handler behind it. Its methods may be called from several
// goroutines. Use it alone in front of any registry with ProxyTo.
type Proxy struct {
	next http.Handler

	mu       sync.Mutex // guards what follows
	requests []*Request
	rate     int64
	due      time.Time // when the bytes sent so far should have taken up the rate
	hold     int64
	release  chan struct{}
	fault    func(http.ResponseWriter, *http.Request) bool
}

// NewProxy returns a Proxy in front of next.
func NewProxy(next http.Handler) *Proxy {
	return &Proxy{next: next, hold: -1, release: make(chan struct{})}
}

// ProxyTo returns a Proxy in front of the registry at baseURL, for registries that run in another process.
func ProxyTo(baseURL *url.URL) *Proxy {
	return NewProxy(&httputil.ReverseProxy{
		FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(baseURL)
			r.Out.Host = r.In.Host // challenges name the host that the client knows
		},
	})
}

// Requests lists what arrived since the start or the last Reset.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Request, len(p.requests))
	for i, r := range p.requests {
		list[i] = *r
	}
	return list
}

// Counts sums up Requests. It is never behind what a client has seen: a request counts before it is answered, bytes
// before they are sent.
func (p *Proxy) Counts() Counts {
	var c Counts
	for _, r := range p.Requests() {
		if r.Method == http.MethodHead {
			c.Head++
		}
		switch {
		case r.Status == http.StatusUnauthorized:
			c.Challenge++
		case r.Kind == Tag:
			c.Tag++
		case r.Kind == Manifest:
			c.Manifest++
		case r.Kind == Blob:
			c.Blob++
			c.Bytes += r.Bytes
		case r.Kind == Range:
			c.Range++
			c.Bytes += r.Bytes
		case r.Kind == Token:
			c.Token++
		default:
			c.Other++
		}
	}
	return c
}

// Reset forgets what was recorded; Throttle, HoldAfter and Fault stay.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// Throttle limits the bytes a second of all answers together from now on; 0 lifts the limit.
func (p *Proxy) Throttle(bytesPerSecond int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate, p.due = bytesPerSecond, time.Time{}
}

// HoldAfter makes every answer to a GET of a blob, from now on, send its first n bytes and wait with the others until
// Release.
func (p *Proxy) HoldAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = n
}

// Release ends what HoldAfter began, for the answers that wait too.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = -1
	close(p.release)
	p.release = make(chan struct{})
}

// Fault installs f, which sees every request first and answers those that it returns true for; nil removes it.
func (p *Proxy) Fault(f func(http.ResponseWriter, *http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// ServeHTTP records req and passes it on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r := &Request{
		Kind: KindOf(req), Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery, Range: req.Header.Get("Range"),
		Trace: req.Header.Get("Traceparent"),
	}
	p.mu.Lock()
	p.requests = append(p.requests, r)
	a := &answer{ResponseWriter: w, proxy: p, req: req, record: r, hold: -1, release: p.release}
	if req.Method == http.MethodGet && (r.Kind == Blob || r.Kind == Range) {
		a.hold = p.hold
	}
	fault := p.fault
	p.mu.Unlock()
	if fault != nil && fault(a, req) {
		return
	}
	p.next.ServeHTTP(a, req)
}

// KindOf tells what req asks for.
func KindOf(req *http.Request) Kind {
	dir, last := path.Split(strings.TrimSuffix(req.URL.Path, "/"))
	switch {
	case req.URL.Path == "/token":
		return Token
	case strings.HasSuffix(dir, "/manifests/"):
		if _, err := digest.Parse(last); err == nil {
			return Manifest
		}
		return Tag
	case strings.HasSuffix(dir, "/blobs/") && req.Header.Get("Range") != "":
		return Range
	case strings.HasSuffix(dir, "/blobs/"):
		return Blob
	}
	return Other
}

// answer writes a response as the hooks say, and measures it.
type answer struct {
	http.ResponseWriter
	proxy   *Proxy
	req     *http.Request
	record  *Request // guarded by proxy.mu
	hold    int64    // bytes to send before waiting for release; -1: no waiting
	release chan struct{}
	sent    int64
}

// piece is the most that is written at once: small enough that a slowed answer flows, and 6,400 pieces a second at
// 100 MB/s are still no work.
const piece = 16 << 10

func (a *answer) WriteHeader(status int) {
	a.proxy.mu.Lock()
	if a.record.Status == 0 && status >= 200 {
		a.record.Status = status
	}
	a.proxy.mu.Unlock()
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		part := b[done:min(len(b), done+piece)]
		if a.hold >= 0 {
			if a.sent >= a.hold {
				if err := a.wait(); err != nil {
					return done, err
				}
			} else {
				part = part[:min(int64(len(part)), a.hold-a.sent)]
			}
		}
		if err := a.take(len(part)); err != nil {
			return done, err
		}
		n, err := a.ResponseWriter.Write(part)
		done += n
		a.sent += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// wait holds the answer back until Release.
func (a *answer) wait() error {
	_ = http.NewResponseController(a.ResponseWriter).Flush()
	select {
	case <-a.release:
		a.hold = -1
		return nil
	case <-a.req.Context().Done():
		return a.req.Context().Err()
	}
}

// catchUp is how much lateness is made good by sending faster for a while: timers wake late on a busy machine, and without
// it the rate would be the lower the busier whoever reads keeps the machine.
const catchUp = 50 * time.Millisecond

// take records n bytes and waits until the rate allows them.
func (a *answer) take(n int) error {
	a.proxy.mu.Lock()
	if a.record.Status == 0 {
		a.record.Status = http.StatusOK
	}
	a.record.Bytes += int64(n)
	rate := a.proxy.rate
	var ahead time.Duration
	if rate > 0 {
		now := time.Now()
		switch late := now.Sub(a.proxy.due); {
		case late > time.Second: // nothing was being sent
			a.proxy.due = now
		case late > catchUp:
			a.proxy.due = now.Add(-catchUp)
		}
		a.proxy.due = a.proxy.due.Add(time.Duration(int64(n) * int64(time.Second) / rate))
		ahead = a.proxy.due.Sub(now)
	}
	a.proxy.mu.Unlock()
	if ahead < 2*time.Millisecond { // timers are no finer; the debt is kept
		return nil
	}
	_ = http.NewResponseController(a.ResponseWriter).Flush()
	select {
	case <-time.After(ahead):
		return nil
	case <-a.req.Context().Done():
		return a.req.Context().Err()
	}
}
