package blobfmt_test

import (
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func TestLayers(t *testing.T) {
	index := oci.Descriptor{MediaType: blobfmt.MediaTypeIndex, Digest: digest.FromString("index"), Size: 5}
	data := oci.Descriptor{MediaType: blobfmt.MediaTypeData, Digest: digest.FromString("data"), Size: 4}
	other := oci.Descriptor{MediaType: "text/plain", Digest: digest.FromString("other"), Size: 5}
	for _, c := range []struct {
		name   string
		layers []oci.Descriptor
		ok     bool
	}{
		{"index first", []oci.Descriptor{index, data}, true},
		{"data first", []oci.Descriptor{data, index}, true},
		{"none", nil, false},
		{"index alone", []oci.Descriptor{index}, false},
		{"data alone", []oci.Descriptor{data}, false},
		{"index twice", []oci.Descriptor{index, index}, false},
		{"data twice", []oci.Descriptor{data, data}, false},
		{"no data", []oci.Descriptor{index, other}, false},
		{"one more", []oci.Descriptor{index, data, other}, false},
		{"index twice and data", []oci.Descriptor{index, index, data}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := oci.ParseManifest(oci.MediaTypeImageManifest, archivetest.Manifest(c.layers...))
			if err != nil {
				t.Fatal(err)
			}
			gotIndex, gotData, err := blobfmt.Layers(m)
			if c.ok && (err != nil || gotIndex.Digest != index.Digest || gotData.Digest != data.Digest) {
				t.Errorf("got %v, %v, %v", gotIndex, gotData, err)
			}
			if !c.ok && !errors.Is(err, fault.ManifestInvalid) {
				t.Errorf("got %v, %v, %v", gotIndex, gotData, err)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		name string
		m    oci.Manifest
		want bool
	}{
		{"a blob archive", oci.Manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: blobfmt.ArtifactType}, true},
		{"another artifact", oci.Manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: "text/plain"}, false},
		{"an index of archives", oci.Manifest{MediaType: oci.MediaTypeImageIndex, ArtifactType: blobfmt.ArtifactType}, false},
	} {
		if got := blobfmt.Matches(c.m); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
