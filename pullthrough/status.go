package pullthrough

import "github.com/blobd/blobd/cache"

// Status is how the caches are. Sizes are bytes on disk, but for those of the memory tier.
type Status struct {
	Bytes, Limit      int64
	DiskFree, MinFree int64
	Caches            []CacheStatus
	Artifacts         int64
	Flights           int64
	Scanning          bool     // the scan at start is not over: numbers may be too small
	Problems          []string // what is wrong now; empty when all is well
}

// CacheStatus is how one cache is.
type CacheStatus struct {
	Name, Path  string
	Enabled     bool
	Bytes       int64
	Limit       int64
	Entries     int64
	PinnedBytes int64
	LeasedBytes int64 // open, or leased
}

// Status tells how the caches are now.
func (s *Service) Status() Status {
	u := s.caches.Store.Usage()
	st := Status{
		Bytes: u.Bytes, Limit: u.Limit, DiskFree: u.DiskFree, MinFree: u.MinFree, Scanning: u.Scanning,
		Artifacts: int64(s.caches.Catalogue.Len()), Flights: int64(s.flying.count()),
	}
	if err := s.caches.Problem(); err != nil {
		st.Problems = append(st.Problems, err.Error())
	}
	for _, c := range u.Classes {
		st.Caches = append(st.Caches, CacheStatus{
			Name: cache.Name(c.Name), Path: c.Dir, Enabled: !c.Off, Bytes: c.Bytes, Limit: c.Limit, Entries: c.Entries,
			PinnedBytes: c.PinnedBytes, LeasedBytes: c.InUseBytes,
		})
	}
	bytes, limit, entries := s.caches.Memory.Stats()
	st.Caches = append(st.Caches, CacheStatus{Name: cache.NameMemory, Enabled: limit > 0, Bytes: bytes, Limit: limit, Entries: entries})
	return st
}
