package store

import (
	"path/filepath"
	"time"

	"github.com/blobd/blobd/internal/vfs"
)

const (
	// minFreeShare and minFreeMost: a negative MinFree keeps 5 % of the disk free, at most 2 GiB.
	minFreeShare = 5 // %
	minFreeMost  = 2 << 30
	// diskAge is how long an answer about free space is good: others write to the disk as well.
	diskAge = time.Second
)

// disk is one disk that classes are on. Its fields are guarded by Store.mu, but dir and id.
type disk struct {
	dir    string // a folder on it, to ask about
	id     uint64
	size   int64
	free   int64 // as far as known: less what was promised since it was asked
	keep   int64 // bytes to leave free
	asked  time.Time
	failed bool // it could not be asked: it has room as far as we know
}

func (s *Store) diskOf(dir string) *disk {
	at := filepath.Join(dir, tempName) // what is in it is on its disk, also when dir is a link
	in, err := s.fs.Lstat(at)
	if err != nil { // the folder could not be made: ask about the one that is there
		at = s.opts.Dir
		in, _ = s.fs.Lstat(at)
	}
	for _, d := range s.disks {
		if d.id == in.Device {
			return d
		}
	}
	d := &disk{dir: at, id: in.Device}
	d.ask(s.fs, s.now(), 0)
	d.apply(s.minFree)
	s.disks = append(s.disks, d)
	return d
}

// ask finds out how much is free; promised is what of it is not ours to give any more.
func (d *disk) ask(fs vfs.FS, now time.Time, promised int64) {
	room, err := fs.Disk(d.dir)
	d.asked, d.failed = now, err != nil
	if err == nil {
		d.size, d.free = room.Size, room.Free-promised
	}
}

func (d *disk) apply(minFree int64) {
	d.keep = minFree
	if minFree < 0 {
		d.keep = min(percent(d.size, minFreeShare), minFreeMost)
	}
}

// missing returns how many bytes have to go from the disk before n more fit. Called with mu held.
func (s *Store) missing(d *disk, n int64) int64 {
	now := s.now()
	if d.free-n < d.keep || now.Sub(d.asked) > diskAge || now.Before(d.asked) {
		var promised int64
		for _, c := range s.classes {
			if c.disk == d {
				promised += c.reserved
			}
		}
		d.ask(s.fs, now, promised)
	}
	if d.failed {
		return 0
	}
	return max(0, d.keep+n-d.free)
}
