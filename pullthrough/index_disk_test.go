package pullthrough_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/blobd/blobd/cache/store/storetest"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/pullthrough"
)

// An index that the disk does not give back on its way into the cache comes once more, and no caller sees it.
func TestIndexSpoiltOnDisk(t *testing.T) {
	disk := storetest.WithoutSync()
	b := start(t, func(b *bench) { b.opts.FS = disk })
	want := random(1, 1000)
	b.up.push("v1", []archivetest.File{{Path: "f", Data: want}}, archivetest.Options{})
	b.up.counts()
	disk.FailIf(func(op, name string) bool {
		return op == "File.ReadAt" && strings.Contains(name, "indexes")
	}, 1, syscall.EIO, true)
	a := b.pull(repo+":v1", pullthrough.Options{})
	if disk.Fired() == 0 {
		t.Fatal("the disk was not asked for the index")
	}
	if got := b.up.counts()["blob"]; got != 2 {
		t.Errorf("the index was fetched %d times, want 2", got)
	}
	b.mustRead(a, "f", want, pullthrough.Options{})
}
