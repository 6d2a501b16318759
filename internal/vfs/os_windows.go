package vfs

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// cluster is what files are rounded up to: the default of NTFS.
const cluster = 4 << 10

// lockOffset is far past the end, so that the lock, which is mandatory here, does not keep others from reading the pid.
const lockOffset = 1 << 30

// openOS opens as os.OpenFile does, but so that the file can be renamed and removed meanwhile, and a link is not followed:
// what is opened in its place is no regular file.
func openOS(name string, flag int, _ os.FileMode) (*os.File, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	access, how := uint32(windows.GENERIC_READ), uint32(windows.OPEN_EXISTING)
	if flag&os.O_RDWR != 0 {
		access |= windows.GENERIC_WRITE
	}
	switch {
	case flag&os.O_EXCL != 0:
		how = windows.CREATE_NEW
	case flag&os.O_CREATE != 0:
		how = windows.OPEN_ALWAYS
	}
	h, err := windows.CreateFile(p, access, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, how, windows.FILE_ATTRIBUTE_NORMAL|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

func openDir(name string) (*os.File, error) { return os.Open(name) }

// ReadOnly does nothing: a file with that attribute could not be replaced.
func (f osFile) ReadOnly() error { return nil }

func infoOf(name string, fi os.FileInfo) Info {
	if !fi.Mode().IsRegular() {
		return basicInfo(fi)
	}
	f, err := openOS(name, os.O_RDONLY, 0)
	if err != nil {
		return basicInfo(fi)
	}
	defer f.Close()
	return infoOfOpen(f, fi)
}

func basicInfo(fi os.FileInfo) Info {
	return Info{
		Size: fi.Size(), ModTime: fi.ModTime(), Regular: fi.Mode().IsRegular(), Dir: fi.IsDir(), Links: 1,
		Allocated: (fi.Size() + cluster - 1) / cluster * cluster,
		Stamp:     stamp(uint64(fi.Size()), uint64(fi.ModTime().UnixNano())),
	}
}

func infoOfOpen(f *os.File, fi os.FileInfo) Info {
	in := basicInfo(fi)
	h := windows.Handle(f.Fd())
	var by windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &by); err != nil {
		return in
	}
	in.Device = uint64(by.VolumeSerialNumber)
	in.Links = uint64(by.NumberOfLinks)
	// struct FILE_STANDARD_INFO
	var std struct {
		AllocationSize, EndOfFile int64
		NumberOfLinks             uint32
		DeletePending, Directory  bool
	}
	if err := windows.GetFileInformationByHandleEx(h, windows.FileStandardInfo, (*byte)(unsafe.Pointer(&std)),
		uint32(unsafe.Sizeof(std))); err == nil {
		in.Allocated = std.AllocationSize
	}
	in.Stamp = stamp(in.Device, uint64(by.FileIndexHigh)<<32|uint64(by.FileIndexLow), uint64(in.Size),
		uint64(in.ModTime.UnixNano()), uint64(by.CreationTime.Nanoseconds()))
	return in
}

func lock(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{Offset: lockOffset})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}

// SyncDir has nothing to do: names are durable with their files here.
func (osFS) SyncDir(string) error { return nil }

func (osFS) Disk(name string) (Disk, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return Disk{}, err
	}
	var free, size uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, &size, nil); err != nil {
		return Disk{}, &os.PathError{Op: "GetDiskFreeSpaceEx", Path: name, Err: err}
	}
	return Disk{Size: int64(size), Free: int64(free)}, nil
}
