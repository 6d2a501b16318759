package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/blobd/blobd/internal/fault"
)

// Skipped counts what a folder holds and an archive can't.
type Skipped struct {
	Symlinks     int64 `json:"symlinks"`
	Special      int64 `json:"special"` // devices, pipes, sockets
	EmptyFolders int64 `json:"empty_folders"`
}

// walk visits the regular files below root in the order of their paths' bytes. It holds one listing for each folder on
// the way down.
func walk(ctx context.Context, root *os.Root, skipped *Skipped, visit func(path string, info fs.FileInfo) error) error {
	return walkFolder(ctx, root, ".", skipped, visit)
}

func walkFolder(ctx context.Context, root *os.Root, dir string, skipped *Skipped, visit func(string, fs.FileInfo) error) error {
	entries, err := readDir(root, dir)
	if err != nil {
		return &fault.Error{What: "folder " + dir, Err: err}
	}
	if len(entries) == 0 && dir != "." {
		skipped.EmptyFolders++
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = walkFolder(ctx, root, name, skipped, visit)
		case e.Type()&fs.ModeSymlink != 0:
			skipped.Symlinks++
		case !e.Type().IsRegular():
			skipped.Special++
		default:
			var info fs.FileInfo
			if info, err = e.Info(); err != nil {
				err = &fault.Error{What: "file " + name, Err: err}
				break
			}
			err = visit(name, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readDir lists a folder in the order in which what is below its entries comes among all paths: a folder counts as its
// name and a slash.
func readDir(root *os.Root, dir string) ([]fs.DirEntry, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(key(a), key(b)) })
	return entries, nil
}

var errChanged = errors.New("it changed while it was being pushed")

// openFile opens a file that was found, and not another one that stands there now.
func openFile(root *os.Root, name string, found fs.FileInfo) (*os.File, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, fileError(name, err)
	}
	info, err := f.Stat()
	if err == nil && (!os.SameFile(found, info) || found.Size() != info.Size()) {
		err = errChanged
	}
	if err != nil {
		_ = f.Close()
		return nil, fileError(name, err)
	}
	return f, nil
}

// String says how much was skipped, for a person; "" for nothing.
func (s Skipped) String() string {
	var parts []string
	for _, p := range []struct {
		n         int64
		one, many string
	}{
		{s.Symlinks, "symbolic link", "symbolic links"}, {s.Special, "device, pipe or socket", "devices, pipes or sockets"},
		{s.EmptyFolders, "empty folder", "empty folders"},
	} {
		switch {
		case p.n == 1:
			parts = append(parts, "1 "+p.one)
		case p.n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.many))
		}
	}
	return strings.Join(parts, ", ")
}
