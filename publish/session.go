package publish

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/fault"
)

// upload is a blob on its way to a repository.
type upload struct {
	*repository
	blob     Blob
	what     string
	from     string // a repository of the registry that may have it
	progress *progress

	at      *url.URL // where the session goes on; nil: there is none
	offset  int64    // what the registry has
	resumed bool     // the session was gone on with
	counted int64    // what progress was told
}

func (c *Client) put(ctx context.Context, r *repository, b Blob, from string) (outcome, error) {
	u := &upload{repository: r, blob: b, what: fmt.Sprintf("blob %s to %s", b.Digest, r), from: from, progress: &c.progress}
	how, err := u.run(ctx)
	if err != nil {
		u.count(0)
		return how, err
	}
	u.count(b.Size)
	return how, nil
}

// count tells progress that n bytes of the blob are done.
func (u *upload) count(n int64) {
	u.progress.add(n-u.counted, 0)
	u.counted = n
}

func (u *upload) run(ctx context.Context) (outcome, error) {
	if ok, err := u.has(ctx, u.blob.Descriptor); err != nil || ok {
		return present, err
	}
	for try := 0; ; try++ {
		if u.at == nil {
			how, err := u.begin(ctx)
			if err != nil || how == mounted {
				return how, err
			}
		}
		before := u.offset
		err := u.send(ctx)
		if err == nil {
			return sent, nil
		}
		switch {
		case u.resumed && fault.ReasonOf(err) == fault.UpstreamProtocol:
			// The registry has lost count of what it got: once more from the start.
			u.at, u.offset, u.resumed = nil, 0, false
			continue
		case !mayPass(err):
			return sent, err
		}
		if u.offset > before {
			try = 0 // it advanced
		}
		if try+1 >= u.limits.Tries {
			return sent, err
		}
		if failed := u.limits.pause(ctx, try, err); failed != nil {
			return sent, failed
		}
		if ok, err := u.has(ctx, u.blob.Descriptor); err != nil || ok { // only the answer was lost
			return sent, err
		}
		if u.resume(ctx); u.offset > before {
			try = -1
		}
	}
}

// begin opens a session, unless the registry can mount the blob. Without a repository to mount from, registries that know
// all their blobs still find it (distribution spec v1.1, "Mounting a blob"), and the others open a session.
func (u *upload) begin(ctx context.Context) (outcome, error) {
	query := url.Values{"mount": {u.blob.Digest.String()}}
	if u.from != "" {
		query.Set("from", u.from)
	}
	q := request{what: u.what, method: http.MethodPost, url: u.url("blobs/uploads/", query)}
	a, err := u.ask(ctx, q, http.StatusCreated, http.StatusAccepted)
	switch fault.ReasonOf(err) {
	case fault.UpstreamProtocol, fault.ManifestUnknown, fault.UpstreamForbidden, fault.UpstreamUnauthorized:
		q.url = u.url("blobs/uploads/", nil) // it may not be allowed to mount from there, or not know how
		a, err = u.ask(ctx, q, http.StatusAccepted)
	}
	if err != nil {
		return sent, err
	}
	if a.StatusCode == http.StatusCreated {
		return mounted, nil
	}
	u.offset, u.resumed = 0, false
	return sent, u.moved(a.Response)
}

// moved takes over where the session goes on.
func (u *upload) moved(res *http.Response) error {
	location := res.Header.Get("Location")
	if location == "" {
		if u.at != nil {
			return nil
		}
		return fault.New(fault.UpstreamProtocol, "%s: %s opened an upload and did not say where", u.what, res.Request.URL.Host)
	}
	to, err := res.Request.URL.Parse(location)
	if err != nil {
		return fault.New(fault.UpstreamProtocol, "%s: %s sent to a place that is no URL", u.what, res.Request.URL.Host)
	}
	if u.host.scheme == "https" && to.Scheme == "http" {
		if !strings.EqualFold(to.Hostname(), hostname(u.host.addr)) {
			return fault.New(fault.UpstreamRedirect, "%s: sent from https to http on %s", u.what, to.Host).
				Try("check the configuration of %s", u.host.name)
		}
		to.Scheme, to.Host = "https", u.host.addr // a registry behind a proxy that it was not told of
	}
	u.at = to
	return nil
}

// complete is where the session ends.
func (u *upload) complete() *url.URL {
	to := *u.at
	digest := "digest=" + url.QueryEscape(u.blob.Digest.String())
	if to.RawQuery != "" { // which may be signed: nothing in it moves
		digest = to.RawQuery + "&" + digest
	}
	to.RawQuery = digest
	return &to
}

// send sends what the registry does not have yet and ends the session.
func (u *upload) send(ctx context.Context) error {
	if u.offset == 0 {
		_, err := u.transfer(ctx, http.MethodPut, u.complete(), nil)
		return err
	}
	if u.offset < u.blob.Size {
		res, err := u.transfer(ctx, http.MethodPatch, u.at, http.Header{
			"Content-Range": {fmt.Sprintf("%d-%d", u.offset, u.blob.Size-1)},
		})
		if err != nil {
			return err
		}
		if err := u.moved(res); err != nil {
			return err
		}
		u.offset = u.blob.Size
	}
	_, err := u.transfer(ctx, http.MethodPut, u.complete(), nil)
	return err
}

// transfer sends the blob from u.offset on.
func (u *upload) transfer(ctx context.Context, method string, to *url.URL, header http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/octet-stream")
	body := newSending(u, to.Host, cancel)
	res, err := u.repository.send(ctx, request{
		what: u.what, method: method, url: to, header: header, length: u.blob.Size - u.offset,
		body: func() (io.ReadCloser, error) { return body.open(ctx) },
	})
	var raw []byte
	if err == nil {
		raw, _ = io.ReadAll(io.LimitReader(res.Body, 64<<10)) // an explanation, or nothing
		_ = res.Body.Close()
	}
	cause := context.Cause(ctx)
	cancel(nil)
	if failed := body.end(); failed != nil && cause == nil {
		return nil, failed // what the source said is why the rest did not come
	}
	if err != nil {
		return nil, err
	}
	switch status := res.StatusCode; {
	case status == http.StatusOK, status == http.StatusCreated, status == http.StatusNoContent,
		status == http.StatusAccepted && method == http.MethodPatch:
		return res, nil
	}
	e := u.refusal(u.what, res, raw)
	if e.Reason == fault.ManifestUnknown && u.resumed { // the session is gone
		e.Reason = fault.UpstreamProtocol
	}
	return nil, e
}

// resume asks the registry how far it is. Where it does not say, the upload begins anew.
func (u *upload) resume(ctx context.Context) {
	a, err := u.ask(ctx, request{what: u.what, method: http.MethodGet, url: u.at}, http.StatusNoContent, http.StatusAccepted, http.StatusOK)
	if err == nil {
		first, last, ok := strings.Cut(strings.TrimPrefix(a.Header.Get("Range"), "bytes="), "-")
		end, err := strconv.ParseInt(last, 10, 64)
		if ok && err == nil && first == "0" && end > 0 && end < u.blob.Size && u.moved(a.Response) == nil {
			u.offset, u.resumed = end+1, true
			u.count(u.offset)
			return
		}
	}
	u.at, u.offset, u.resumed = nil, 0, false
	u.count(0)
}
