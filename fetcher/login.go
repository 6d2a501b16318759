package fetcher

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// loginPause is how long a failed login answers for the ones queued behind it in regclient's lock, where no context
// reaches them: without it each would wait for Limits.Token anew.
const loginPause = time.Second

// login sends a request of regclient's own, which is always one for a token: where it may go, for how long, and how much
// may come back. Its context belongs to nobody, so it ends with the Fetcher at the latest.
func (g *guard) login(req *http.Request) (*http.Response, error) {
	s := g.session
	h := s.host
	if e := s.loginFailure(time.Now().Add(-loginPause)); e != nil {
		return nil, e
	}
	what := "login to " + h.name + " for " + h.name + "/" + g.repository
	ctx, cancel := context.WithCancelCause(g.f.base)
	defer cancel(nil)
	req = req.Clone(ctx)
	g.address(req)
	if !realmAllowed(h, req.URL) {
		return nil, s.loginFailed(fault.New(fault.AuthRealm, "%s: it sends logins to %s://%s, which is not its own domain",
			what, req.URL.Scheme, req.URL.Host).Try("if that is right, add %s to the registry's token_realms in the config", req.URL.Host))
	}
	limit := time.AfterFunc(h.gen.Limits.Token, func() {
		cancel(fault.New(fault.AuthServer, "%s: no answer from %s within %v", what, req.URL.Host, h.gen.Limits.Token))
	})
	defer limit.Stop()
	began := time.Now()
	res, err := h.send(s.onBehalf(), req, kindToken)
	h.gen.Observer.UpstreamRequest(h.name, string(kindToken), codeClass(res), time.Since(began).Seconds())
	if err != nil {
		return nil, s.loginFailed(g.loginBroken(ctx, what, err))
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, h.gen.Limits.TokenBytes+1))
	h.gen.Observer.UpstreamBytes(h.name, int64(len(raw)))
	if err == nil && int64(len(raw)) > h.gen.Limits.TokenBytes {
		return nil, s.loginFailed(fault.New(fault.AuthServer, "%s: a token of more than %d bytes", what, h.gen.Limits.TokenBytes))
	}
	if err != nil {
		return nil, s.loginFailed(g.loginBroken(ctx, what, err))
	}
	if res.StatusCode != http.StatusOK {
		e := g.loginRefused(what, res)
		if req.Method == http.MethodPost { // a refused identity token; regclient goes on with user and password
			return &http.Response{StatusCode: http.StatusUnauthorized, Body: http.NoBody, Header: http.Header{}, Request: req}, nil
		}
		return nil, s.loginFailed(e)
	}
	res.Body = io.NopCloser(bytes.NewReader(raw))
	return res, nil
}

// loginBroken says why there was no answer to a login.
func (g *guard) loginBroken(ctx context.Context, what string, err error) *fault.Error {
	e, ok := errors.AsType[*fault.Error](classify(ctx, what, g.session.host.name, err))
	if !ok { // nobody's context ends but the Fetcher's
		return fault.New(fault.ShuttingDown, "%s: blobd is stopping", what)
	}
	if e.Reason == fault.UpstreamTimeout || e.Reason == fault.UpstreamUnreachable {
		e.Reason = fault.AuthServer
	}
	return e
}

func (g *guard) loginRefused(what string, res *http.Response) *fault.Error {
	h, s := g.session.host, g.session
	switch status := res.StatusCode; {
	case status == http.StatusTooManyRequests:
		e := fault.New(fault.UpstreamRateLimit, "%s: %s answered 429: too many requests", what, res.Request.URL.Host)
		e.RetryAfter, _ = retryAfter(res.Header.Get("Retry-After"), h.now())
		return e
	case status >= 500:
		return fault.New(fault.AuthServer, "%s: %s answered %d", what, res.Request.URL.Host, status)
	case status == http.StatusBadRequest, status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound:
		who := "an anonymous caller"
		if s.credential != "" {
			who = "credential " + s.credential
		}
		return fault.New(fault.UpstreamForbidden, "%s: %s refused %s (%d)", what, res.Request.URL.Host, who, status).
			Try("log in with blobd login %s (with --system for the host's own daemon), or name a credential for %s in the config", h.name, h.name)
	default: // a redirect would carry the login on
		return fault.New(fault.AuthServer, "%s: %s answered %d", what, res.Request.URL.Host, status)
	}
}

// realmAllowed reports whether h's logins may be sent to u.
func realmAllowed(h *host, u *url.URL) bool {
	return credentials.RealmAllowed(h.scheme, h.addr, u, h.conf.TokenRealms)
}
