package fetcher

import (
	"context"
	"errors"
	"mime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Resolve asks what tag points to: one HEAD. A host that takes no HEAD, or answers one without a digest, is asked by
// GET, which is remembered for Limits.Quirk; then the manifest's verified bytes are returned as well. The descriptor
// always has a digest and the media type of a manifest; its size is -1 where the registry did not say.
func (f *Fetcher) Resolve(ctx context.Context, scope oci.Scope, tag string) (desc oci.Descriptor, raw []byte, err error) {
	err = f.each(ctx, scope, func(s source) error {
		limits := &s.host.gen.Limits
		if !s.host.noHead.has(s.host.now()) {
			desc, err = s.headTag(ctx, tag)
			if !errors.Is(err, errNoHead) {
				return err
			}
		}
		if desc, raw, err = s.getTag(ctx, tag); err == nil {
			s.host.noHead.note(s.host.now(), limits.Quirk) // not before: a captive portal has no digests either
		}
		return err
	})
	if err != nil {
		return oci.Descriptor{}, nil, err
	}
	return desc, raw, nil
}

func (s source) headTag(ctx context.Context, tag string) (oci.Descriptor, error) {
	r, err := s.ask(ctx, call{kind: kindTag, tag: tag, head: true})
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer r.Close()
	d, err := digest.Parse(r.header.Get("Docker-Content-Digest"))
	if err != nil || r.header.Get("Content-Type") == "" {
		return oci.Descriptor{}, errNoHead
	}
	mediaType, err := manifestType(r.call, s.host.name, nil)
	if err != nil {
		s.host.failed(ctx, err)
		return oci.Descriptor{}, err
	}
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: r.announced}, nil
}

func (s source) getTag(ctx context.Context, tag string) (_ oci.Descriptor, _ []byte, err error) {
	r, err := s.ask(ctx, call{kind: kindTag, tag: tag})
	if err != nil {
		return oci.Descriptor{}, nil, err
	}
	defer r.Close()
	defer func() {
		r.handOver(ctx, err)
		s.host.failed(ctx, err)
	}()
	mediaType, err := manifestType(r.call, s.host.name, r.raw)
	if err != nil {
		return oci.Descriptor{}, nil, err
	}
	d := digest.FromBytes(r.raw)
	if said, err := digest.Parse(r.header.Get("Docker-Content-Digest")); err == nil && said != d {
		// The registry may use another algorithm; but what it says has to be true.
		if d = said.Algorithm().FromBytes(r.raw); d != said {
			return oci.Descriptor{}, nil, mismatch(r.what(s.host.name), said, d)
		}
	}
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(r.raw))}, r.raw, nil
}

// Manifest gets a manifest by its digest: one GET, and one more where wrong bytes came. The bytes match the digest and
// are at most Limits.ManifestBytes; the media type is a manifest's. A large one takes room until ctx ends, which should be
// when it is no longer worked on.
func (f *Fetcher) Manifest(ctx context.Context, scope oci.Scope, d digest.Digest) (mediaType string, raw []byte, err error) {
	if err := d.Validate(); err != nil {
		return "", nil, fault.Wrap(fault.InvalidDigest, err, "manifest %q of %s/%s", d, scope.Registry, scope.Repository)
	}
	err = f.each(ctx, scope, func(s source) error {
		mediaType, raw, err = s.getManifest(ctx, d)
		if errors.Is(err, fault.DigestMismatch) && s.host.name == s.registry { // after a mirror comes another host anyway
			mediaType, raw, err = s.getManifest(ctx, d)
		}
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return mediaType, raw, nil
}

func (s source) getManifest(ctx context.Context, d digest.Digest) (mediaType string, raw []byte, err error) {
	r, err := s.ask(ctx, call{kind: kindManifest, digest: d})
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	defer func() {
		r.handOver(ctx, err)
		s.host.failed(ctx, err)
	}()
	if mediaType, err = manifestType(r.call, s.host.name, r.raw); err != nil {
		return "", nil, err
	}
	if got := d.Algorithm().FromBytes(r.raw); got != d {
		return "", nil, mismatch(r.what(s.host.name), d, got)
	}
	return mediaType, r.raw, nil
}

// Stat asks whether scope may still read a manifest: one HEAD.
func (f *Fetcher) Stat(ctx context.Context, scope oci.Scope, d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fault.Wrap(fault.InvalidDigest, err, "manifest %q of %s/%s", d, scope.Registry, scope.Repository)
	}
	return f.each(ctx, scope, func(s source) error {
		head := !s.host.noHead.has(s.host.now())
		r, err := s.ask(ctx, call{kind: kindManifest, digest: d, head: head})
		if head && errors.Is(err, errNoHead) {
			s.host.noHead.note(s.host.now(), s.host.gen.Limits.Quirk)
			r, err = s.ask(ctx, call{kind: kindManifest, digest: d})
		}
		if err != nil {
			return err
		}
		r.handOver(ctx, errUnread)
		return r.Close()
	})
}

// manifestType returns the media type of an answer, from its header, or from its body where the header has none. HTML,
// a blob or an unknown type is refused: such answers come from proxies and captive portals.
func manifestType(c *call, host string, raw []byte) (string, error) {
	header := c.header.Get("Content-Type")
	mediaType, _, err := mime.ParseMediaType(header)
	if err != nil {
		mediaType = strings.TrimSpace(header)
	}
	if slices.Contains(oci.ManifestMediaTypes(), mediaType) {
		return mediaType, nil
	}
	if raw != nil && (mediaType == "" || mediaType == "application/json" || mediaType == "text/plain") {
		if m, err := oci.ParseManifest("", raw); err == nil { // a server of plain files
			return m.MediaType, nil
		}
	}
	return "", fault.New(fault.MediaType, "%s: %s answered with %q, which is no manifest", c.what(host), host, mediaType).
		Try("check that %s is a registry, and that no proxy answers in its place", host)
}

func mismatch(what string, want, got digest.Digest) error {
	return fault.New(fault.DigestMismatch, "%s: the bytes have digest %s, not %s", what, got, want).
		Try("try again; if it stays, the registry or a proxy before it holds damaged content")
}
