package registrytest

import (
	"encoding/json"

	"github.com/blobd/blobd/internal/oci"
)

// ImageManifest is the JSON of an OCI image manifest with this artifact type, config and layers.
func ImageManifest(artifactType string, config oci.Descriptor, layers ...oci.Descriptor) []byte {
	if layers == nil {
		layers = []oci.Descriptor{}
	}
	config.MediaType = "application/vnd.oci.empty.v1+json"
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     oci.MediaTypeImageManifest,
		"artifactType":  artifactType,
		"config":        config,
		"layers":        layers,
	})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return raw
}
