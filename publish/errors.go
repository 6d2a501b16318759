package publish

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// networkFault says what an error of the network is. Where the caller's own context ended it stays that.
func networkFault(ctx context.Context, what, host string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if e, ok := errors.AsType[*fault.Error](cause); ok {
			return e
		}
		return fmt.Errorf("%s: %w", what, cause)
	}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e
	}
	var (
		dns     *net.DNSError
		verify  *tls.CertificateVerificationError
		header  tls.RecordHeaderError
		alert   tls.AlertError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &dns):
		told := *dns
		told.Server = "" // which resolver answered helps nobody
		return fault.Wrap(fault.UpstreamDNS, &told, "%s", what).Try("check the host name %s, and this machine's network", dns.Name)
	case errors.As(err, &verify), errors.As(err, &header), errors.As(err, &alert), errors.As(err, &unknown),
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no type for it
		return fault.Wrap(fault.UpstreamTLS, err, "%s: no trusted connection to %s", what, host).
			Try("give --ca-file if %s has a CA of its own, or --plain-http if it speaks no TLS", host)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return fault.Wrap(fault.UpstreamTimeout, err, "%s", what)
	}
	return fault.Wrap(fault.UpstreamUnreachable, err, "%s: can't reach %s", what, host).
		Try("check the host name and port, and that the registry runs")
}

// refusal turns a status into a fault. raw is the answer's body.
func (r *repository) refusal(what string, res *http.Response, raw []byte) *fault.Error {
	status, where := res.StatusCode, res.Request.URL.Host
	answered := fmt.Sprintf("%s: %s answered %d%s", what, where, status, said(raw))
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return denied(what, r.host.name, r.auth.cred, where, status, raw)
	case status == http.StatusNotFound:
		return fault.New(fault.ManifestUnknown, "%s", answered).Try("check the name; some registries want a repository to be made first, " +
			"or hide what a login would show")
	case status == http.StatusTooManyRequests:
		e := fault.New(fault.UpstreamRateLimit, "%s", answered).Try("try again later")
		e.RetryAfter = retryAfter(res)
		return e
	case status == http.StatusRequestEntityTooLarge:
		return fault.New(fault.UpstreamProtocol, "%s", answered).Try("ask who runs %s, or the proxy before it, to take larger blobs", where)
	case status == http.StatusMethodNotAllowed:
		return fault.New(fault.UpstreamProtocol, "%s", answered).Try("%s may be read-only", where)
	case status >= 500 || status == http.StatusRequestTimeout:
		e := fault.New(fault.Upstream5xx, "%s", answered).Try("try again: what was sent is not sent anew")
		e.RetryAfter = retryAfter(res)
		return e
	}
	return fault.New(fault.UpstreamProtocol, "%s", answered)
}

// denied is a login that was refused, or one that is missing.
func denied(what, registry string, c credentials.Credential, where string, status int, raw []byte) *fault.Error {
	who := "an anonymous caller"
	if !c.Anonymous() {
		who = "the login"
		if c.Username != "" {
			who = "the login of " + c.Username
		}
	}
	reason := fault.UpstreamForbidden
	if status == http.StatusUnauthorized {
		reason = fault.UpstreamUnauthorized
	}
	return fault.New(reason, "%s: %s refused %s (%d%s)", what, where, who, status, said(raw)).
		Try("log in with blobd login %s, as somebody who may do this", registry)
}

// said is what a registry explains in its answer (distribution spec, "Error Codes"), as ": CODE: message".
func said(raw []byte) string {
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(raw, &body) != nil || len(body.Errors) == 0 {
		return ""
	}
	e := body.Errors[0]
	return fmt.Sprintf(": %.64s: %.200s", e.Code, e.Message)
}

// retryAfter reads both forms of the header; 0 where there is none.
func retryAfter(res *http.Response) time.Duration {
	value := strings.TrimSpace(res.Header.Get("Retry-After"))
	if n, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(max(n, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// mayPass reports whether a failure may be gone at the next try.
func mayPass(err error) bool {
	switch fault.ReasonOf(err) {
	case fault.UpstreamUnreachable, fault.UpstreamTimeout, fault.UpstreamSlow, fault.Upstream5xx, fault.UpstreamRateLimit,
		fault.Truncated, fault.AuthServer:
		return true
	}
	return false
}

// pause waits before the next try, as long as the registry asked to within limits.
func (l Limits) pause(ctx context.Context, try int, err error) error {
	wait := l.RetryWait << try
	if e, ok := errors.AsType[*fault.Error](err); ok && e.RetryAfter > 0 {
		if e.RetryAfter > l.RetryMost {
			return err
		}
		wait = e.RetryAfter
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
