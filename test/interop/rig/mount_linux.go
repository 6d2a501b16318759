package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// imageSize is the size of the disks that Format makes: no XFS is smaller than 300 MiB. They are sparse files.
const imageSize = 512 << 20

// Mount is a file system that was mounted for a test. It needs root.
type Mount struct {
	Dir     string
	source  string // what mount is told to mount: an image, or nothing
	kind    string
	options string
	mounted bool
}

// Format makes a file system, "ext4" or "xfs", in a new file called image, to be mounted at dir, which it makes.
func Format(ctx context.Context, kind, image, dir string, flags ...string) (*Mount, error) {
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, imageSize)); err != nil {
		return nil, err
	}
	if _, err := output(exec.CommandContext(ctx, "mkfs."+kind, append([]string{"-q", image}, flags...)...)); err != nil {
		return nil, err
	}
	return &Mount{Dir: dir, source: image, kind: kind, options: "loop"}, nil
}

// Tmpfs is a file system in memory, such as one with the options "size=512k", to be mounted at dir, which it makes.
func Tmpfs(dir, options string) (*Mount, error) {
	return &Mount{Dir: dir, source: "blobd-test", kind: "tmpfs", options: options + ",mode=0700"}, os.MkdirAll(dir, 0o700)
}

// Mount mounts it: after a cut, what the file system's own journal holds is replayed.
func (m *Mount) Mount(ctx context.Context) error {
	_, err := output(exec.CommandContext(ctx, "mount", "-t", m.kind, "-o", m.options, m.source, m.Dir))
	m.mounted = err == nil
	return err
}

// Remount changes options of what is mounted, such as "ro".
func (m *Mount) Remount(ctx context.Context, options string) error {
	_, err := output(exec.CommandContext(ctx, "mount", "-o", "remount,"+options, m.Dir))
	return err
}

// Cut stops the file system as a power cut does: what was not on the disk never gets there, and every call fails from
// now on. With flush, what the file system's journal holds in memory gets there still, but no data.
func (m *Mount) Cut(ctx context.Context, flush bool) error {
	how := "shutdown"
	if flush {
		how = "shutdown -f"
	}
	_, err := output(exec.CommandContext(ctx, "xfs_io", "-x", "-c", how, m.Dir))
	return err
}

// Unmount takes it away, and the loop device with it. Nothing may be open there. A second call does nothing.
func (m *Mount) Unmount() error {
	if !m.mounted {
		return nil
	}
	m.mounted = false
	if err := syscall.Unmount(m.Dir, 0); err != nil {
		return errors.Join(fmt.Errorf("rig: unmounting %s: %w", m.Dir, err), syscall.Unmount(m.Dir, syscall.MNT_DETACH))
	}
	return nil
}
