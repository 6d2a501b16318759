package pullthrough

import (
	"context"
	"errors"
	"time"

	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// tagKey names the flight that asks what a tag points to.
type tagKey struct {
	scope oci.Scope
	tag   string
}

// resolve finds the digest that ref means, and how sure that is.
func (s *Service) resolve(ctx context.Context, scope oci.Scope, ref oci.Reference, o Options) (Resolution, error) {
	if ref.Digest != "" {
		return s.resolveDigest(ctx, scope, ref, o)
	}
	p := s.policy.Load()
	known, ok := s.caches.Refs.Get(scope, ref.Tag)
	age := s.now().Sub(known.CheckedAt)
	switch {
	case o.NoCache:
		s.obs.CacheRequest("ref", "bypass")
	case !ok:
		s.obs.CacheRequest("ref", "miss")
	case known.Missing && within(age, p.NegativeTTL, o.MaxAge):
		s.obs.CacheRequest("ref", "negative")
		return Resolution{}, fault.New(fault.ManifestUnknown, "%s: the registry has no such tag, as of %s ago", ref, age.Round(time.Second)).
			Try("check the name; ask again with --max-age 0")
	case !known.Missing && s.fresh(ref, age, o):
		s.obs.CacheRequest("ref", "hit")
		return resolved(ref, known, age, "cache"), nil
	case known.Missing:
		s.obs.CacheRequest("ref", "miss")
	default:
		s.obs.CacheRequest("ref", "stale")
	}

	ask := s.tags.do
	anew := o.NoCache || o.MaxAge != nil
	if anew {
		ask = s.tags.doFresh
	}
	now, err := ask(ctx, tagKey{scope, ref.Tag}, func(ctx context.Context) (cache.Ref, error) {
		// Another flight may have ended since the look above.
		if r, ok := s.caches.Refs.Get(scope, ref.Tag); ok && !anew && !r.Missing && s.fresh(ref, s.now().Sub(r.CheckedAt), o) {
			return r, nil
		}
		return s.askTag(ctx, scope, ref)
	})
	switch {
	case err == nil:
		return resolved(ref, now, 0, "upstream"), nil
	case ok && !known.Missing && p.allowsStale(age, o) && mayBeStale(err) && ctx.Err() == nil:
		res := resolved(ref, known, age, "cache")
		res.Stale = true
		s.obs.StaleServed()
		return res, nil
	}
	return Resolution{}, err
}

// within reports whether an answer of that age still stands. A negative age, after the clock was set back, does not.
func within(age, most time.Duration, asked *time.Duration) bool {
	if asked != nil {
		most = min(most, *asked)
	}
	return age >= 0 && age < most
}

func (s *Service) fresh(ref oci.Reference, age time.Duration, o Options) bool {
	if o.MaxAge != nil {
		return age >= 0 && age < *o.MaxAge
	}
	ttl := s.policy.Load().TTL(ref)
	return ttl.Never || !ttl.Asks && age >= 0 && age < ttl.For
}

// allowsStale reports whether a tag of that age may stand in for an answer. One of a negative age, after the clock was
// set back, may be as old as anything.
func (p *Policy) allowsStale(age time.Duration, o Options) bool {
	return p.MaxStale > 0 && age >= 0 && age <= p.MaxStale && !o.NoCache && !o.RequireFresh
}

func resolved(ref oci.Reference, r cache.Ref, age time.Duration, source string) Resolution {
	return Resolution{
		Reference: ref.WithDigest(r.Digest), Digest: r.Digest, MediaType: r.MediaType, Age: max(age, 0), // after the clock was set back
		Steps: []Step{{"ref", source}},
	}
}

// mayBeStale reports whether the failure is one of those that the last known digest may stand in for: the registry can't
// be had, which says nothing about the tag.
func mayBeStale(err error) bool {
	switch fault.ReasonOf(err) {
	case fault.UpstreamUnreachable, fault.UpstreamDNS, fault.UpstreamRateLimit, fault.Upstream5xx, fault.UpstreamSlow,
		fault.UpstreamTimeout, fault.AuthServer, fault.MediaType:
		return true
	}
	return false
}

// askTag asks the registry, and remembers what it says.
func (s *Service) askTag(ctx context.Context, scope oci.Scope, ref oci.Reference) (cache.Ref, error) {
	desc, raw, err := s.up.Resolve(ctx, scope, ref.Tag)
	now := s.now()
	if errors.Is(err, fault.ManifestUnknown) {
		_ = s.caches.Refs.Put(ctx, scope, ref.Tag, cache.Ref{CheckedAt: now, Missing: true})
	}
	if err != nil {
		if s.denied(scope, err) {
			s.caches.Refs.Delete(scope, ref.Tag)
		}
		return cache.Ref{}, err
	}
	if raw != nil {
		_ = s.caches.Manifests.Put(ctx, desc.Digest, desc.MediaType, raw)
	}
	r := cache.Ref{Digest: desc.Digest, MediaType: desc.MediaType, CheckedAt: now}
	_ = s.caches.Refs.Put(ctx, scope, ref.Tag, r) // a disk that refuses is the store's to report
	s.caches.Catalogue.TagSeen(ref.Registry, ref.Repository, ref.Tag, desc.Digest)
	s.granted(scope)
	return r, nil
}

// granted notes that the registry let the scope in.
func (s *Service) granted(scope oci.Scope) {
	_ = s.caches.Catalogue.Grant(scope, s.grantEnd())
}

// grantEnd is when a grant that begins now ends. The catalogue keeps the end; one without end gets a century.
func (s *Service) grantEnd() time.Time {
	grant := s.policy.Load().Grant
	if grant <= 0 {
		grant = 100 * 365 * 24 * time.Hour
	}
	return s.now().Add(grant)
}

// hasGrant reports whether the scope's grant lasts. One that has more left than a whole grant was given before the clock
// was set back, or under a policy that is no longer in force: how old it is nobody knows.
func (s *Service) hasGrant(scope oci.Scope) bool {
	left, whole := s.caches.Catalogue.GrantLeft(scope, s.now()), s.policy.Load().Grant
	return left > 0 && (whole <= 0 || left <= whole)
}

// denied ends the scope's grant when the registry refused it, and reports whether it did.
func (s *Service) denied(scope oci.Scope, err error) bool {
	switch fault.ReasonOf(err) {
	case fault.UpstreamUnauthorized, fault.UpstreamForbidden:
		_ = s.caches.Catalogue.Revoke(scope)
		return true
	}
	return false
}

// resolveDigest lets a digest stand for itself, once the scope was let in by its registry.
func (s *Service) resolveDigest(ctx context.Context, scope oci.Scope, ref oci.Reference, o Options) (Resolution, error) {
	res := Resolution{Reference: ref.WithDigest(ref.Digest), Digest: ref.Digest, Steps: []Step{{"ref", "request"}}}
	if o.NoCache || s.hasGrant(scope) || !s.holds(ref.Digest) {
		return res, nil // the manifest's fetch, if there is one, is the proof
	}
	_, err := s.tags.do(ctx, tagKey{scope, ref.Digest.String()}, func(ctx context.Context) (cache.Ref, error) {
		err := s.up.Stat(ctx, scope, ref.Digest)
		if err != nil {
			s.denied(scope, err)
			return cache.Ref{}, err
		}
		s.granted(scope)
		return cache.Ref{Digest: ref.Digest}, nil
	})
	return res, err
}
