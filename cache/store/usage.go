package store

// Usage is what a store holds and may hold, at one moment. All sizes are bytes of disk.
type Usage struct {
	Bytes    int64 // all that counts: entries, temporary files, removed files still open, folders, foreign files
	Reserved int64 // promised to writers, beside Bytes
	Overhead int64 // the part of Bytes that is no entry: folders, journal, snapshot, lock, foreign files
	Limit    int64 // MaxSize
	Entries  int64
	Scanning bool // the scan at start is not over: the numbers may be too small
	DiskFree int64
	MinFree  int64 // in force, of the disk that DiskFree is about: the one with the least to spare
	Problem  error // what the disk refuses; nil: nothing
	Classes  []ClassUsage
}

// ClassUsage is the part of one class.
type ClassUsage struct {
	Name        string
	Dir         string
	Bytes       int64
	Reserved    int64
	Limit       int64 // in force: caps of small stores are scaled down
	Entries     int64
	Pinned      int64 // entries that are there and pinned
	PinnedBytes int64
	InUse       int64 // entries that are there and open or leased
	InUseBytes  int64
	Off         bool
}

// Usage tells what the store holds now.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Bytes: s.used + s.overhead, Reserved: s.reserved, Overhead: s.overhead, Limit: s.maxSize,
		Entries: int64(s.x.count), Scanning: s.scanning, Problem: s.problem()}
	for i, d := range s.disks {
		s.missing(d, 0) // asks anew when the answer is old
		if i == 0 || d.free-d.keep < u.DiskFree-u.MinFree {
			u.DiskFree, u.MinFree = d.free, d.keep
		}
	}
	for _, c := range s.classes {
		u.Classes = append(u.Classes, ClassUsage{Name: c.name, Dir: c.dir, Bytes: c.used, Reserved: c.reserved, Limit: c.limit,
			Entries: c.entries, Off: c.off})
	}
	for r := range s.pins {
		if at := s.x.find(r); at != 0 {
			u.Classes[r.class].Pinned++
			u.Classes[r.class].PinnedBytes += s.x.at(at).bytes()
		}
	}
	for r := range s.open {
		u.use(s, r)
	}
	for r := range s.leases {
		if s.open[r] == nil && s.leased(r) {
			u.use(s, r)
		}
	}
	return u
}

func (u *Usage) use(s *Store, r ref) {
	if at := s.x.find(r); at != 0 {
		u.Classes[r.class].InUse++
		u.Classes[r.class].InUseBytes += s.x.at(at).bytes()
	}
}
