package publish

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// maxPages bounds a list of referrers: registries send a hundred or more a page.
const maxPages = 1000

// Referrers are the artifacts whose subject is what ref names, of one type where artifactType is not empty, and the
// digest of what ref names.
func (c *Client) Referrers(ctx context.Context, ref oci.Reference, artifactType string) (digest.Digest, []oci.Descriptor, error) {
	r, err := c.repository(ctx, ref, toRead)
	if err != nil {
		return "", nil, err
	}
	m, err := r.manifest(ctx, manifestName(ref)) // not HEAD, whose answer may lack the digest
	if err != nil {
		return "", nil, err
	}
	list, err := r.referrers(ctx, m.Digest, artifactType)
	return m.Digest, list, err
}

// referrers asks the registry's referrers API, and where there is none reads the list that clients keep under a tag.
func (r *repository) referrers(ctx context.Context, d digest.Digest, artifactType string) (list []oci.Descriptor, err error) {
	query := url.Values{}
	if artifactType != "" {
		query.Set("artifactType", artifactType)
	}
	at := r.url("referrers/"+d.String(), query)
	for range maxPages {
		a, err := r.ask(ctx, request{what: "referrers of " + r.named(d.String()), method: http.MethodGet, url: at, header: accept()},
			http.StatusOK, http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed)
		if err != nil {
			return nil, err
		}
		if a.StatusCode != http.StatusOK {
			list, err = r.listed(ctx, d)
			if err != nil {
				return nil, err
			}
			break
		}
		m, err := oci.ParseManifest(a.Header.Get("Content-Type"), a.raw)
		if err != nil {
			return nil, err
		}
		list = append(list, m.Manifests...)
		next := nextPage(a.Header.Values("Link"))
		if next == "" {
			break
		}
		if at, err = a.Request.URL.Parse(next); err != nil || !r.host.own(at) {
			return nil, fault.New(fault.UpstreamProtocol, "referrers of %s: the next page is at %q", r.named(d.String()), next)
		}
	}
	// Whether the registry has filtered, or only says so, the list is what was asked for.
	list = slices.DeleteFunc(list, func(d oci.Descriptor) bool { return artifactType != "" && d.ArtifactType != artifactType })
	return list, nil
}

// fallbackTag is where clients list an artifact's referrers when the registry does not (distribution spec v1.1,
// "Referrers Tag Schema").
func fallbackTag(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

func (r *repository) listed(ctx context.Context, d digest.Digest) ([]oci.Descriptor, error) {
	m, err := r.manifest(ctx, fallbackTag(d))
	if errors.Is(err, fault.ManifestUnknown) {
		return nil, nil
	}
	return m.Manifests, err
}

// list adds a manifest to the list of its subject's referrers, for a registry that keeps none itself.
func (r *repository) list(ctx context.Context, subject digest.Digest, entry oci.Descriptor) error {
	entries, err := r.listed(ctx, subject)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(entries, func(d oci.Descriptor) bool { return d.Digest == entry.Digest }) {
		return nil
	}
	raw, err := json.Marshal(struct {
		SchemaVersion int              `json:"schemaVersion"`
		MediaType     string           `json:"mediaType"`
		Manifests     []oci.Descriptor `json:"manifests"`
	}{2, oci.MediaTypeImageIndex, append(entries, entry)})
	if err != nil {
		return err
	}
	_, err = r.putManifest(ctx, fallbackTag(subject), oci.MediaTypeImageIndex, raw)
	return err
}

var nextLink = regexp.MustCompile(`<([^>]*)>[^,<]*;\s*rel="?next"?`)

// nextPage is the address that a Link header gives for what comes next (RFC 8288); "" for none.
func nextPage(headers []string) string {
	if m := nextLink.FindStringSubmatch(strings.Join(headers, ", ")); m != nil {
		return m[1]
	}
	return ""
}
