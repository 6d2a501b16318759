// Package spinpush makes Spin applications of what a manifest (spin.toml, version 2) names: wasm components that are local
// files or are downloaded, and their assets. What comes out is what `spin registry push` would push: a layer for each
// component and asset, or from 500 layers on a bundle of assets for each component, and the locked application, a JSON
// document that names them all. publish.Client's Upload takes it from there.
//
// A component is pushed as it is: blobd composes nothing, and makes no component of a core module, which Spin does when it
// loads one. A manifest that asks for what Spin does and blobd does not is refused, with the key that asks for it: version
// 1, components from a package registry, dependencies, middleware.
//
// The same files give the same bytes, but for the annotation that says when it was made; Options.Epoch fixes that, too.
package spinpush

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
)

// Options say what an application is like, and how its components are got.
type Options struct {
	Annotations map[string]string // besides those that the manifest gives, and before them
	Epoch       *time.Time        // when it was made; nil: now
	HTTPSources bool              // components may come from http:// addresses that are not on loopback, too
	MaxSource   int64             // the largest component that is downloaded; 0 is 1 GiB
	Transport   http.RoundTripper // for downloads; nil is as http.DefaultTransport
}

// defaultMaxSource is far above any component: Spin holds one in memory as a whole.
const defaultMaxSource = 1 << 30

// App is an application, not yet pushed. What was made for it is in temporary files; its other files are read again when
// they are sent, and one that has changed is an error that names it.
type App struct {
	Components int
	Files      int   // assets
	Size       int64 // of components and assets
	Bundled    bool  // the assets of a component are one layer

	spool    string // a folder for what is made or downloaded; "" while there is nothing
	blobs    []publish.Blob
	manifest []byte
}

// Pack reads the manifest in the file, or in spin.toml of the folder, that is called name, and all that it names. Close
// must be called.
func Pack(ctx context.Context, name string, o Options) (_ *App, err error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, "spin.toml")
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.Wrap(fault.InvalidArgument, err, "Spin manifest %s", name)
	}
	m, err := parse(raw)
	if err != nil {
		return nil, invalid(name, err)
	}
	root, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return nil, fault.Wrap(fault.InvalidArgument, err, "folder of %s", name)
	}
	defer root.Close()
	if o.MaxSource == 0 {
		o.MaxSource = defaultMaxSource
	}
	a := &App{Components: len(m.components)}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	p := packer{app: a, folder: folder{root, filepath.Dir(name)}, options: o}
	if err := p.pack(ctx, m); err != nil {
		return nil, invalid(name, err)
	}
	return a, nil
}

// Artifact is what Upload takes.
func (a *App) Artifact() publish.Artifact {
	return publish.Artifact{MediaType: oci.MediaTypeImageManifest, Manifest: a.manifest, Blobs: a.blobs}
}

// Close removes what Pack made.
func (a *App) Close() {
	if a.spool != "" {
		_ = os.RemoveAll(a.spool)
	}
}

// temporary makes a file in the spool.
func (a *App) temporary() (*os.File, error) {
	if a.spool == "" {
		dir, err := os.MkdirTemp("", "blobd-push-")
		if err != nil {
			return nil, err
		}
		a.spool = dir
	}
	return os.CreateTemp(a.spool, "")
}

// read holds what was made against blobd's own reader, which knows limits that the manifest does not.
func (a *App) read(locked []byte) error {
	m, err := oci.ParseManifest(oci.MediaTypeImageManifest, a.manifest)
	if err != nil {
		return err
	}
	_, err = spin.Decode(m, locked, spin.Limits{})
	return err
}

// invalid says which manifest a problem is in. Faults of other kinds, and what the caller cancelled, stay what they are.
func invalid(name string, err error) error {
	if p, ok := errors.AsType[*problem](err); ok {
		e := fault.New(fault.InvalidArgument, "%s: %s", name, err)
		e.Remedy = p.remedy
		return e
	}
	return fmt.Errorf("%s: %w", name, err)
}
