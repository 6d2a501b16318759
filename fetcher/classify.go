package fetcher

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

// classify says what an error of the network is. Where the caller's own context ended it stays that: whoever is told
// must not take it for the host's fault.
func classify(ctx context.Context, what, host string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if e, ok := errors.AsType[*fault.Error](cause); ok {
			return e
		}
		return fmt.Errorf("%s: %w", what, cause)
	}
	if e, ok := errors.AsType[*fault.Error](err); ok { // of the dialer
		return e
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		told := *dns
		told.Server = "" // which resolver answered helps nobody who asks for a file
		e := fault.Wrap(fault.UpstreamDNS, &told, "%s", what)
		if dns.IsNotFound {
			return e.Try("check the host name %s", dns.Name)
		}
		return e.Try("check this machine's network and resolver")
	}
	if isTLS(err) {
		return fault.Wrap(fault.UpstreamTLS, err, "%s: no trusted connection to %s", what, host).
			Try("set ca_file for %s in the config if it has a CA of its own, or plain_http if it speaks no TLS", host)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() && !isDial(err) {
		return fault.Wrap(fault.UpstreamTimeout, err, "%s", what)
	}
	return fault.Wrap(fault.UpstreamUnreachable, err, "%s: can't reach %s", what, host).
		Try("check the host name and port, and that the registry runs")
}

func isDial(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// isTLS reports whether the two sides could not agree on a trusted connection.
func isTLS(err error) bool {
	var (
		verify  *tls.CertificateVerificationError
		header  tls.RecordHeaderError
		alert   tls.AlertError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &header) || errors.As(err, &alert) ||
		errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") || // net/http has no type for it
		strings.Contains(err.Error(), "tls: ")
}

// explain says why regclient came back without an answer to c.
func (s *session) explain(ctx context.Context, c *call, began time.Time, err error) error {
	what := c.what(s.host.name)
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if e := s.loginFailure(began); e != nil {
		return e
	}
	if c.denied {
		return forbidden(fault.UpstreamForbidden, what, s.host.name, s.host.addr+" answered 401")
	}
	why := "no answer"
	if err != nil {
		why = strings.ReplaceAll(err.Error(), alias, s.host.name)
	}
	return fault.New(fault.UpstreamProtocol, "%s: %s", what, why)
}

// dnsNotFound reports whether e says that a name does not exist, which trying again won't change.
func dnsNotFound(e *fault.Error) bool {
	dns, ok := errors.AsType[*net.DNSError](e.Err)
	return ok && dns.IsNotFound
}
