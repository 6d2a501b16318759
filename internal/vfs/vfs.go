// Package vfs is the small seam between the cache and the file system: just the calls that crash-safe files need, so that
// a test can put one under them that counts the calls, or fails the N-th.
//
// Names are paths of the operating system. An implementation is safe for concurrent use. No call follows a symbolic link
// in the last element of a name.
package vfs

import (
	"errors"
	"io"
	"os"
	"time"
)

var (
	// ErrLocked is what Lock returns when another process holds the lock.
	ErrLocked = errors.New("locked by another process")
	// ErrNotFile is what opening anything but a regular file fails with: a folder, a link, a pipe. Reading a pipe could
	// wait for ever.
	ErrNotFile = errors.New("not a regular file")
)

// FS is a file system.
type FS interface {
	// Open opens a regular file for reading, and fails with ErrNotFile for anything else, as OpenRW and Lock do.
	Open(name string) (File, error)
	// OpenRW opens an existing file for reading and writing.
	OpenRW(name string) (File, error)
	// Create makes a file that does not exist yet, mode 0600, open for reading and writing.
	Create(name string) (File, error)
	// Lock opens (or makes) a file and takes the exclusive lock on it that lasts until Close or the end of the process.
	// With ErrLocked the file is returned too, so that the caller can read who holds it; it is the caller's to close.
	Lock(name string) (File, error)
	// Rename moves a file over what may stand at the new name.
	Rename(from, to string) error
	// Remove deletes a file or an empty folder.
	Remove(name string) error
	// MkdirAll makes a folder, mode 0700, and those above it that are missing.
	MkdirAll(name string) error
	// Lstat tells about a name.
	Lstat(name string) (Info, error)
	// ReadDir calls visit with the name of each thing in a folder, in no order, until visit returns an error.
	ReadDir(name string, visit func(name string) error) error
	// SyncDir makes the names in a folder durable.
	SyncDir(name string) error
	// Disk tells about the disk that a name is on.
	Disk(name string) (Disk, error)
}

// File is an open file. ReadAt and WriteAt may be called concurrently.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (Info, error)
	Truncate(size int64) error
	Sync() error
	// ReadOnly takes the right to write the file away from everybody.
	ReadOnly() error
	// OS is the file as the operating system knows it; nil where it doesn't.
	OS() *os.File
}

// Info is what the store needs to know about a file.
type Info struct {
	Size      int64 // bytes
	Allocated int64 // bytes that the disk gives up for it
	ModTime   time.Time
	Stamp     uint64 // a hash of device, inode, size, mtime and ctime: another value means that the file may have changed
	Device    uint64 // the disk it is on
	Links     uint64 // names it has; 0: it was removed
	Regular   bool   // a regular file
	Dir       bool
}

// Disk is the room on a disk, in bytes.
type Disk struct {
	Size int64
	Free int64 // for us, not counting what is kept back for root
}

// WriteAt writes all of p to f. A file that takes less without saying why fails with io.ErrShortWrite.
func WriteAt(f File, p []byte, off int64) (int, error) {
	n, err := f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// OS returns the operating system's file system.
func OS() FS { return osFS{} }
