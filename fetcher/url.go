package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// URLs say what may be fetched by address. The zero value allows https to public addresses.
type URLs struct {
	AllowHTTP    []string // host[:port] that may be asked without TLS, on private and loopback addresses too
	AllowPrivate []string // host[:port] that may be on private and loopback addresses
	MaxSize      int64    // of one file; 0 is 4 GiB
}

const defaultURLSize = 4 << 30

// URL gets the file at an address: one GET, and no login with it. The Body ends in io.EOF only when its bytes match d, else
// in an error, fault.DigestMismatch for wrong bytes; its Length is -1 where the site does not say. A body that is cut is
// resumed. It lives as long as ctx and is for one goroutine. Where a site is no registry, all of a registry's limits hold
// for it, and it has no address that URLs don't name but public ones.
func (f *Fetcher) URL(ctx context.Context, address string, d digest.Digest) (oci.Body, error) {
	u, err := oci.ParseAddress(address)
	if err != nil {
		return oci.Body{}, err
	}
	if err := d.Validate(); err != nil {
		return oci.Body{}, fault.Wrap(fault.InvalidDigest, err, "digest %q of %s", d, oci.AddressName(u))
	}
	g := f.generation()
	if err := g.URLs.check(u); err != nil {
		return oci.Body{}, err
	}
	h, err := f.known(g, u.Scheme+"://"+u.Host, func() (*host, error) { return newSite(g, u, f) })
	if err != nil {
		return oci.Body{}, err
	}
	dl := &download{f: f, ctx: ctx, host: h, url: u, want: d, digester: d.Algorithm().Digester(), size: -1}
	if err := dl.open(); err != nil {
		return oci.Body{}, err
	}
	return oci.Body{ReadCloser: dl, Length: dl.size}, nil
}

// newSite is a host that is no registry. What is configured of a registry of that name holds for it as far as it fits.
func newSite(g *generation, u *url.URL, f *Fetcher) (*host, error) {
	conf := g.Registries[u.Host]
	h := &host{
		gen: g, name: u.Host, addr: u.Host, scheme: u.Scheme, now: f.now, listed: g.URLs.private,
		conf:     Registry{CAFile: conf.CAFile, MaxConnections: conf.MaxConnections},
		breakers: newLRU[string](maxSessions, func(*breaker) {}),
	}
	return h, h.prepare()
}

// check says whether u may be asked. Where a name leads to is for the dialer to say; an address that stands in u itself is
// judged here, since with a proxy nothing is dialled.
func (o *URLs) check(u *url.URL) error {
	addr := net.JoinHostPort(u.Hostname(), portOf(u))
	if u.Scheme != "https" && !listedIn(o.AllowHTTP, addr) {
		return fault.New(fault.AddressRefused, "%s: it is fetched without TLS, which is not allowed for %s", oci.AddressName(u), u.Host).
			Try("use https, or name the host in urls.allow_http")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		switch kind := kindOfAddress(ip); {
		case kind == addressNever:
			return fault.New(fault.AddressRefused, "%s: an address that must not be used", oci.AddressName(u))
		case kind == addressPrivate && !o.private(addr):
			return unlisted(addr)
		}
	}
	return nil
}

// private reports whether addr, host:port, may be on a private or loopback address.
func (o *URLs) private(addr string) bool {
	return listedIn(o.AllowHTTP, addr) || listedIn(o.AllowPrivate, addr)
}

// listedIn reports whether list names addr, host:port; an entry without a port names all ports of its host.
func listedIn(list []string, addr string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		entry = strings.ToLower(entry)
		if _, _, err := net.SplitHostPort(entry); err == nil {
			return entry == addr
		}
		return strings.Trim(entry, "[]") == hostname(addr)
	})
}

func unlisted(addr string) error {
	return fault.New(fault.AddressRefused, "%s is on a private network or this machine, which is not allowed for it", addr).
		Try("name the host in urls.allow_private, or in urls.allow_http if it speaks no TLS")
}

