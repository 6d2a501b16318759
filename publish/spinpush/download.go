package spinpush

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/internal/fault"
)

const (
	maxRedirects = 10
	// idleMost is how long a server may send nothing: it has one file to give.
	idleMost = 60 * time.Second
)

// download gets a component from its address into a temporary file, and holds it against its digest.
func (p *packer) download(ctx context.Context, s source) (content, error) {
	want, err := digest.Parse(s.digest)
	if err != nil || want.Algorithm() != digest.SHA256 {
		return content{}, wrong("source %s: its digest %q is not sha256: and 64 hexadecimal digits", s.url, s.digest)
	}
	if c, ok := p.fetched[want]; ok {
		return c, nil
	}
	u, err := url.Parse(s.url)
	if err != nil {
		return content{}, wrong("source %q is no address", s.url)
	}
	if err := p.allowed(u); err != nil {
		return content{}, err
	}
	what := "source " + u.Redacted()
	f, err := p.app.temporary()
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	if err := p.get(ctx, u, what, want, f); err != nil {
		return content{}, err
	}
	if err := f.Close(); err != nil {
		return content{}, err
	}
	c, err := read(ctx, f.Name(), u.Redacted(), spin.MediaTypeWasm)
	if err == nil {
		if p.fetched == nil {
			p.fetched = map[digest.Digest]content{}
		}
		p.fetched[want] = c
	}
	return c, err
}

// allowed refuses addresses whose answers anybody on the way could read: the digest keeps what comes honest, not secret.
func (p *packer) allowed(u *url.URL) error {
	switch {
	case u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return wrong("source %s is no https address", u.Redacted())
	case u.Scheme == "http" && !p.options.HTTPSources && !isLoopback(u.Hostname()):
		return wrong("source %s is not reached by https", u.Redacted()).try("allow it with --http-sources")
	}
	return nil
}

func isLoopback(host string) bool {
	if host = strings.ToLower(host); host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// get writes what is at an address, which must have this digest.
func (p *packer) get(ctx context.Context, u *url.URL, what string, want digest.Digest, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(idleMost, func() {
		cancel(fault.New(fault.UpstreamSlow, "%s: nothing has come for %s", what, idleMost).Try("try again"))
	})
	defer idle.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "identity") // the digest is over the bytes as they are stored
	client := http.Client{Transport: p.options.Transport, CheckRedirect: p.redirected}
	res, err := client.Do(req)
	if err != nil {
		return failed(ctx, what, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return refused(what, res.StatusCode)
	}
	if res.ContentLength > p.options.MaxSource {
		return tooLarge(what, p.options.MaxSource)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum, restarting{idle}), io.LimitReader(res.Body, p.options.MaxSource+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fault.New(fault.Truncated, "%s: only %d bytes of %d came", what, n, res.ContentLength).Try("try again")
	case err != nil:
		return failed(ctx, what, err)
	case n > p.options.MaxSource:
		return tooLarge(what, p.options.MaxSource)
	}
	if got := digest.NewDigest(digest.SHA256, sum); got != want {
		return fault.New(fault.DigestMismatch, "%s is %s, not %s", what, got, want).
			Try("find out who changed it before you take over the digest")
	}
	return nil
}

// redirected follows to addresses that would be allowed in a manifest, and never away from TLS.
func (p *packer) redirected(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fault.New(fault.RedirectLoop, "more than %d redirects", maxRedirects)
	case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
		return fault.New(fault.UpstreamRedirect, "redirected from https to %s", req.URL.Scheme)
	}
	if err := p.allowed(req.URL); err != nil {
		return fault.New(fault.UpstreamRedirect, "redirected: %s", err)
	}
	return nil
}

// restarting sets a timer back whenever bytes have come.
type restarting struct{ *time.Timer }

func (r restarting) Write(b []byte) (int, error) {
	r.Reset(idleMost)
	return len(b), nil
}

func failed(ctx context.Context, what string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %w", what, cause)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // it would name the address again
	}
	reason := fault.ReasonOf(err)
	if reason == "" {
		reason = fault.UpstreamUnreachable
	}
	return fault.Wrap(reason, err, "%s", what)
}

func refused(what string, status int) error {
	reason := fault.UpstreamProtocol
	switch {
	case status == http.StatusUnauthorized:
		reason = fault.UpstreamUnauthorized
	case status == http.StatusForbidden:
		reason = fault.UpstreamForbidden
	case status == http.StatusNotFound:
		reason = fault.BlobUnknown
	case status == http.StatusTooManyRequests:
		reason = fault.UpstreamRateLimit
	case status >= http.StatusInternalServerError:
		reason = fault.Upstream5xx
	}
	return fault.New(reason, "%s: the server answered %d", what, status)
}

func tooLarge(what string, most int64) error {
	return fault.New(fault.SizeMismatch, "%s has more than the %d bytes that a component may have", what, most)
}
