package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/client"
)

// spinCache writes Spin's cache. Spin takes a file that is there for a good one, for ever, and locks nothing: so each appears
// by a rename within its folder, when it is whole, checked, and on disk.
type spinCache struct {
	dir   string
	meter *meter

	mu            sync.Mutex // guards what follows, and the meter
	written, kept int64      // files
	bytes         int64      // written
	done          int64      // bytes, of files that were there too
}

// put brings an application into the cache: what its locked application names, and then, where the reference has a tag,
// what says so. It returns the folder of the tag.
func (s *spinCache) put(ctx context.Context, archive *client.Archive, app *spinApp) (folder string, err error) {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(extractAtOnce)
	for _, f := range app.files {
		group.Go(func() error {
			if err := s.file(gctx, archive, f); err != nil {
				return fmt.Errorf("%s: %w", quoted(f.path), err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.done += f.size
			s.meter.set(s.done, app.size)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	if app.ref.Tag == "" {
		return "", nil // Spin would use the folder of the tag "latest", for whatever digest
	}
	parts := append([]string{s.dir, "registry", "manifests", app.ref.Registry}, strings.Split(app.ref.Repository, "/")...)
	for i, p := range parts[1:] {
		parts[i+1] = spinName(p)
	}
	folder = filepath.Join(append(parts, app.ref.Tag)...)
	// The manifest comes last: it is what is looked for first.
	for _, f := range []struct {
		name string
		data []byte
	}{{"config.json", app.locked}, {"manifest.json", app.manifest}} {
		if err := s.small(filepath.Join(folder, f.name), f.data); err != nil {
			return "", fmt.Errorf("%s: %w", filepath.Join(folder, f.name), err)
		}
	}
	return folder, nil
}

// spinName is how Spin names a file or folder: where a colon can't be in a name, it is an underscore.
func spinName(name string) string {
	if runtime.GOOS == "windows" {
		return strings.ReplaceAll(name, ":", "_")
	}
	return name
}

// file brings one component or asset to its place.
func (s *spinCache) file(ctx context.Context, archive *client.Archive, f spinFile) error {
	path := filepath.Join(s.dir, "registry", f.kind, spinName(f.digest))
	if isFile(path, f.size, f.digest) {
		s.count(0, 1, 0)
		return nil
	}
	archive = archive.WithContext(ctx)
	open := func() (*client.Stream, error) { return archive.OpenRange(f.path, 0, -1) }
	if f.path == "" {
		open = func() (*client.Stream, error) { return archive.OpenBlob(f.digest) }
	}
	stream, err := open()
	if err != nil {
		return err
	}
	defer stream.Close()
	return s.write(path, func(w io.Writer) error {
		_, err := stream.WriteTo(w)
		return err
	})
}

// small brings one of the two files of a tag to its place.
func (s *spinCache) small(path string, data []byte) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, data) {
		s.count(0, 1, 0)
		return nil
	}
	return s.write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func (s *spinCache) count(written, kept, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written, s.kept, s.bytes = s.written+written, s.kept+kept, s.bytes+bytes
}

// isFile reports whether a file is there and has these bytes.
func isFile(path string, size int64, digest string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() != size {
		return false
	}
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return err == nil && fmt.Sprintf("sha256:%x", sum.Sum(nil)) == digest
}

// write makes a file what fill writes, whole or not at all.
func (s *spinCache) write(path string, fill func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return destError(dir, err)
	}
	temp := filepath.Join(dir, ".blobd-"+rand.Text()+".tmp")
	defer func() {
		if err != nil {
			err = diskError(errors.Join(err, ignore(os.Remove(temp), fs.ErrNotExist)))
		}
	}()
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	counted := &countingWriter{w: f}
	if err = errors.Join(fill(counted), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	s.count(1, 0, counted.n)
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
