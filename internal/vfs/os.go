package vfs

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"os"
)

// readDirBatch is how many names are asked for at once: large enough to make few calls, small enough for any folder.
const readDirBatch = 1024

type osFS struct{}

func (osFS) Open(name string) (File, error) { return openFile(name, os.O_RDONLY, 0) }

func (osFS) OpenRW(name string) (File, error) { return openFile(name, os.O_RDWR, 0) }

func (osFS) Create(name string) (File, error) {
	return openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// openFile opens as os.OpenFile does, but regular files only.
func openFile(name string, flag int, perm os.FileMode) (File, error) {
	notFile := &os.PathError{Op: "open", Path: name, Err: ErrNotFile}
	f, err := openOS(name, flag, perm)
	if err != nil {
		if fi, lerr := os.Lstat(name); lerr == nil && !fi.Mode().IsRegular() && !errors.Is(err, os.ErrExist) {
			return nil, notFile
		}
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = notFile
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) MkdirAll(name string) error { return os.MkdirAll(name, 0o700) }

func (osFS) Lstat(name string) (Info, error) {
	fi, err := os.Lstat(name)
	if err != nil {
		return Info{}, err
	}
	return infoOf(name, fi), nil
}

func (osFS) ReadDir(name string, visit func(string) error) error {
	d, err := openDir(name)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(readDirBatch)
		for _, n := range names {
			if err := visit(n); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (osFS) Lock(name string) (File, error) {
	f, err := openFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		// A lock that can't be written, on a disk that is read-only, still excludes others.
		var rerr error
		if f, rerr = openFile(name, os.O_RDONLY, 0); rerr != nil {
			return nil, err
		}
	}
	if err := lock(f.OS()); err != nil {
		if errors.Is(err, ErrLocked) {
			return f, err
		}
		f.Close()
		return nil, err
	}
	return f, nil
}

type osFile struct{ *os.File }

func (f osFile) OS() *os.File { return f.File }

func (f osFile) Stat() (Info, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return Info{}, err
	}
	return infoOfOpen(f.File, fi), nil
}

// stampSeed makes stamps of one process comparable with each other; they are never written down.
var stampSeed = maphash.MakeSeed()

func stamp(parts ...uint64) uint64 {
	var b [8 * 6]byte
	for i, p := range parts {
		binary.LittleEndian.PutUint64(b[8*i:], p)
	}
	return maphash.Bytes(stampSeed, b[:])
}
