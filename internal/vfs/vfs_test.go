package vfs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/blobd/blobd/internal/vfs"
)

func write(t *testing.T, name, data string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreMadeOpenedAndRenamed(t *testing.T) {
	sys, dir := vfs.OS(), t.TempDir()
	name, final := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	f, err := sys.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := sys.Create(name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made again: %v", err)
	}
	if _, err := f.WriteAt(make([]byte, 10_000), 0); err != nil {
		t.Fatal(err)
	}
	write(t, final, "old")
	for _, step := range []func() error{f.Sync, f.ReadOnly, func() error { return sys.Rename(name, final) },
		func() error { return sys.SyncDir(dir) }} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	open, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	in, err := sys.Lstat(final)
	if err != nil || in != open {
		t.Errorf("by name %+v (%v), open %+v", in, err, open)
	}
	if !in.Regular || in.Dir || in.Size != 10_000 || in.Allocated < 10_000 || in.Links != 1 || f.OS() == nil {
		t.Errorf("%+v", in)
	}
	var names []string
	if err := sys.ReadDir(dir, func(n string) error { names = append(names, n); return nil }); err != nil ||
		!slices.Equal(names, []string{"b"}) {
		t.Errorf("%v, %v", names, err)
	}
	stop := errors.New("stop")
	if err := sys.ReadDir(dir, func(string) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	if err := sys.Remove(final); err != nil {
		t.Fatal(err)
	}
	if in, err := f.Stat(); err != nil || runtime.GOOS != "windows" && in.Links != 0 {
		t.Errorf("removed: %+v, %v", in, err)
	}
}

func TestStampTellsThatAFileChanged(t *testing.T) {
	sys, name := vfs.OS(), filepath.Join(t.TempDir(), "a")
	stamp := func() uint64 {
		in, err := sys.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		return in.Stamp
	}
	write(t, name, "one")
	first := stamp()
	if stamp() != first {
		t.Error("it changes by itself")
	}
	write(t, name, "longer")
	second := stamp()
	write(t, name+"2", "longer")
	if err := os.Rename(name+"2", name); err != nil {
		t.Fatal(err)
	}
	if third := stamp(); first == second || second == third {
		t.Errorf("%x, %x, %x", first, second, third)
	}
}

func TestOnlyFilesAreOpened(t *testing.T) {
	sys, dir := vfs.OS(), t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write(t, file, "x")
	if err := os.Symlink(file, link); err != nil {
		t.Skip(err)
	}
	for _, open := range []func(string) (vfs.File, error){sys.Open, sys.OpenRW} {
		if _, err := open(link); !errors.Is(err, vfs.ErrNotFile) {
			t.Errorf("a link: %v", err)
		}
		if _, err := open(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	for _, open := range []func(string) (vfs.File, error){sys.Open, sys.OpenRW, sys.Lock} {
		if _, err := open(dir); !errors.Is(err, vfs.ErrNotFile) {
			t.Errorf("a folder: %v", err)
		}
	}
	if in, err := sys.Lstat(link); err != nil || in.Regular || in.Dir {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestLockExcludes(t *testing.T) {
	sys, name := vfs.OS(), filepath.Join(t.TempDir(), "LOCK")
	first, err := sys.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.WriteAt([]byte("me"), 0); err != nil {
		t.Fatal(err)
	}
	second, err := sys.Lock(name)
	if !errors.Is(err, vfs.ErrLocked) || second == nil {
		t.Fatalf("%v, %v", second, err)
	}
	b := make([]byte, 2)
	if _, err := second.ReadAt(b, 0); err != nil || string(b) != "me" {
		t.Errorf("the holder's file says %q, %v", b, err)
	}
	second.Close()
	first.Close()
	third, err := sys.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	third.Close()
}

func TestDiskHasRoom(t *testing.T) {
	d, err := vfs.OS().Disk(t.TempDir())
	if err != nil || d.Size <= 0 || d.Free < 0 || d.Free > d.Size {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := vfs.OS().Disk(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("an absent folder is on a disk")
	}
}
