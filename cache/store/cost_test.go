package store

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/vfs"
)

// counting counts the calls that a put, and the eviction for it, make.
type counting struct {
	unsynced
	calls atomic.Int64
}

func (f *counting) Create(name string) (vfs.File, error) {
	f.calls.Add(1)
	file, err := f.unsynced.Create(name)
	return countingFile{file, f}, err
}

func (f *counting) Rename(from, to string) error {
	f.calls.Add(1)
	return f.FS.Rename(from, to)
}

func (f *counting) Remove(name string) error {
	f.calls.Add(1)
	return f.FS.Remove(name)
}

func (f *counting) MkdirAll(name string) error {
	f.calls.Add(1)
	return f.FS.MkdirAll(name)
}

func (f *counting) Lstat(name string) (vfs.Info, error) {
	f.calls.Add(1)
	return f.FS.Lstat(name)
}

func (f *counting) ReadDir(name string, visit func(string) error) error {
	f.calls.Add(1)
	return f.FS.ReadDir(name, func(name string) error {
		f.calls.Add(1)
		return visit(name)
	})
}

func (f *counting) Disk(name string) (vfs.Disk, error) {
	f.calls.Add(1)
	return f.FS.Disk(name)
}

type countingFile struct {
	vfs.File
	fs *counting
}

func (f countingFile) Stat() (vfs.Info, error) {
	f.fs.calls.Add(1)
	return f.File.Stat()
}

func (f countingFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.calls.Add(1)
	return f.File.WriteAt(p, off)
}

// A put makes the same calls beside 1,000 entries and beside 100,000, and into a full store as many removals as it needs
// room.
func TestPutCostsTheSame(t *testing.T) {
	t.Parallel()
	disk := &counting{unsynced: unsynced{vfs.OS()}}
	stopped := time.Now()
	s, err := Open(Options{Dir: t.TempDir(), FS: disk, MaxSize: 1 << 30, Now: func() time.Time { return stopped },
		Classes: []ClassOptions{{Name: "a", Data: true}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.StartEviction()
	<-s.Scanned()
	c, next := s.Class("a"), 0
	// known makes entries that have no files: to know them, and to remove them, costs what it costs with files.
	known := func(upTo int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for ; next < upTo; next++ {
			r := nthRef(c.id, next)
			at := s.x.insert(r)
			c.entries++
			c.shards[r.key.shard()].files++
			s.resize(at, page)
			s.touch(at)
		}
	}
	puts := func(n int) (calls float64) {
		before := disk.calls.Load()
		for range n {
			if err := c.Put(t.Context(), nthRef(c.id, next).key, []byte("x")); err != nil {
				t.Fatal(err)
			}
			next++
		}
		return float64(disk.calls.Load()-before) / float64(n)
	}
	const few, many = 1_000, 100_000
	known(few)
	puts(1_000) // most shard folders are there now
	atFew := puts(200)
	known(many)
	atMany := puts(200)
	s.SetLimits(s.Usage().Bytes, 0, nil)
	puts(1) // waits for the evictor, which goes to the low mark
	known(next + c.room())
	full := puts(2_000)
	if u := s.Usage(); u.Bytes > u.Limit || u.Entries > many {
		t.Errorf("it is not full: %+v", u)
	}
	t.Logf("calls for a put: %.1f beside %d entries, %.1f beside %d, %.1f when full", atFew, few, atMany, many, full)
	if atFew > 12 || atMany > atFew+0.5 || full > 2*atFew+4 {
		t.Error("too many, or more with more entries")
	}
}

// room is how many entries fit before the evictor begins.
func (c *Class) room() int {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return int(max(0, percent(ceiling(c.s.maxSize), highMark)-c.s.level()) / page)
}
