package publish

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// manifest is one as the registry has it.
type manifest struct {
	oci.Manifest
	oci.Descriptor
	raw []byte
}

// manifestName is how ref names its manifest in the registry's API.
func manifestName(ref oci.Reference) string {
	if ref.Digest != "" {
		return ref.Digest.String()
	}
	return ref.Tag
}

func accept() http.Header {
	return http.Header{"Accept": {strings.Join(oci.ManifestMediaTypes(), ", ")}}
}

// manifest gets a manifest by tag or digest.
func (r *repository) manifest(ctx context.Context, name string) (manifest, error) {
	what := "manifest " + r.named(name)
	a, err := r.ask(ctx, request{what: what, method: http.MethodGet, url: r.url("manifests/"+name, nil), header: accept()}, http.StatusOK)
	if err != nil {
		return manifest{}, err
	}
	d := digest.FromBytes(a.raw)
	if want, err := digest.Parse(name); err == nil {
		if d = want.Algorithm().FromBytes(a.raw); d != want {
			return manifest{}, fault.New(fault.DigestMismatch, "%s: %s sent other bytes, %s", what, r.host.name, d)
		}
	}
	m, err := oci.ParseManifest(a.Header.Get("Content-Type"), a.raw)
	if err != nil {
		return manifest{}, fmt.Errorf("%s: %w", what, err)
	}
	return manifest{m, oci.Descriptor{MediaType: m.MediaType, Digest: d, Size: int64(len(a.raw))}, a.raw}, nil
}

// putManifest stores a manifest under a tag or its digest. It reports whether the registry lists it among its subject's
// referrers itself.
func (r *repository) putManifest(ctx context.Context, name, mediaType string, raw []byte) (listed bool, err error) {
	what := "manifest to " + r.named(name)
	a, err := r.ask(ctx, request{
		what: what, method: http.MethodPut, url: r.url("manifests/"+name, nil), header: http.Header{"Content-Type": {mediaType}},
		body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }, length: int64(len(raw)),
	}, http.StatusCreated, http.StatusOK, http.StatusAccepted, http.StatusNoContent)
	if err != nil {
		return false, err
	}
	if got := digest.Digest(a.Header.Get("Docker-Content-Digest")); got.Validate() == nil && got != got.Algorithm().FromBytes(raw) {
		return false, fault.New(fault.DigestMismatch, "%s: %s stored other bytes, %s", what, r.host.name, got)
	}
	return a.Header.Get("OCI-Subject") != "", nil
}

// named is registry/repository with a tag or digest.
func (r *repository) named(name string) string {
	if strings.Contains(name, ":") {
		return r.String() + "@" + name
	}
	return r.String() + ":" + name
}
