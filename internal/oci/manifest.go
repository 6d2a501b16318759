package oci

import (
	"encoding/json"
	"fmt"
	"mime"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
)

// Media types of manifests (OCI image spec v1.1, Docker image manifest v2 schema 2).
const (
	MediaTypeImageManifest  = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeImageIndex     = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// ManifestMediaTypes is what an Accept header should list.
func ManifestMediaTypes() []string {
	return []string{MediaTypeImageManifest, MediaTypeImageIndex, MediaTypeDockerManifest, MediaTypeDockerList}
}

// Descriptor points at content (OCI image spec, "Descriptors"). Foreign `urls` are dropped on purpose.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       digest.Digest     `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// maxMediaType is how long the name of an artifact's type may be: RFC 6838 (4.2) has 127 characters for each of its two
// parts. It stands in lists of artifacts, which have thousands.
const maxMediaType = 255

// Manifest is a parsed manifest of an artifact: an image manifest, or an index of manifests.
type Manifest struct {
	MediaType    string
	ArtifactType string // artifactType, else the config's media type
	Config       Descriptor
	Layers       []Descriptor
	Manifests    []Descriptor // of an index
	Subject      *Descriptor
	Annotations  map[string]string
}

// IsIndex reports whether m lists manifests and holds no layers itself.
func (m Manifest) IsIndex() bool {
	return m.MediaType == MediaTypeImageIndex || m.MediaType == MediaTypeDockerList
}

// ParseManifest reads raw as mediaType says, which is the Content-Type it came with (parameters are ignored); when that
// is empty, the body's own mediaType decides. It fails with fault.MediaType for anything that is not one of
// ManifestMediaTypes, and with fault.ManifestInvalid for a body that contradicts its type, is ambiguous (both
// `manifests` and `layers`, a key said twice or misspelt), or holds a descriptor without a valid digest or with a negative
// size. What it allocates is a small multiple of raw.
func ParseManifest(mediaType string, raw []byte) (Manifest, error) {
	if mt, _, err := mime.ParseMediaType(mediaType); err == nil {
		mediaType = mt
	}
	var body struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        *Descriptor       `json:"config"`
		Layers        []Descriptor      `json:"layers"`
		Manifests     []Descriptor      `json:"manifests"`
		Subject       *Descriptor       `json:"subject"`
		Annotations   map[string]string `json:"annotations"`
	}
	jsonErr := checkShape(raw)
	if jsonErr == nil {
		jsonErr = json.Unmarshal(raw, &body)
	}
	if mediaType == "" {
		mediaType = body.MediaType
	}
	switch mediaType {
	case MediaTypeImageManifest, MediaTypeImageIndex, MediaTypeDockerManifest, MediaTypeDockerList:
	default:
		return Manifest{}, fault.New(fault.MediaType, "media type %q is not a manifest's", mediaType)
	}
	if jsonErr != nil {
		return Manifest{}, fault.Wrap(fault.ManifestInvalid, jsonErr, "manifest of type %s", mediaType)
	}
	m := Manifest{
		MediaType: mediaType, ArtifactType: body.ArtifactType, Layers: body.Layers, Manifests: body.Manifests,
		Subject: body.Subject, Annotations: body.Annotations,
	}
	invalid := func(why string) (Manifest, error) {
		return Manifest{}, fault.New(fault.ManifestInvalid, "manifest of type %s: %s", mediaType, why)
	}
	switch {
	case body.SchemaVersion != 2:
		return invalid("schemaVersion is not 2")
	case body.MediaType != "" && body.MediaType != mediaType:
		return invalid("its body says " + body.MediaType)
	case body.Manifests != nil && (body.Layers != nil || body.Config != nil):
		return invalid("it holds both manifests and layers")
	case m.IsIndex() && body.Manifests == nil:
		return invalid("it lists no manifests")
	case !m.IsIndex() && body.Config == nil:
		return invalid("it has no config")
	}
	if body.Config != nil {
		m.Config = *body.Config
		if m.ArtifactType == "" {
			m.ArtifactType = m.Config.MediaType
		}
	}
	if len(m.ArtifactType) > maxMediaType {
		return invalid(fmt.Sprintf("its artifact type has %d characters", len(m.ArtifactType)))
	}
	bad := func(d Descriptor) bool { return d.Digest.Validate() != nil || d.Size < 0 }
	for _, list := range [][]Descriptor{m.Layers, m.Manifests} {
		if i := slices.IndexFunc(list, bad); i >= 0 {
			return invalid(badDescriptor(list[i]))
		}
	}
	for _, d := range []*Descriptor{body.Config, m.Subject} {
		if d != nil && bad(*d) {
			return invalid(badDescriptor(*d))
		}
	}
	return m, nil
}

func badDescriptor(d Descriptor) string {
	return fmt.Sprintf("it holds a descriptor without a valid digest and size: %.256s", d.Digest)
}
