package publish

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// repository is one repository and the login that opens it.
type repository struct {
	host   *host
	name   string
	agent  string
	auth   *authorizer
	limits Limits
}

type repoKey struct{ registry, name, scopes string }

type blobKey struct {
	registry string
	digest   digest.Digest
}

// What is asked for of a repository.
const (
	toRead  = "pull"
	toWrite = "pull,push"
)

// repository returns ref's repository, opened for rights, with those others to mount from.
func (c *Client) repository(ctx context.Context, ref oci.Reference, rights string, mountFrom ...string) (*repository, error) {
	scopes := []string{"repository:" + ref.Repository + ":" + rights}
	for _, from := range mountFrom {
		scopes = append(scopes, "repository:"+from+":"+toRead)
	}
	key := repoKey{ref.Registry, ref.Repository, strings.Join(scopes, " ")}
	c.mu.Lock()
	r := c.repos[key]
	c.mu.Unlock()
	if r != nil {
		return r, nil
	}
	h, err := c.host(ref.Registry)
	if err != nil {
		return nil, err
	}
	var cred credentials.Credential
	if c.o.Credentials != nil {
		name := c.o.Credentials.Name(ref.Registry, ref.Repository, c.o.Registries[ref.Registry].Credential)
		if cred, err = c.o.Credentials.Get(ctx, name, ref.Registry); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.repos[key] == nil {
		c.repos[key] = &repository{
			host: h, name: ref.Repository, agent: c.o.UserAgent, limits: c.o.Limits,
			auth: newAuthorizer(h, c.o.UserAgent, cred, c.o.Limits.Metadata, scopes...),
		}
	}
	return c.repos[key], nil
}

func (c *Client) host(name string) (*host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[name]; h != nil {
		return h, nil
	}
	h, err := newHost(name, c.o.Registries[name])
	if err != nil {
		return nil, fault.Wrap(fault.InvalidArgument, err, "registry %s", name)
	}
	c.hosts[name] = h
	return h, nil
}

func (r *repository) String() string { return r.host.name + "/" + r.name }

func (r *repository) url(path string, query url.Values) *url.URL {
	return r.host.url(r.name+"/"+path, query)
}

// request is one to the registry, or to where it leads.
type request struct {
	what   string // it is about, for errors
	method string
	url    *url.URL
	header http.Header
	body   func() (io.ReadCloser, error) // nil: none
	length int64
}

// answer is what came back, read to its end.
type answer struct {
	*http.Response
	raw []byte
}

// maxAnswer bounds what is read into memory: manifests have at most 4 MiB, as the distribution spec asks registries to take.
const maxAnswer = 4 << 20

// ask sends a request that has little to say, and returns its answer when the status is one of those wanted. What may
// pass is tried again.
func (r *repository) ask(ctx context.Context, q request, want ...int) (answer, error) {
	for try := 0; ; try++ {
		a, err := r.askOnce(ctx, q, want)
		if err == nil || !mayPass(err) || try+1 >= r.limits.Tries {
			return a, err
		}
		if failed := r.limits.pause(ctx, try, err); failed != nil {
			return a, failed
		}
	}
}

func (r *repository) askOnce(ctx context.Context, q request, want []int) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.limits.Metadata,
		fault.New(fault.UpstreamTimeout, "%s: no answer from %s within %v", q.what, q.url.Host, r.limits.Metadata))
	defer cancel()
	res, err := r.send(ctx, q)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, networkFault(ctx, q.what, q.url.Host, err)
	case len(raw) > maxAnswer:
		return answer{}, fault.New(fault.UpstreamProtocol, "%s: %s answered with more than %d bytes", q.what, q.url.Host, maxAnswer)
	case !slices.Contains(want, res.StatusCode):
		return answer{Response: res, raw: raw}, r.refusal(q.what, res, raw)
	}
	return answer{res, raw}, nil
}

// send sends a request with the login that it takes. The answer's status may be any.
func (r *repository) send(ctx context.Context, q request) (*http.Response, error) {
	for again := false; ; again = true {
		req, err := http.NewRequestWithContext(ctx, q.method, q.url.String(), nil)
		if err != nil {
			return nil, fault.Wrap(fault.UpstreamProtocol, err, "%s", q.what)
		}
		if q.header != nil {
			req.Header = q.header.Clone()
		}
		req.Header.Set("User-Agent", r.agent)
		used, own := "", r.host.own(q.url)
		if own {
			if used, err = r.auth.header(ctx); err != nil {
				return nil, err
			}
		}
		if used != "" {
			req.Header.Set("Authorization", used)
		}
		if q.body != nil {
			if req.Body, err = q.body(); err != nil {
				return nil, err
			}
			if req.ContentLength = q.length; q.length == 0 {
				_ = req.Body.Close()
				req.Body = http.NoBody
			}
		}
		res, err := r.host.http.Do(req)
		if err != nil {
			var asURL *url.Error // it says the address again, with its query
			if errors.As(err, &asURL) {
				err = asURL.Err
			}
			return nil, networkFault(ctx, q.what, q.url.Host, err)
		}
		if res.StatusCode != http.StatusUnauthorized || !own || again {
			return res, nil
		}
		retry, err := r.auth.challenged(ctx, res.Header.Values("WWW-Authenticate"), used)
		if !retry || err != nil {
			if err != nil {
				_ = res.Body.Close()
				return nil, err
			}
			return res, nil
		}
		_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // gives the connection back
		_ = res.Body.Close()
	}
}
