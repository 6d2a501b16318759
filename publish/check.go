package publish

import (
	"context"
	"net/http"
	"net/url"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
)

// Check asks a registry whether it takes a login. asks is false where it lets everybody in without one, so that the login
// could not be tried. A login that is refused is fault.UpstreamUnauthorized or fault.UpstreamForbidden.
func (c *Client) Check(ctx context.Context, registry string, cred credentials.Credential) (asks bool, err error) {
	h, err := c.host(registry)
	if err != nil {
		return false, err
	}
	r := &repository{
		host: h, agent: c.o.UserAgent, limits: c.o.Limits, auth: newAuthorizer(h, c.o.UserAgent, cred, c.o.Limits.Metadata),
	}
	what := "login to " + registry
	_, err = r.ask(ctx, request{what: what, method: http.MethodGet, url: h.url("", url.Values{})}, http.StatusOK)
	if err != nil {
		if e := fault.ReasonOf(err); e == fault.ManifestUnknown || e == fault.UpstreamProtocol {
			return false, fault.Wrap(fault.UpstreamProtocol, err, "%s does not answer as a registry does", registry).
				Try("check the name; give a host and port alone")
		}
		return false, err
	}
	r.auth.mu.Lock()
	defer r.auth.mu.Unlock()
	return r.auth.answer != "", nil
}
