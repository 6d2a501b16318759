// Package blobfmt reads blob archives: an OCI artifact of two layers, the index, which is a FlatBuffers table of the
// files, and the data, which is the files' bytes one after another.
//
// It believes nothing: an index that would make a reader fetch the wrong bytes, list a file twice or leave the archive is
// refused whole, with a reason. It is bytes in, a Tree out; it fetches and decompresses nothing.
package blobfmt

import (
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// What names a blob archive and its layers.
const (
	ArtifactType   = "application/vnd.meigma.blob.v1"
	MediaTypeIndex = "application/vnd.meigma.blob.index.v1+flatbuffers"
	MediaTypeData  = "application/vnd.meigma.blob.data.v1"
)

// Matches reports whether m says that it is a blob archive.
func Matches(m oci.Manifest) bool { return !m.IsIndex() && m.ArtifactType == ArtifactType }

// Layers finds the index and the data layer, which stand in either order. It fails with fault.ManifestInvalid unless
// there are exactly these two.
func Layers(m oci.Manifest) (index, data oci.Descriptor, err error) {
	for _, l := range m.Layers {
		switch l.MediaType {
		case MediaTypeIndex:
			index = l
		case MediaTypeData:
			data = l
		}
	}
	if len(m.Layers) != 2 || index.Digest == "" || data.Digest == "" {
		return oci.Descriptor{}, oci.Descriptor{}, fault.New(fault.ManifestInvalid,
			"a blob archive has one index layer and one data layer; this one's %d layers are not that", len(m.Layers))
	}
	return index, data, nil
}
