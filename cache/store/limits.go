package store

// The total is kept below MaxSize by 1/128 of it: for what the disk takes beside what was reserved (a file's extents, a
// folder that grows, the catalogue between two counts). At least 64 KiB, at most 16 MiB; of a tiny store an eighth.
const (
	slackShare = 128
	minSlack   = 64 << 10
	maxSlack   = 16 << 20
	tinyShare  = 8
)

// Above highMark of a limit the evictor begins, and ends at lowMark.
const (
	highMark = 95 // %
	lowMark  = 90 // %
)

// smallShare: all classes but bulk data have together at most a quarter of MaxSize.
const smallShare = 4

// ceiling is what the total may reach: a little less than maxSize, so that du never shows more.
func ceiling(maxSize int64) int64 {
	slack := min(max(maxSize/slackShare, minSlack), maxSlack)
	return maxSize - min(slack, maxSize/tinyShare)
}

func percent(n int64, p int64) int64 { return n/100*p + n%100*p/100 }

// SetLimits changes the limits while the store runs: maxSize and minFree as in Options, caps by class name. A maxSize of
// 0 or less stays as it is, and so do the caps of classes that are not named. Shrinking evicts behind.
func (s *Store) SetLimits(maxSize, minFree int64, caps map[string]int64) {
	s.mu.Lock()
	if maxSize > 0 {
		s.maxSize = maxSize
	}
	s.minFree = minFree
	for _, c := range s.classes {
		if limit, ok := caps[c.name]; ok {
			c.cap = limit
		}
	}
	s.applyLimits()
	for _, d := range s.disks {
		d.apply(minFree)
	}
	s.mu.Unlock()
	s.wakeEvictor()
}

// applyLimits works out the limits in force. Called with mu held, or before others know the store.
func (s *Store) applyLimits() {
	top := ceiling(s.maxSize)
	var small int64
	for _, c := range s.classes {
		c.limit = top
		if c.cap > 0 {
			c.limit = min(c.cap, top)
		}
		if c.off {
			c.limit = 0
		}
		if !c.data {
			small += c.limit
		}
	}
	share := s.maxSize / smallShare
	if small <= share {
		return
	}
	for _, c := range s.classes {
		if !c.data {
			c.limit = int64(float64(c.limit) / float64(small) * float64(share))
		}
	}
}
