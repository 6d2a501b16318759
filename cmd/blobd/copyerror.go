package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/vfs"
)

// What follows says why a file or folder can't be where it should go. What the system says names calls and temporary files,
// which mean nothing to a user.

var (
	errExists = errors.New("exists already; overwrite it with --force")
	errFolder = errors.New("a folder stands there, which --force does not overwrite; remove it, or copy to another place")
)

// diskError is err as the disk's last word, where it is one.
func diskError(err error) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return err
	}
	failed := &fault.Error{What: "can't be written", Err: errno}
	switch {
	case vfs.IsDiskTrouble(errno):
		return failed.Try("copy to another disk, or make room on this one")
	case errors.Is(errno, fs.ErrPermission):
		return failed.Try("copy to a folder that this user can write")
	default:
		return failed.Try("copy to another place")
	}
}

// folderError is why a folder below the destination can't be made.
func (x *extractor) folderError(dir string, err error) error {
	switch place, fi := inTheWay(dir, x.root.Lstat, x.root.Stat); {
	case fi == nil:
		return diskError(err)
	case fi.Mode()&fs.ModeSymlink != 0:
		return (&fault.Error{What: place + " is a link that leads to no folder in the destination"}).
			Try("remove it, or copy to another place")
	default:
		return (&fault.Error{What: place + " is a file, and a folder must be there"}).Try("remove it, or copy to another place")
	}
}

// destError is why the destination itself can't be opened or made.
func destError(dir string, err error) error {
	place, fi := inTheWay(dir, os.Lstat, os.Stat)
	switch {
	case fi != nil:
		return (&fault.Error{What: place + " is not a folder"}).Try("copy to another place, or remove it")
	case errors.Is(err, fs.ErrPermission):
		return (&fault.Error{What: "folder " + dir + ": this user may not write there"}).Try("copy to a folder of this user")
	}
	failed := &fault.Error{What: "folder " + dir + " can't be made", Err: err}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		failed.Err = errno
	}
	return failed.Try("copy to another place")
}

// inTheWay is what stands where a folder must be: the deepest part of dir that exists, when it is no folder.
func inTheWay(dir string, lstat, stat func(string) (fs.FileInfo, error)) (place string, _ fs.FileInfo) {
	for p := filepath.Clean(dir); ; p = filepath.Dir(p) {
		found, err := lstat(p)
		if err != nil {
			if p == filepath.Dir(p) {
				return "", nil
			}
			continue
		}
		if fi, err := stat(p); err == nil && fi.IsDir() {
			return "", nil
		}
		return p, found
	}
}
