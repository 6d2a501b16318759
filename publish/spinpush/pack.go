package spinpush

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
)

// layersMost is from how many layers on, without that of the locked application, assets become bundles: a registry
// (ECR) takes no more than 500 in all.
const layersMost = 500

// packer makes an App of a manifest.
type packer struct {
	app     *App
	folder  folder
	options Options
	fetched map[digest.Digest]content // what was downloaded
}

// part is a component with its content.
type part struct {
	*component
	wasm   content
	assets []asset
	files  []content // of the assets
}

func (p *packer) pack(ctx context.Context, m *manifest) error {
	parts := make([]part, len(m.components))
	for i, c := range m.components {
		var err error
		if parts[i], err = p.part(ctx, c); err != nil {
			return fmt.Errorf("component %s: %w", c.id, err)
		}
	}
	layers := separate(parts)
	if len(layers) >= layersMost {
		var err error
		if layers, err = p.bundled(ctx, parts); err != nil {
			return err
		}
		p.app.Bundled = true
	}
	l := m.lock()
	for _, x := range parts {
		c := x.lock(x.wasm)
		for i, f := range x.files {
			c.Files = append(c.Files, lockedFile{f.locked(), x.assets[i].path})
		}
		l.add(c)
	}
	locked, err := encode(l)
	if err != nil {
		return err
	}
	layers = append(layers, bytesBlob(spin.MediaTypeLocked, locked))
	if err := p.describe(m, layers); err != nil {
		return err
	}
	return p.app.read(locked)
}

// part reads all that a component is made of.
func (p *packer) part(ctx context.Context, c *component) (x part, err error) {
	x.component = c
	if x.wasm, err = p.source(ctx, c.source); err != nil {
		return x, err
	}
	if x.assets, err = p.folder.assets(ctx, c); err != nil {
		return x, err
	}
	p.app.Size += x.wasm.blob.Size
	for _, a := range x.assets {
		if ctx.Err() != nil {
			return x, context.Cause(ctx)
		}
		f, err := read(ctx, p.folder.on(a.file), a.file, spin.MediaTypeData)
		if err != nil {
			return x, err
		}
		x.files = append(x.files, f)
		p.app.Files++
		p.app.Size += f.blob.Size
	}
	return x, nil
}

// layer tells layers apart as Spin does.
type layer struct {
	mediaType string
	digest    digest.Digest
}

// distinct are blobs without those that stand twice.
func distinct(blobs []publish.Blob) (list []publish.Blob) {
	known := map[layer]bool{}
	for _, b := range blobs {
		key := layer{b.MediaType, b.Digest}
		if !known[key] {
			list = append(list, b)
		}
		known[key] = true
	}
	return list
}

// separate has a layer for each component and each asset that does not stand in the locked application.
func separate(parts []part) (blobs []publish.Blob) {
	for _, x := range parts {
		blobs = append(blobs, x.wasm.blob)
		for _, f := range x.files {
			if f.blob.Size > inlineMost {
				blobs = append(blobs, f.blob)
			}
		}
	}
	return distinct(blobs)
}

// bundled has a layer for each component, and one for its assets.
func (p *packer) bundled(ctx context.Context, parts []part) (blobs []publish.Blob, err error) {
	for _, x := range parts {
		blobs = append(blobs, x.wasm.blob)
		if len(x.assets) == 0 {
			continue
		}
		b, err := p.bundle(ctx, x)
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", x.id, err)
		}
		blobs = append(blobs, b)
	}
	return distinct(blobs), nil
}

// The keys of descriptors and of the manifest are in alphabetical order, as the format has them.
type descriptor struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
}

type imageManifest struct {
	Annotations   map[string]string `json:"annotations"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	SchemaVersion int               `json:"schemaVersion"` // the body does not say its media type
}

const mediaTypeConfig = "application/vnd.oci.image.config.v1+json"

// describe makes the manifest of layers, the last of which is the locked application, and its config.
func (p *packer) describe(m *manifest, layers []publish.Blob) error {
	config := bytesBlob(mediaTypeConfig, fmt.Appendf(nil,
		`{"architecture":"wasm","os":"Wasip1","config":{"Labels":{"com.fermyon.spin.lockedAppDigest":"%s"}},"rootfs":{"type":"layers","diff_ids":[]}}`,
		layers[len(layers)-1].Digest))
	image := imageManifest{Annotations: p.annotations(m), Config: describe(config), SchemaVersion: 2}
	for _, l := range layers {
		image.Layers = append(image.Layers, describe(l))
	}
	var err error
	p.app.manifest, err = encode(image)
	p.app.blobs = append([]publish.Blob{config}, layers...)
	return err
}

func describe(b publish.Blob) descriptor { return descriptor{b.Digest, b.MediaType, b.Size} }

func bytesBlob(mediaType string, raw []byte) publish.Blob {
	return publish.BytesBlob(oci.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw)
}

// annotations are those that the caller gives, and what the manifest says where they don't.
func (p *packer) annotations(m *manifest) map[string]string {
	created := time.Now()
	if p.options.Epoch != nil {
		created = *p.options.Epoch
	}
	given := map[string]string{publish.AnnotationCreated: created.UTC().Format(time.RFC3339)}
	for key, value := range map[string]string{
		publish.AnnotationTitle: m.name, "org.opencontainers.image.version": m.version,
		"org.opencontainers.image.description": m.description, "org.opencontainers.image.authors": strings.Join(m.authors, ", "),
	} {
		if value != "" {
			given[key] = value
		}
	}
	maps.Copy(given, p.options.Annotations)
	return given
}
