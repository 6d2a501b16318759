// Package spintest makes Spin applications, bare wasm components and plain artifacts for tests, from the descriptions of
// their formats alone: it shares no code with what reads them.
package spintest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
)

// Media types of an application's blobs.
const (
	Locked = "application/vnd.fermyon.spin.application.v1+config"
	Wasm   = "application/vnd.wasm.content.layer.v1+wasm"
	Data   = "application/vnd.wasm.content.layer.v1+data"
	Bundle = "application/vnd.wasm.content.bundle.v1.tar+gzip"
	Config = "application/vnd.oci.image.config.v1+json"
)

// inlineMost is the largest content that stands in the locked application.
const inlineMost = 128

// Object is JSON, whose keys are sorted when it is written, as Spin's are.
type Object = map[string]any

// Artifact is what a registry has to hold.
type Artifact struct {
	Manifest []byte
	Blobs    map[digest.Digest][]byte
	Locked   []byte          // the locked application, of one
	Bundles  []digest.Digest // those of the blobs that are a tar in a gzip
}

// Digest is that of the manifest.
func (a *Artifact) Digest() digest.Digest { return digest.FromBytes(a.Manifest) }

// add keeps a blob and returns its descriptor.
func (a *Artifact) add(mediaType string, algorithm digest.Algorithm, data []byte) Object {
	d := algorithm.FromBytes(data)
	if a.Blobs == nil {
		a.Blobs = make(map[digest.Digest][]byte)
	}
	a.Blobs[d] = data
	return Object{"mediaType": mediaType, "digest": d, "size": len(data)}
}

// File is an asset, or a member of a tar.
type File struct {
	Path string
	Data []byte
	Link string // of a member: it is a symbolic link to that
}

// Component is one of an application.
type Component struct {
	ID    string
	Wasm  []byte
	Files []File
	Deps  map[string][]byte // dependencies that were not composed, by name
}

// Options say how an application is written.
type Options struct {
	Bundled bool // archive mode: one tar for each component
	Old     bool // before Spin 2.0: the locked application is the config
	Created string
	// Lock and Manifest change what is about to be written.
	Lock     func(Object)
	Manifest func(Object)
	Pack     func(...File) []byte // makes bundles; nil is TarGzip
}

// Application is what `spin registry push` makes of components.
func Application(o Options, components ...Component) *Artifact {
	a := new(Artifact)
	var layers []any
	seen := make(map[digest.Digest]bool)
	layer := func(mediaType string, data []byte) digest.Digest {
		d := digest.FromBytes(data)
		if !seen[d] {
			seen[d] = true
			layers = append(layers, a.add(mediaType, digest.SHA256, data))
		}
		return d
	}
	locked := []any{}
	pack := o.Pack
	if pack == nil {
		pack = TarGzip
	}
	for _, c := range components {
		x := Object{"id": c.ID, "source": source(layer(Wasm, c.Wasm))}
		var files []any
		for _, f := range c.Files {
			file := Object{"path": f.Path, "digest": digest.FromBytes(f.Data)}
			if len(f.Data) <= inlineMost && !o.Bundled {
				file["inline"] = base64.RawStdEncoding.EncodeToString(f.Data)
			} else if !o.Bundled {
				layer(Data, f.Data)
			}
			files = append(files, file)
		}
		if len(files) > 0 {
			x["files"] = files
		}
		if o.Bundled && len(files) > 0 {
			a.Bundles = append(a.Bundles, layer(Bundle, pack(c.Files...)))
		}
		deps := Object{}
		for name, wasm := range c.Deps {
			deps[name] = Object{"source": source(layer(Wasm, wasm)), "inherit": "all"}
		}
		if len(deps) > 0 {
			x["dependencies"] = deps
		}
		locked = append(locked, x)
	}
	lock := Object{
		"spin_lock_version": 0, "metadata": Object{"name": "app", "trigger": Object{"type": "http"}},
		"triggers": []any{}, "components": locked,
	}
	if o.Lock != nil {
		o.Lock(lock)
	}
	a.Locked = marshal(lock)
	var config Object
	if o.Old {
		config = a.add(Locked, digest.SHA256, a.Locked)
	} else {
		config = a.add(Config, digest.SHA256, marshal(Object{
			"architecture": "wasm", "os": "Wasip1", "rootfs": Object{"type": "layers", "diff_ids": []any{}},
			"config": Object{"Labels": Object{"com.fermyon.spin.lockedAppDigest": digest.FromBytes(a.Locked)}},
		}))
		layer(Locked, a.Locked)
	}
	m := Object{
		"schemaVersion": 2, "config": config, "layers": layers,
		"annotations": Object{"org.opencontainers.image.title": "app", "org.opencontainers.image.created": o.Created},
	}
	if o.Manifest != nil {
		o.Manifest(m)
	}
	a.Manifest = marshal(m)
	return a
}

