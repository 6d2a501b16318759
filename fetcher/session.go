package fetcher

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/regclient/regclient/config"
	"github.com/regclient/regclient/scheme/reg"
	"github.com/regclient/regclient/types/descriptor"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// sessionKey names a session: at which host, for which repository, with which login.
type sessionKey struct{ host, repository, credential string }

// session is a regclient for one repository and one login, whose token it keeps. Being that small it can be thrown
// away when the token or the secret behind it is no longer good, and no scope, back-off or lock in it is shared with
// another repository.
type session struct {
	host       *host
	credential string // its name
	login      credentials.Credential
	reg        *reg.Reg
	gate       gate
	worked     atomic.Bool // the login was accepted at least once: the host answered yes, or that there is no such thing
	// asking is the call that began last, or that was asked last who it is, until it ends: a login, to which regclient takes
	// no context, is on its behalf, or on that of another one under way.
	asking atomic.Pointer[call]

	mu        sync.Mutex // guards what follows
	loginErr  *fault.Error
	loginFail time.Time
}

// alias is the address by which regclient knows every registry; the guard puts the real one in its place. Given a name,
// regclient looks it up in DNS before each request that carries a token, without a context and under the lock of its
// logins, to tell whether a realm is local. It never asks that about an address that is local itself, and where
// a login may go is for the guard to say.
const alias = "127.255.255.254:9"

func newSession(f *Fetcher, h *host, repository string, cred credentials.Credential) *session {
	s := &session{host: h, credential: cred.Name, login: cred}
	conf := config.HostNewName(alias)
	conf.TLS = config.TLSEnabled
	if h.scheme == "http" {
		conf.TLS = config.TLSDisabled // so that relative realms keep the scheme
	}
	conf.User, conf.Pass, conf.Token = cred.Username, cred.Password, cred.IdentityToken
	conf.RepoAuth = true
	conf.ReqConcurrent = 1 << 20 // its slots leak when a body is resumed; host.slots are the limit
	s.reg = reg.New(
		reg.WithConfigHosts([]*config.Host{conf}),
		reg.WithHTTPClient(&http.Client{Transport: &guard{f: f, session: s, repository: repository}}),
		reg.WithRetryLimit(1), reg.WithDelay(1, 1), // retries and back-off are ours
		reg.WithManifestMax(h.gen.Limits.ManifestBytes, h.gen.Limits.ManifestBytes),
		reg.WithUserAgent(h.gen.UserAgent),
		reg.WithSlog(slog.New(slog.DiscardHandler)), // its debug lines hold headers
	)
	return s
}

