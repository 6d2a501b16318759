//go:build unix

package cache

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store/storetest"
)

// TestCatalogueEveryCallFails fails each call that has to do with the catalogue's files in turn, while artifacts are
// pinned and granted: what was said to be done outlives a restart, no file stays open, and when the disk works again so
// does the catalogue.
func TestCatalogueEveryCallFails(t *testing.T) {
	for _, err := range []error{
		syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE, io.ErrShortWrite, nil,
	} {
		for _, sticky := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v from then on %v", err, sticky), func(t *testing.T) {
				t.Parallel()
				n := 1
				for catalogueFaults(t, n, err, sticky) && !t.Failed() {
					n++
				}
				if err != nil && !errors.Is(err, io.ErrShortWrite) && n < 20 {
					t.Errorf("only %d calls", n-1)
				}
			})
		}
	}
}

// catalogueFaults fails the n-th call, and reports whether there was one.
func catalogueFaults(t *testing.T, n int, fault error, sticky bool) bool {
	dir, disk, clk := t.TempDir(), storetest.WithoutSync(), newClock()
	// The journal is damaged, so that the catalogue writes it anew at its start.
	if err := os.WriteFile(filepath.Join(dir, "catalogue"), []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	writes := fault == nil || errors.Is(fault, io.ErrShortWrite)
	disk.FailIf(func(op, name string) bool {
		return (name == dir || strings.HasPrefix(filepath.Base(name), "catalogue")) && (!writes || storetest.Writes(op, name))
	}, n, fault, sticky)
	c := readCatalogue(disk, dir, clk.Now, func(error) {}, defaultBounds())
	c.start()
	pinned := map[int]bool{}
	for i := range 3 {
		pinned[i] = c.pin(testArtifact(i), nil) == nil
	}
	a := testArtifact(0)
	if err := c.Pin(a.Registry, a.Repository, a.Digest, false); err == nil {
		pinned[0] = false
	} else {
		delete(pinned, 0) // it may be either
	}
	granted := c.Grant(testScope, testTime.Add(time.Hour)) == nil
	fired := disk.Fired() > 0
	if fired {
		disk.Fail(0, nil, false)
		clk.Add(retryDisk)
		if err := c.pin(testArtifact(3), nil); err != nil {
			t.Errorf("call %d: the disk works, and the catalogue says %v", n, err)
		}
		pinned[3] = true
	}
	_ = c.close()
	fired = fired || disk.Fired() > 0
	if open := disk.OpenFiles(); open != 0 {
		t.Errorf("call %d: %d files are still open", n, open)
	}
	disk.Fail(0, nil, false)
	again := openCatalogue(t, disk, dir, clk.Now, defaultBounds())
	for i, want := range pinned {
		a := testArtifact(i)
		got, _ := again.Get(a.Registry, a.Repository, a.Digest)
		if want && !got.Pinned || !want && i == 0 && got.Pinned {
			t.Errorf("call %d: after a restart artifact %d is pinned: %v", n, i, got.Pinned)
		}
	}
	if granted && !again.Granted(testScope, testTime) {
		t.Errorf("call %d: after a restart the grant is lost", n)
	}
	if left := storetest.Files(t, dir); slices.ContainsFunc(left, func(f string) bool { return strings.HasSuffix(f, ".tmp") }) {
		t.Errorf("call %d: left behind: %v", n, left)
	}
	return fired
}