func source(d digest.Digest) Object {
	return Object{"content_type": "application/wasm", "digest": d}
}

// Bare is an artifact that is one component, with an ordinary config.
func Bare(mediaType, title string, wasm []byte) *Artifact {
	a := new(Artifact)
	layer := a.add(mediaType, digest.SHA256, wasm)
	if title != "" {
		layer["annotations"] = Object{"org.opencontainers.image.title": title}
	}
	a.Manifest = marshal(Object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []any{layer},
		"config": a.add(Config, digest.SHA256, []byte(`{"architecture":"wasm","os":"wasip2"}`)),
	})
	return a
}

// Layer is a file of a plain artifact, or a folder.
type Layer struct {
	Title  string
	Data   []byte
	SHA512 bool
	Folder []File // beside Title; a tar in a gzip
}

// Plain is what `oras push` makes of files and folders.
func Plain(layers ...Layer) *Artifact {
	a := new(Artifact)
	var list []any
	for _, l := range layers {
		algorithm := digest.SHA256
		if l.SHA512 {
			algorithm = digest.SHA512
		}
		annotations := Object{"org.opencontainers.image.title": l.Title}
		data := l.Data
		if l.Folder != nil {
			data = TarGzip(l.Folder...)
			a.Bundles = append(a.Bundles, digest.FromBytes(data))
			annotations["io.deis.oras.content.unpack"] = "true"
			annotations["io.deis.oras.content.digest"] = digest.FromBytes(data)
		}
		layer := a.add("application/vnd.oci.image.layer.v1.tar", algorithm, data)
		layer["annotations"] = annotations
		list = append(list, layer)
	}
	a.Manifest = marshal(Object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": list,
		"artifactType": "application/vnd.unknown.artifact.v1",
		"config":       a.add("application/vnd.oci.empty.v1+json", digest.SHA256, []byte("{}")),
	})
	return a
}

// ModTime and Mode are what TarGzip says of every member.
var ModTime = time.Unix(1_700_000_000, 0)

// Mode is the permissions of every member.
const Mode = 0o750

// TarGzip is a tar of files inside a gzip.
func TarGzip(files ...File) []byte { return tarGzip(files, true) }

// TarGzipBegin is one that TarGzip's goes on: the two in a row are one tar, in a gzip of two members.
func TarGzipBegin(files ...File) []byte { return tarGzip(files, false) }

func tarGzip(files []File, end bool) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{Name: f.Path, Size: int64(len(f.Data)), Mode: Mode, ModTime: ModTime, Typeflag: tar.TypeReg}
		if f.Link != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.Link, 0
		}
		must(t.WriteHeader(h))
		if f.Link == "" {
			_, err := t.Write(f.Data)
			must(err)
		}
	}
	must(t.Flush())
	if end {
		must(t.Close())
	}
	must(z.Close())
	return b.Bytes()
}

func marshal(o Object) []byte {
	raw, err := json.Marshal(o)
	must(err)
	return raw
}

// must panics: nothing here writes to anything but memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
