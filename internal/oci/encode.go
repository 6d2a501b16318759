package oci

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

// MediaTypeEmpty is the type of the blob {}, which stands where a manifest needs a blob and has nothing to say
// (OCI image spec v1.1, "Guidance for an empty descriptor").
const MediaTypeEmpty = "application/vnd.oci.empty.v1+json"

// EmptyJSON is that blob.
const EmptyJSON = "{}"

// EmptyConfig is the descriptor of EmptyJSON.
func EmptyConfig() Descriptor {
	return Descriptor{MediaType: MediaTypeEmpty, Digest: digest.FromString(EmptyJSON), Size: int64(len(EmptyJSON))}
}

// Encode is an image manifest as JSON. Equal manifests give equal bytes.
func (m Manifest) Encode() []byte {
	layers := m.Layers
	if layers == nil {
		layers = []Descriptor{} // the list is required, be it empty
	}
	raw, err := json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType,omitempty"`
		ArtifactType  string            `json:"artifactType,omitempty"`
		Config        Descriptor        `json:"config"`
		Layers        []Descriptor      `json:"layers"`
		Subject       *Descriptor       `json:"subject,omitempty"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{2, m.MediaType, m.ArtifactType, m.Config, layers, m.Subject, m.Annotations})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return raw
}
