// Package oci holds the words that the rooms share: references, digests, descriptors, manifests and scopes.
// It is plain data and parsing; it knows no registry client and no cache.
package oci

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	_ "crypto/sha256" // go-digest finds its algorithms by registration
	_ "crypto/sha512"

	"github.com/blobd/blobd/internal/fault"
)

// Reference names an artifact: registry/repository with a tag, a digest, or both. Where both are given the digest
// decides and the tag is only kept for display.
type Reference struct {
	Registry   string // host[:port], as the user wrote it; docker.io for short names
	Repository string
	Tag        string
	Digest     digest.Digest
}

// ParseReference reads a reference as docker and crane do: "alpine" is docker.io/library/alpine:latest.
// It fails with fault.InvalidReference or fault.InvalidDigest.
func ParseReference(s string) (Reference, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, fault.Wrap(fault.InvalidReference, err, "reference %q", withoutLogin(s)).
			Try("write it as registry/repository:tag or registry/repository@sha256:…")
	}
	named = reference.TagNameOnly(named)
	r := Reference{Registry: reference.Domain(named), Repository: reference.Path(named)}
	if !validHost(r.Registry) {
		return Reference{}, fault.New(fault.InvalidReference, "reference %q: it does not begin with a host[:port]", withoutLogin(s)).
			Try("write it as registry/repository:tag or registry/repository@sha256:…")
	}
	if t, ok := named.(reference.Tagged); ok {
		r.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		r.Digest = d.Digest()
		if err := r.Digest.Validate(); err != nil {
			return Reference{}, fault.Wrap(fault.InvalidDigest, err, "reference %q", withoutLogin(s)).
				Try("use a whole sha256 or sha512 digest")
		}
	}
	return r, nil
}

// withoutLogin is how messages name what is no reference: an address with a login in it, which somebody took for one, is
// shown without the login, since messages go to logs.
func withoutLogin(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	} else {
		scheme += "://"
	}
	first, _, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(first, '@'); at >= 0 && len(first) < len(rest) {
		return scheme + "…" + rest[at:]
	}
	return s
}

// validHost reports whether an URL can have this host: the library takes any hex digits for an IPv6 address, any digits
// for a port, and finds no host at all in a name like a_b.c/d.
func validHost(host string) bool {
	if host == "" {
		return false
	}
	u, err := url.Parse("https://" + host)
	if err != nil || u.Port() == "" {
		return err == nil
	}
	_, err = strconv.ParseUint(u.Port(), 10, 16)
	return err == nil
}

// Name is registry/repository.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// String is the canonical form, which ParseReference reads back to the same Reference.
func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

// WithDigest is the reference that names d and nothing else.
func (r Reference) WithDigest(d digest.Digest) Reference {
	return Reference{Registry: r.Registry, Repository: r.Repository, Digest: d}
}

// Scope is on whose behalf bytes are read. Two reads with equal scopes have equal rights upstream.
type Scope struct {
	Principal  string // who asks; "" where the host trusts all its users alike
	Registry   string
	Repository string
	Credential string // the *name* of the credential that opens the repository, never the secret; "" is anonymous
}
