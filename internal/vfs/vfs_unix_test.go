//go:build unix

package vfs_test

import (
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/blobd/blobd/internal/vfs"
)

// What stands in a file's place makes nobody wait, whether it is opened as a file or as a folder.
func TestNothingBlocks(t *testing.T) {
	sys, dir := vfs.OS(), t.TempDir()
	pipe, socket := filepath.Join(dir, "pipe"), filepath.Join(dir, "socket")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, name := range []string{pipe, socket} {
		for op, open := range map[string]func(string) (vfs.File, error){
			"Open": sys.Open, "OpenRW": sys.OpenRW, "Lock": sys.Lock,
		} {
			if f, err := open(name); !errors.Is(err, vfs.ErrNotFile) {
				t.Errorf("%s %s: %v, %v", op, filepath.Base(name), f, err)
			}
		}
		if _, err := sys.Create(name); !errors.Is(err, syscall.EEXIST) {
			t.Errorf("Create %s: %v", filepath.Base(name), err)
		}
		if err := sys.ReadDir(name, func(string) error { return nil }); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("ReadDir %s: %v", filepath.Base(name), err)
		}
		if err := sys.SyncDir(name); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("SyncDir %s: %v", filepath.Base(name), err)
		}
	}
}
