// Package spin reads Spin applications: an OCI artifact whose *locked application*, a JSON document, names components,
// each a wasm blob with assets. The application becomes a tree:
//
//	locked.json                       the locked application, as it was pushed
//	<component>.wasm                  a component
//	<component>/<path>                an asset of it
//	<component>.deps/<name>.wasm      a dependency that was not composed into it
//
// An asset is a blob of its own, stands in the locked application itself, or (archive mode) is a member of one of several
// bundles, which have to be decoded to know of which. An artifact that is one bare wasm component is a tree of one file.
//
// It is bytes in, entries out; it believes nothing, and ignores what it does not know: it reads files, it runs nothing.
package spin

import (
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/oci"
)

// What names the blobs of an application.
const (
	MediaTypeLocked    = "application/vnd.fermyon.spin.application.v1+config"
	MediaTypeWasm      = "application/vnd.wasm.content.layer.v1+wasm"
	MediaTypePlainWasm = "application/wasm" // as wkg writes it
	MediaTypeData      = "application/vnd.wasm.content.layer.v1+data"
	MediaTypeBundle    = "application/vnd.wasm.content.bundle.v1.tar+gzip"
)

const (
	mediaTypeEmpty      = "application/vnd.oci.empty.v1+json"
	mediaTypeWasmConfig = "application/vnd.wasm.config.v0+json" // wkg's
	annotationTitle     = "org.opencontainers.image.title"
	lockVersionKey      = "spin_lock_version"
	bareName            = "component.wasm"
)

// Locked finds the blob that holds the locked application: the first layer that says so, or the config that does, as
// before Spin 2.0. Where nothing says so but the manifest has wasm in it, the config may still be one, whatever its media
// type: then certain is false, and IsLocked tells from its bytes.
func Locked(m oci.Manifest) (d oci.Descriptor, certain, ok bool) {
	if m.IsIndex() {
		return d, false, false
	}
	wasm := false
	for _, l := range m.Layers {
		if l.MediaType == MediaTypeLocked {
			return l, true, true
		}
		wasm = wasm || isWasm(l)
	}
	switch m.Config.MediaType {
	case MediaTypeLocked:
		return m.Config, true, true
	case mediaTypeEmpty, mediaTypeWasmConfig:
		return d, false, false
	}
	if !wasm || m.Config.Digest == "" || m.Config.Size > defaultLockedBytes {
		return d, false, false
	}
	return m.Config, false, true
}

// IsLocked reports whether raw is a JSON object that says which version of a locked application it is, known or not.
func IsLocked(raw []byte) bool {
	_, err := lockVersion(raw)
	return err == nil
}

// Component reads an artifact that is one wasm component and nothing else; ok is false where it is not that. An
// application before Spin 2.0 may look the same: ask Locked first. The file has the name that the layer's title gives it,
// or component.wasm where that is none or not safe.
func Component(m oci.Manifest) (tree *archive.Tree, ok bool, err error) {
	if m.IsIndex() || len(m.Layers) == 0 {
		return nil, false, nil
	}
	wasm := m.Layers[0]
	for _, l := range m.Layers {
		if !isWasm(l) || l.Digest != wasm.Digest {
			return nil, false, nil
		}
	}
	name := wasm.Annotations[annotationTitle]
	if archive.CheckPath(name) != nil {
		name = bareName
	}
	tree, err = archive.NewTree(archive.Entries{archive.BlobEntry(name, &wasm)})
	return tree, err == nil, err
}

func isWasm(d oci.Descriptor) bool {
	return d.MediaType == MediaTypeWasm || d.MediaType == MediaTypePlainWasm
}

// bundlesOf lists the layers that hold assets as a tar, each once.
func bundlesOf(m oci.Manifest) (bundles []oci.Descriptor) {
	seen := make(map[digest.Digest]bool)
	for _, l := range m.Layers {
		if l.MediaType == MediaTypeBundle && !seen[l.Digest] {
			seen[l.Digest] = true
			bundles = append(bundles, l)
		}
	}
	return bundles
}
