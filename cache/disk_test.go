package cache

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/blobd/blobd/internal/vfs"
)

var errDisk = fmt.Errorf("the disk refuses: %w", syscall.ENOSPC)

// badDisk is a file system whose N-th writing call fails, or all from the N-th on.
type badDisk struct {
	vfs.FS
	calls atomic.Int64

	mu      sync.Mutex
	bad     bool
	at      int64
	lasting bool
}

// failAt lets the n-th call from now on fail (0: the next), and those after it where that is to last; < 0: none.
func (d *badDisk) failAt(n int64, lasting bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bad, d.at, d.lasting = n >= 0, d.calls.Load()+n, lasting
}

func (d *badDisk) call() error {
	n := d.calls.Add(1) - 1
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bad && (n == d.at || d.lasting && n > d.at) {
		return errDisk
	}
	return nil
}

func (d *badDisk) Create(name string) (vfs.File, error) { return d.open(name, d.FS.Create) }
func (d *badDisk) OpenRW(name string) (vfs.File, error) { return d.open(name, d.FS.OpenRW) }

func (d *badDisk) open(name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return badFile{f, d}, nil
}

func (d *badDisk) Rename(from, to string) error {
	if err := d.call(); err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

func (d *badDisk) MkdirAll(name string) error {
	if in, err := d.FS.Lstat(name); err == nil && in.Dir {
		return nil // as on a full disk
	}
	if err := d.call(); err != nil {
		return err
	}
	return d.FS.MkdirAll(name)
}

func (d *badDisk) SyncDir(name string) error {
	if err := d.call(); err != nil {
		return err
	}
	return d.FS.SyncDir(name)
}

// badFile writes half of what it is given when it fails.
type badFile struct {
	vfs.File
	disk *badDisk
}

func (f badFile) Write(p []byte) (int, error) {
	if err := f.disk.call(); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, err
	}
	return f.File.Write(p)
}

func (f badFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.disk.call(); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, err
	}
	return f.File.WriteAt(p, off)
}

func (f badFile) Sync() error {
	if err := f.disk.call(); err != nil {
		return err
	}
	return f.File.Sync()
}
