package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// spinApp is what Spin's cache holds of an application.
type spinApp struct {
	ref      oci.Reference
	manifest []byte
	locked   []byte
	files    []spinFile
	seen     map[[2]string]bool // kinds and digests of files
	size     int64
}

// spinFile is one file of Spin's cache, and where it is in the application's tree.
type spinFile struct {
	kind   string // "wasm" or "data": the folder
	digest string // sha256:hex
	path   string // empty for a bundle, which Spin keeps beside what was in it
	size   int64
}

const lockedPath = "locked.json"

// readSpinApp reads what an application consists of. It fails for an artifact that is none, naming what it is.
func readSpinApp(ctx context.Context, c *client.Client, archive *client.Archive, written string) (*spinApp, error) {
	ref, err := oci.ParseReference(written)
	if err != nil {
		return nil, err
	}
	res, raw, err := c.Manifest(ctx, archive.Reference)
	if err != nil {
		return nil, err
	}
	m, err := oci.ParseManifest(res.MediaType, raw)
	if err != nil {
		return nil, err
	}
	app := &spinApp{ref: ref, manifest: raw, seen: map[[2]string]bool{}}
	layer, certain, ok := spin.Locked(m)
	if ok {
		app.locked, err = archive.WithContext(ctx).ReadFile(lockedPath)
		// What the manifest names is what the daemon gave, or it is a file that only has this name.
		if err != nil && certain {
			return nil, err
		}
		ok = err == nil && layer.Digest.Algorithm().FromBytes(app.locked) == layer.Digest && spin.IsLocked(app.locked)
	}
	if !ok {
		what := "its artifact type is " + archive.ArtifactType
		if _, bare, _ := spin.Component(m); bare {
			what = "it is a single component"
		}
		return nil, fault.New(fault.ArtifactUnsupported, "%s is no Spin application: %s", archive.Reference, what).
			Try("copy its files with `blobd cp`")
	}
	for _, l := range m.Layers {
		if l.MediaType == spin.MediaTypeBundle {
			app.add(spinFile{kind: "data", digest: l.Digest.String(), size: l.Size})
		}
	}
	return app, app.list(ctx, archive)
}

// add takes on a file, each digest once for each kind.
func (app *spinApp) add(f spinFile) {
	place := [2]string{f.kind, f.digest}
	if app.seen[place] {
		return
	}
	app.seen[place] = true
	app.files = append(app.files, f)
	app.size += f.size
}

// spinContent is what a locked application says of a component's or a file's bytes.
type spinContent struct {
	Digest string `json:"digest"`
}

// list finds every file that Spin looks for. Small assets stand in the locked application itself, where Spin takes them from.
func (app *spinApp) list(ctx context.Context, archive *client.Archive) error {
	var locked struct {
		Components []struct {
			ID           string                                  `json:"id"`
			Source       spinContent                             `json:"source"`
			Files        []struct{ Path string }                 `json:"files"`
			Dependencies map[string]struct{ Source spinContent } `json:"dependencies"`
		} `json:"components"`
	}
	if err := json.Unmarshal(app.locked, &locked); err != nil {
		return fault.Wrap(fault.IndexInvalid, err, "%s: its locked application", archive.Reference)
	}
	entries := map[string]*client.Entry{}
	for e, err := range archive.List(ctx, ".", true) {
		if err != nil {
			return err
		}
		entries[e.Path] = e
	}
	add := func(kind, path string) error {
		e := entries[path]
		if e == nil || e.Digest == "" {
			return fault.New(fault.IndexInvalid, "%s: the daemon does not list %q", archive.Reference, path)
		}
		if kind == "wasm" || e.Encoding != "inline" {
			app.add(spinFile{kind, e.Digest, path, e.Size})
		}
		return nil
	}
	for _, c := range locked.Components {
		if err := add("wasm", c.ID+".wasm"); err != nil {
			return err
		}
		for name := range c.Dependencies {
			if err := add("wasm", fmt.Sprintf("%s.deps/%s.wasm", c.ID, name)); err != nil {
				return err
			}
		}
		for _, f := range c.Files {
			if err := add("data", c.ID+"/"+f.Path); err != nil {
				return err
			}
		}
	}
	return nil
}