// download is a file by address, from one answer after the other when answers are cut.
type download struct {
	f        *Fetcher
	ctx      context.Context
	host     *host
	url      *url.URL
	want     digest.Digest
	digester digest.Digester

	size    int64 // -1: not known
	at      int64
	reply   *reply
	resumes int
	moved   bool // since the last answer began
	err     error
}

func (d *download) name() string { return oci.AddressName(d.url) }

func (d *download) most() int64 {
	if most := d.host.gen.URLs.MaxSize; most > 0 {
		return most
	}
	return defaultURLSize
}

// open asks for what is missing.
func (d *download) open() error {
	r, err := d.host.patiently(d.ctx, d.url.Path, d.host.gen.Limits.RetryAfter, d.once)
	if err != nil {
		return err
	}
	if d.reply == nil {
		d.size = r.announced
	} else if r.whole {
		if _, err := io.CopyN(io.Discard, r.body, d.at); err != nil {
			_ = r.Close()
			return d.cut(err)
		}
	}
	d.reply, d.moved = r, false
	return nil
}

// once asks one time.
func (d *download) once() (*reply, error) {
	c := &call{kind: kindBlob, address: d.name(), registry: d.host.name, offset: d.at}
	if d.reply != nil && d.at > 0 {
		c.kind = kindRange
	}
	slot, err := d.host.acquire(d.ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(d.ctx)
	unhook := context.AfterFunc(d.f.base, func() { cancel(fault.New(fault.ShuttingDown, "%s: blobd is stopping", d.name())) })
	release := func() {
		unhook()
		cancel(nil)
		slot()
	}
	g := &guard{f: d.f, session: &session{host: d.host}}
	res, err := d.follow(ctx, cancel, g, c)
	if err == nil {
		if err = d.judge(g, c, res); err != nil {
			_ = res.Body.Close()
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	c.header, c.announced = res.Header.Clone(), res.ContentLength
	c.body = newWireBody(ctx, cancel, res.Body, g.limits(c), d.name())
	return &reply{call: c, host: d.host, closer: c.body, release: release}, nil
}

// follow asks, and goes where the answers lead. Each hop must be allowed as if it had been asked for.
func (d *download) follow(ctx context.Context, cancel context.CancelCauseFunc, g *guard, c *call) (*http.Response, error) {
	at := d.url
	for hops := 0; ; hops++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return nil, fault.New(fault.InvalidArgument, "%s can't be asked for", oci.AddressName(at))
		}
		req.Header.Set("User-Agent", d.host.gen.UserAgent)
		req.Header.Set("Accept", "*/*")
		req.Header.Set("Accept-Encoding", "identity") // the digest is of the file itself
		if c.kind == kindRange {
			last := ""
			if d.size >= 0 {
				last = strconv.FormatInt(d.size-1, 10)
			}
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", c.offset, last))
		}
		res, err := g.exchange(req, cancel, c)
		if err != nil {
			return nil, err
		}
		if !isRedirect(res.StatusCode) {
			return res, nil
		}
		discard(res)
		if hops == d.host.gen.Limits.Redirects {
			return nil, fault.New(fault.RedirectLoop, "%s: more than %d redirects", d.name(), hops)
		}
		if at, err = d.redirect(at, res); err != nil {
			return nil, err
		}
	}
}

// redirect is where an answer of from leads to. What stood in from's query does not go along unless the site says so, and
// no Referer tells of it.
func (d *download) redirect(from *url.URL, res *http.Response) (*url.URL, error) {
	location := res.Header.Get("Location")
	to, err := from.Parse(location)
	if err != nil || location == "" {
		return nil, fault.New(fault.UpstreamProtocol, "%s: a redirect without a usable Location", d.name())
	}
	to.User = nil
	if to, err = oci.ParseAddress(to.String()); err != nil {
		return nil, fault.New(fault.UpstreamProtocol, "%s: a redirect to something that is not the address of a file", d.name())
	}
	if err := d.host.gen.URLs.check(to); err != nil {
		return nil, fault.Wrap(fault.AddressRefused, err, "%s redirects", d.name()).Try("ask for an address that does not, or check who runs %s", from.Host)
	}
	return to, nil
}

// judge decides about an answer. A good one has the whole file, or the rest that was asked for.
func (d *download) judge(g *guard, c *call, res *http.Response) error {
	switch {
	case res.StatusCode == http.StatusOK:
		c.whole = true
		if most := d.most(); res.ContentLength > most {
			return d.tooLarge()
		}
		if d.size >= 0 && res.ContentLength >= 0 && res.ContentLength != d.size {
			return fault.New(fault.SizeMismatch, "%s: it had %d bytes and has %d now", c.address, d.size, res.ContentLength)
		}
		return nil
	case res.StatusCode == http.StatusPartialContent && c.kind == kindRange:
		return d.checkRest(c, res.Header)
	}
	discard(res)
	e := g.refusal(c, res, credentials.SameOrigin(res.Request.URL, d.url))
	switch e.Reason {
	case fault.UpstreamForbidden:
		e.Remedy = "blobd sends no login to an address: it must be one that everybody may read"
	case fault.BlobUnknown:
		e.Remedy = "check the address"
	}
	return e
}

// checkRest holds a 206 against what was asked for: all from the first byte that is missing.
func (d *download) checkRest(c *call, header http.Header) error {
	values := header.Values("Content-Range")
	if len(values) == 1 {
		span, total, _ := strings.Cut(values[0], "/")
		last, ok := strings.CutPrefix(span, fmt.Sprintf("bytes %d-", c.offset))
		end, err := strconv.ParseInt(last, 10, 64)
		said := total == "*" || total == strconv.FormatInt(end+1, 10)
		if ok && err == nil && said && (d.size < 0 || end == d.size-1) {
			return nil
		}
	}
	return fault.New(fault.BadRange, "%s: asked for the rest from byte %d, answered with %.256q", c.address, c.offset, values)
}

func (d *download) tooLarge() error {
	return fault.New(fault.TooLarge, "%s: it has more than the %d bytes that are allowed", d.name(), d.most()).Try("raise urls.max_size")
}

// Read gives what has come, and goes on with a new answer where one was cut.
func (d *download) Read(p []byte) (int, error) {
	for d.err == nil {
		if len(p) == 0 {
			return 0, nil
		}
		n, err := d.reply.body.Read(p)
		if n > 0 {
			d.at += int64(n)
			d.moved = true
			_, _ = d.digester.Hash().Write(p[:n])
			switch {
			case d.at > d.most():
				d.err = d.tooLarge()
			case d.size >= 0 && d.at > d.size:
				d.err = fault.New(fault.SizeMismatch, "%s: it goes on after %d bytes", d.name(), d.size)
			default:
				return n, nil // an error comes again with the next Read
			}
			break
		}
		switch {
		case err == io.EOF && (d.size < 0 || d.at == d.size):
			d.err = d.verdict()
		case err != nil:
			d.err = d.resume(err)
		}
	}
	return 0, d.err
}

// verdict is what a file that has ended is worth.
func (d *download) verdict() error {
	if got := d.digester.Digest(); got != d.want {
		return fault.New(fault.DigestMismatch, "%s: the bytes have digest %s, not %s", d.name(), got, d.want).
			Try("check the digest; if it is right, what is at the address has changed or is damaged")
	}
	return io.EOF
}

// resume opens a new answer where the last one was cut by err, unless err is no cut or there is no hope.
func (d *download) resume(err error) error {
	switch {
	case err != io.EOF && !isCut(err):
		d.host.failed(d.ctx, err)
		return err
	case !d.moved || d.resumes == d.host.gen.Limits.Resumes:
		err = d.cut(err)
		d.host.failed(d.ctx, err)
		return err
	}
	d.resumes++
	_ = d.reply.Close()
	return d.open()
}

func (d *download) cut(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if !isCut(err) {
		return err
	}
	return fault.Wrap(fault.Truncated, err, "%s: cut short at byte %d, %d times", d.name(), d.at, d.resumes+1).Try("try again")
}

// Close ends the download; it does not wait for what has not come.
func (d *download) Close() error {
	if d.err == nil || errors.Is(d.err, io.EOF) {
		d.err = errClosed
	}
	return d.reply.Close()
}
