package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/client"
)

// extractAtOnce is how many files are copied at a time: enough to hide the way to the daemon and back for small files,
// few enough that large ones don't fight for the disk.
const extractAtOnce = 4

// job is one file to copy, and its place below the destination, slash-separated.
type job struct {
	entry *client.Entry
	to    string
}

// jobFailure is a file that could not be copied.
type jobFailure struct {
	path string
	err  error
}

// extractor copies files below root. A file appears under its name only when it is whole and its digest was checked.
type extractor struct {
	archive *client.Archive
	root    *os.Root
	force   bool
	meter   *meter

	mu           sync.Mutex // guards what follows, and the meter
	files, bytes int64      // copied
	moved        int64      // bytes written, also of files under way
	failed       []jobFailure
}

// run copies all jobs. What fails for one file does not end the others; what fails for all, such as a daemon that is
// gone, does and is returned.
func (x *extractor) run(ctx context.Context, jobs []job) (failed []jobFailure, ended error) {
	var total int64
	for _, j := range jobs {
		total += j.entry.Size
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(extractAtOnce)
	for _, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			n, err := x.copy(ctx, j, total)
			if err != nil && (ctx.Err() != nil || exitCode(err) == exitUnreachable) {
				return err
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			if err != nil {
				x.failed = append(x.failed, jobFailure{j.entry.Path, err})
				return nil
			}
			x.files, x.bytes = x.files+1, x.bytes+n
			return nil
		})
	}
	ended = group.Wait()
	return x.failed, ended
}

// copy brings one file to its place.
func (x *extractor) copy(ctx context.Context, j job, total int64) (n int64, err error) {
	name, err := filepath.Localize(j.to)
	if err != nil {
		return 0, fmt.Errorf("%q can't be a file's name on this system", j.to)
	}
	if fi, err := x.root.Lstat(name); err == nil { // before anything is fetched
		switch {
		case fi.IsDir():
			return 0, errFolder
		case !x.force:
			return 0, errExists
		}
	}
	s, err := x.archive.WithContext(ctx).OpenRange(j.entry.Path, 0, -1)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	dir := filepath.Dir(name)
	if err := x.root.MkdirAll(dir, 0o777); err != nil {
		return 0, x.folderError(dir, err)
	}
	temp := filepath.Join(dir, ".blobd-"+rand.Text()+".tmp")
	defer func() {
		if err != nil {
			err = diskError(errors.Join(err, ignore(x.root.Remove(temp), fs.ErrNotExist)))
		}
	}()
	if n, err = x.write(temp, s, total); err != nil {
		return n, err
	}
	if modified := s.Entry().Modified; !modified.IsZero() {
		if err := x.root.Chtimes(temp, time.Time{}, modified); err != nil {
			return n, err
		}
	}
	return n, x.publish(temp, name)
}

// write fills a new file, with the permission bits of its entry; others, such as setuid, are never set.
func (x *extractor) write(name string, s *client.Stream, total int64) (int64, error) {
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := s.WriteTo(&meteredWriter{f, x, total})
	if err == nil {
		err = f.Chmod(s.Entry().Permissions & fs.ModePerm)
	}
	return n, errors.Join(err, f.Close())
}

// publish gives a whole file its name. A link fails where the name is taken, a rename would not; where the file system
// has no links, a look and a rename must do.
func (x *extractor) publish(temp, name string) error {
	if !x.force {
		err := x.root.Link(temp, name)
		switch {
		case err == nil:
			return x.root.Remove(temp)
		case errors.Is(err, fs.ErrExist):
			return errExists
		}
		if _, err := x.root.Lstat(name); err == nil {
			return errExists
		}
	}
	return x.root.Rename(temp, name)
}

// meteredWriter writes to a file and shows how far all files are.
type meteredWriter struct {
	io.Writer
	x     *extractor
	total int64
}

func (w *meteredWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	w.x.moved += int64(n)
	w.x.meter.set(w.x.moved, w.total)
	return n, err
}

// ignore is err, or nil where it is target.
func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
