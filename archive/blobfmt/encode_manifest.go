package blobfmt

import (
	"maps"

	"github.com/blobd/blobd/internal/oci"
)

// Manifest is the manifest of an archive with these blobs. Its config is oci.EmptyConfig.
func Manifest(index, data oci.Descriptor, annotations map[string]string) oci.Manifest {
	index.MediaType, data.MediaType = MediaTypeIndex, MediaTypeData
	return oci.Manifest{
		MediaType: oci.MediaTypeImageManifest, ArtifactType: ArtifactType, Config: oci.EmptyConfig(),
		Layers:      []oci.Descriptor{index, data},
		Annotations: maps.Clone(annotations),
	}
}