// session returns the session for key at h, making it where there is none, or where its login has changed since.
func (f *Fetcher) session(ctx context.Context, h *host, key sessionKey) (*session, error) {
	g := h.gen
	f.mu.Lock()
	s, ok := g.sessions.get(key)
	f.mu.Unlock()
	if ok && s.host == h && s.current() {
		return s, nil
	}
	var cred credentials.Credential
	if key.credential != "" {
		if g.Credentials == nil {
			return nil, fault.New(fault.CredentialUnusable, "credential %s for %s/%s: no credentials are configured",
				key.credential, key.host, key.repository)
		}
		var err error
		if cred, err = g.Credentials.Get(ctx, key.credential, key.host); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := g.sessions.get(key); ok && s.host == h && s.login == cred { // somebody was faster
		return s, nil
	}
	s = newSession(f, h, key.repository, cred)
	s.credential = key.credential
	g.sessions.put(key, s)
	return s, nil
}

// current reports whether the login of s is still the one of its name. What a helper said counts until it is refused.
func (s *session) current() bool {
	if s.host.gen.Credentials == nil {
		return true
	}
	now, ok := s.host.gen.Credentials.Held(s.credential)
	return !ok || now == s.login
}

// drop forgets s, because its login is no longer good: the next caller reads the secret again.
func (f *Fetcher) drop(key sessionKey, s *session) {
	g := s.host.gen
	f.mu.Lock()
	if now, ok := g.sessions.get(key); ok && now == s {
		g.sessions.remove(key)
	}
	f.mu.Unlock()
	if g.Credentials != nil {
		g.Credentials.Forget(key.credential)
	}
}

// ask sends c through regclient and waits for the answer: the whole of a manifest, the headers of a blob. It returns as
// soon as ctx ends, though regclient, which takes no context to a login, may need until the login's own limit.
func (s *session) ask(ctx context.Context, f *Fetcher, c *call) (io.Closer, error) {
	type answer struct {
		closer io.Closer
		err    error
	}
	answers, gone := make(chan answer), make(chan struct{})
	defer close(gone)
	own := *c // regclient's, until it has answered: it may go on after the caller has gone
	if !f.background(func() {
		closer, err := s.send(ctx, &own)
		select {
		case answers <- answer{closer, err}:
		case <-gone:
			own.handOver(ctx, errUnread)
			if closer != nil {
				_ = closer.Close()
			}
		}
	}) {
		return nil, fault.New(fault.ShuttingDown, "%s: blobd is stopping", c.what(s.host.name))
	}
	select {
	case a := <-answers:
		*c = own
		return a.closer, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// send is regclient's part. What counts is what the guard saw: an answer that it found good is good whatever regclient
// thinks of its content, which we check ourselves.
func (s *session) send(ctx context.Context, c *call) (io.Closer, error) {
	began := time.Now()
	ctx = withCall(ctx, c)
	c.ctx = ctx
	s.asking.Store(c)
	defer s.asking.CompareAndSwap(c, nil) // it may hold a large manifest
	var err error
	var closer io.Closer
	switch {
	case c.metadata() && c.head:
		_, err = s.reg.ManifestHead(ctx, c.ref())
	case c.metadata():
		_, err = s.reg.ManifestGet(ctx, c.ref())
	case c.head:
		_, err = s.reg.BlobHead(ctx, c.ref(), descriptor.Descriptor{Digest: c.digest, Size: c.size})
	default:
		size := c.size
		if c.kind == kindRange {
			size = c.length
		}
		reader, getErr := s.reg.BlobGet(ctx, c.ref(), descriptor.Descriptor{Digest: c.digest, Size: size})
		if err = getErr; err == nil {
			closer = reader // gives regclient's slot back and closes the body
		} else if c.body != nil {
			_ = c.body.Close()
		}
	}
	if c.answered && (c.metadata() || c.head || err == nil) {
		s.worked.Store(true)
		return closer, nil
	}
	err = s.explain(ctx, c, began, err)
	if fault.ReasonOf(err) == c.unknown() {
		s.worked.Store(true)
	}
	return nil, err
}

// onBehalf is the context of a call that a login is for.
func (s *session) onBehalf() context.Context {
	if c := s.asking.Load(); c != nil {
		return c.ctx
	}
	return context.Background()
}

// loginFailed keeps why a login failed: regclient drops it on some ways.
func (s *session) loginFailed(e *fault.Error) *fault.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loginErr, s.loginFail = e, time.Now()
	return e
}

// loginFailure returns why a login failed since that time, or nil.
func (s *session) loginFailure(since time.Time) *fault.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loginErr != nil && !s.loginFail.Before(since) {
		return s.loginErr
	}
	return nil
}

// gate lets one caller through alone until the session has worked once, so that many at once on a cold start cost one
// challenge and one login. Who waited shares the failure of the one who tried.
type gate struct {
	mu    sync.Mutex // guards what follows
	open  bool
	first *attempt
}

type attempt struct {
	done chan struct{}
	err  error // written before done is closed
}

// enter returns nil when the gate is open, or an attempt that the caller has to end by leave; or the error of ctx
// or of the attempt that it waited for.
func (g *gate) enter(ctx context.Context) (*attempt, error) {
	for {
		g.mu.Lock()
		if g.open {
			g.mu.Unlock()
			return nil, nil
		}
		first := g.first
		if first == nil {
			first = &attempt{done: make(chan struct{})}
			g.first = first
			g.mu.Unlock()
			return first, nil
		}
		g.mu.Unlock()
		select {
		case <-first.done:
			if first.err != nil {
				return nil, first.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// leave ends an attempt. The gate opens for good when the host has answered the question itself, be it with no.
func (g *gate) leave(a *attempt, err error) {
	if a == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	reason := fault.ReasonOf(err)
	switch {
	case err == nil, reason == fault.ManifestUnknown, reason == fault.BlobUnknown:
		g.open = true
	case reason == fault.UpstreamProtocol || reason == fault.BadRange || reason == fault.SizeMismatch || reason == "":
		// about this question alone, or the caller went: the next one tries for himself
	default:
		a.err = err
	}
	g.first = nil
	close(a.done)
}
