//go:build unix

package vfs

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// safeFlags: a link is refused, and a pipe that somebody put in a file's place does not make open wait.
const safeFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

func openOS(name string, flag int, perm os.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag|safeFlags, perm)
}

// openDir opens a folder, or a link to one; anything else in its place, such as a pipe, fails at once.
func openDir(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
}

func (f osFile) ReadOnly() error { return f.Chmod(0o440) }

// statBlock is the unit of st_blocks, whatever the block size of the file system.
const statBlock = 512

func infoOf(_ string, fi os.FileInfo) Info { return infoOfOpen(nil, fi) }

func infoOfOpen(_ *os.File, fi os.FileInfo) Info {
	in := Info{Size: fi.Size(), ModTime: fi.ModTime(), Regular: fi.Mode().IsRegular(), Dir: fi.IsDir(), Links: 1}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		in.Allocated = fi.Size()
		return in
	}
	in.Allocated = int64(st.Blocks) * statBlock
	in.Device = uint64(st.Dev)
	in.Links = uint64(st.Nlink)
	in.Stamp = stamp(uint64(st.Dev), uint64(st.Ino), uint64(st.Size), uint64(fi.ModTime().UnixNano()), changeTime(st))
	return in
}

func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func (osFS) SyncDir(name string) error {
	d, err := openDir(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

func (osFS) Disk(name string) (Disk, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return Disk{}, &os.PathError{Op: "statfs", Path: name, Err: err}
	}
	unit := int64(st.Bsize)
	return Disk{Size: int64(st.Blocks) * unit, Free: int64(st.Bavail) * unit}, nil
}
