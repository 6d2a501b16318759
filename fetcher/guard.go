package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// guard is the RoundTripper between regclient and the network. regclient sees a 200 or a 401, the two that it has a use
// for; everything else becomes a fault here, with its connection given back.
type guard struct {
	f          *Fetcher
	session    *session
	repository string
}

// RoundTrip sends the request of a call to the host, follows redirects, and judges the answer.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	c := callOf(req)
	if c == nil {
		return g.login(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	if c.metadata() || c.head {
		limit := time.AfterFunc(g.limits(c).Metadata, func() { cancel(g.timeout(c, g.limits(c).Metadata, "answer")) })
		defer limit.Stop()
	}
	res, err := g.follow(req.Clone(ctx), cancel, c)
	if err == nil {
		err = g.judge(ctx, cancel, c, res)
	}
	if err != nil {
		if res != nil {
			_ = res.Body.Close()
		}
		cancel(nil)
		return nil, err
	}
	res.Request = req // regclient compares its headers with those of the next try
	return res, nil
}

// limits are those for c at this host.
func (g *guard) limits(c *call) *Limits {
	h := g.session.host
	if h.name != c.registry {
		return &h.gen.mirrors
	}
	return &h.gen.Limits
}

// follow sends req and then where the answers lead, and returns the first answer that is no redirect.
func (g *guard) follow(req *http.Request, cancel context.CancelCauseFunc, c *call) (*http.Response, error) {
	h := g.session.host
	g.address(req)
	if c.kind == kindRange {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", c.offset, c.offset+c.length-1))
	}
	if h.name != c.registry {
		q := req.URL.Query()
		q.Set("ns", c.registry)
		req.URL.RawQuery = q.Encode()
	}
	for hops := 0; ; hops++ {
		res, err := g.exchange(req, cancel, c)
		if err != nil {
			return nil, err
		}
		if !isRedirect(res.StatusCode) {
			return res, nil
		}
		discard(res)
		if hops == g.limits(c).Redirects {
			return nil, fault.New(fault.RedirectLoop, "%s: more than %d redirects", c.what(h.name), hops).
				Try("check the configuration of %s", h.name)
		}
		if req, err = g.redirect(req, res, c); err != nil {
			return nil, err
		}
	}
}

// address puts the host in the place of the alias.
func (g *guard) address(req *http.Request) {
	if req.URL.Host == alias {
		req.URL.Scheme, req.URL.Host = g.session.host.scheme, g.session.host.addr
	}
	req.Host = ""
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect makes the next hop: the same method and range, the login only on the same server.
func (g *guard) redirect(req *http.Request, res *http.Response, c *call) (*http.Request, error) {
	to, err := req.URL.Parse(res.Header.Get("Location"))
	if err != nil || res.Header.Get("Location") == "" {
		return nil, fault.New(fault.UpstreamProtocol, "%s: a redirect without a usable Location", c.what(g.session.host.name))
	}
	if to.Scheme != "https" && to.Scheme != req.URL.Scheme {
		return nil, fault.New(fault.UpstreamRedirect, "%s: redirected from %s to %s on %s", c.what(g.session.host.name),
			req.URL.Scheme, to.Scheme, to.Host).Try("check the configuration of %s", g.session.host.name)
	}
	to.User = nil
	next := req.Clone(req.Context())
	next.URL, next.Host = to, ""
	if !credentials.SameOrigin(req.URL, to) {
		next.Header.Del("Authorization")
		next.Header.Del("Cookie")
	}
	return next, nil
}

// exchange is one request on the wire: it waits for the headers, counts, and tells the Observer.
func (g *guard) exchange(req *http.Request, cancel context.CancelCauseFunc, c *call) (*http.Response, error) {
	h := g.session.host
	limit := time.AfterFunc(g.limits(c).Headers, func() { cancel(g.timeout(c, g.limits(c).Headers, "headers")) })
	began := time.Now()
	res, err := h.send(req.Context(), req, c.kind)
	limit.Stop()
	h.gen.Observer.UpstreamRequest(h.name, string(c.kind), codeClass(res), time.Since(began).Seconds())
	if err != nil {
		return nil, classify(req.Context(), c.what(h.name), h.name, err)
	}
	res.Body = &counted{ReadCloser: res.Body, host: h}
	return res, nil
}

func (g *guard) timeout(c *call, limit time.Duration, what string) *fault.Error {
	return fault.New(fault.UpstreamTimeout, "%s: no %s within %v", c.what(g.session.host.name), what, limit)
}

// judge decides about the answer to c. On success the answer is a 200 with a manifest's bytes in hand, or with a
// body that obeys the limits; or a 401 of the host's own, for regclient.
func (g *guard) judge(ctx context.Context, cancel context.CancelCauseFunc, c *call, res *http.Response) error {
	h := g.session.host
	status := res.StatusCode
	own := credentials.SameOrigin(res.Request.URL, &url.URL{Scheme: h.scheme, Host: h.addr})
	switch {
	case status == http.StatusOK:
	case status == http.StatusPartialContent && c.kind == kindRange:
		if err := checkRange(c, res.Header); err != nil {
			err.What = c.what(h.name) + ": " + err.What
			return err
		}
	case status == http.StatusUnauthorized && own:
		c.denied = true
		g.session.asking.Store(c)
		discard(res)
		cancel(nil)
		res.Header.Del("Retry-After")
		res.Body = http.NoBody
		return nil
	default:
		discard(res)
		return g.refusal(c, res, own)
	}
	c.whole = c.whole || c.kind == kindRange && status == http.StatusOK
	if err := checkLength(c, res); err != nil {
		err.What = c.what(h.name) + ": " + err.What
		return err
	}
	c.header, c.announced = res.Header.Clone(), res.ContentLength
	if c.metadata() || c.head {
		if err := g.readAll(ctx, c, res); err != nil {
			return err
		}
		cancel(nil)
	} else {
		c.body = newWireBody(ctx, cancel, res.Body, g.limits(c), c.what(h.name))
		res.Body = c.body
		// regclient would compare the length with the descriptor's, and call a 206 a failure.
		res.Header.Del("Content-Length")
		res.Header.Del("Content-Range")
		res.StatusCode, res.Status = http.StatusOK, "200 OK"
	}
	c.answered = true
	return nil
}

// readAll takes a manifest in. regclient sees none of it: what it would make of a hostile one takes a hundred times as
// much memory, and what it thinks of it does not count.
func (g *guard) readAll(ctx context.Context, c *call, res *http.Response) error {
	h := g.session.host
	if c.head {
		discard(res)
		res.Body = http.NoBody
		return nil
	}
	c.handOver(ctx, errUnread) // of an earlier answer to the same call
	raw, release, err := g.f.large.read(ctx, res.Body, res.ContentLength, g.limits(c).ManifestBytes)
	c.letGo = release
	if err != nil {
		if e := classify(ctx, c.what(h.name), h.name, err); fault.ReasonOf(e) != fault.UpstreamUnreachable {
			return e
		}
		return fault.Wrap(fault.Truncated, err, "%s: the answer was cut short", c.what(h.name))
	}
	if int64(len(raw)) > g.limits(c).ManifestBytes {
		release()
		return fault.New(fault.ManifestInvalid, "%s: a manifest of more than %d bytes", c.what(h.name), g.limits(c).ManifestBytes)
	}
	_ = res.Body.Close()
	c.raw, res.Body, res.ContentLength = raw, http.NoBody, 0
	res.Header.Del("Content-Length")
	return nil
}

// refusal turns a status into a fault.
func (g *guard) refusal(c *call, res *http.Response, own bool) *fault.Error {
	h := g.session.host
	status, what := res.StatusCode, c.what(h.name)
	answered := fmt.Sprintf("%s answered %d", res.Request.URL.Host, status)
	switch {
	case !own && (status == 400 || status == 401 || status == 403 || status == 410):
		return fault.New(fault.UpstreamRedirect, "%s: redirected, and %s: the redirect may have expired", what, answered)
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return forbidden(fault.UpstreamForbidden, what, h.name, answered)
	case status == http.StatusNotFound:
		return fault.New(c.unknown(), "%s: not found (%s)", what, answered).Try("check the name; %s may also hide what a login would show", h.name)
	case status == http.StatusRequestedRangeNotSatisfiable:
		return fault.Wrap(fault.BadRange, errNoSuchRange, "%s: %s to bytes %d+%d", what, answered, c.offset, c.length)
	case status == http.StatusTooManyRequests:
		e := fault.New(fault.UpstreamRateLimit, "%s: %s: too many requests", what, answered).
			Try("try again later, or log in: registries allow more to users they know")
		e.RetryAfter, _ = retryAfter(res.Header.Get("Retry-After"), h.now())
		return e
	case status == http.StatusMethodNotAllowed && c.head, status == http.StatusNotImplemented && c.head:
		return fault.Wrap(fault.UpstreamProtocol, errNoHead, "%s: %s to HEAD", what, answered)
	case status >= 500 || status == http.StatusRequestTimeout:
		e := fault.New(fault.Upstream5xx, "%s: %s", what, answered).Try("try again; see the status page of %s", h.name)
		e.RetryAfter, _ = retryAfter(res.Header.Get("Retry-After"), h.now())
		return e
	}
	return fault.New(fault.UpstreamProtocol, "%s: %s", what, answered)
}

var (
	// errNoHead says that a host takes no HEAD.
	errNoHead = errors.New("no HEAD requests here")
	// errNoSuchRange says that a host's blob ends before the range that was asked for.
	errNoSuchRange = errors.New("no such range")
)

func forbidden(r fault.Reason, what, host, answered string) *fault.Error {
	return fault.New(r, "%s: access denied (%s)", what, answered).
		Try("log in with blobd login %s (with --system for the host's own daemon), or name a credential for %s in the config; check that it may read the repository", host, host)
}

// checkRange holds a 206 against what was asked for.
func checkRange(c *call, header http.Header) *fault.Error {
	values := header.Values("Content-Range")
	want := fmt.Sprintf("bytes %d-%d/", c.offset, c.offset+c.length-1)
	if len(values) == 1 && (values[0] == want+strconv.FormatInt(c.size, 10) || values[0] == want+"*") {
		return nil
	}
	return fault.New(fault.BadRange, "asked for %s%d, answered with %.256q", want, c.size, values)
}

// checkLength holds the announced length against the descriptor before anything is read.
func checkLength(c *call, res *http.Response) *fault.Error {
	want := c.size
	if c.kind == kindRange && !c.whole {
		want = c.length
	}
	if c.metadata() || res.ContentLength < 0 || res.ContentLength == want {
		return nil
	}
	return fault.New(fault.SizeMismatch, "%d bytes expected, %d announced", want, res.ContentLength)
}

// retryAfter reads both forms of the header.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	if value == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // n is then the nearest that there is
		return time.Duration(min(max(n, 0), math.MaxInt64/int64(time.Second))) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// discard gives the connection back, for another request if the rest of the answer is short.
func discard(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	_ = res.Body.Close()
}

func codeClass(res *http.Response) string {
	switch {
	case res == nil:
		return "error"
	case res.StatusCode == 401, res.StatusCode == 403, res.StatusCode == 404, res.StatusCode == 429:
		return strconv.Itoa(res.StatusCode)
	case res.StatusCode >= 200 && res.StatusCode < 600:
		return strconv.Itoa(res.StatusCode/100) + "xx"
	}
	return "error"
}

// counted tells the Observer how many bytes came.
type counted struct {
	io.ReadCloser
	host *host
}

func (b *counted) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.host.gen.Observer.UpstreamBytes(b.host.name, int64(n))
	}
	return n, err
}
