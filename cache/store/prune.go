package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// PruneOptions says what Prune removes: the coldest first, until Target is met, and nothing that was read within
// UnusedFor. With neither it removes nothing.
type PruneOptions struct {
	Target    int64         // bytes that the store may still take; 0: all that UnusedFor lets go
	UnusedFor time.Duration // leave alone what was read within this time; 0: whatever it is
	DryRun    bool          // tell only
}

// Report says what was removed, and what was not and why.
type Report struct {
	FreedEntries int64
	FreedBytes   int64
	Kept         []Kept // what would have gone but for the reason
	Bytes        int64  // what the store takes now
}

// Kept counts the entries that were left alone for one reason: KeptPinned, KeptInUse or KeptError.
type Kept struct {
	Reason  string
	Entries int64
	Bytes   int64
}

func (r *Report) keep(reason string, bytes int64) {
	for i := range r.Kept {
		if r.Kept[i].Reason == reason {
			r.Kept[i].Entries++
			r.Kept[i].Bytes += bytes
			return
		}
	}
	r.Kept = append(r.Kept, Kept{Reason: reason, Entries: 1, Bytes: bytes})
}

// Prune removes what the options say, leaving alone what is pinned or in use. It waits for the scan at start. The report
// tells what was done until an error, which is ctx's or ErrClosed.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (Report, error) {
	var rep Report
	err := s.waitScanned(ctx)
	unused := func(stamp int64) bool { return true }
	if o.UnusedFor > 0 {
		limit := s.now().Add(-o.UnusedFor).UnixNano()
		unused = func(stamp int64) bool { return stamp < limit }
	}
	switch {
	case err != nil:
	case o.Target > 0:
		err = s.pruneTo(ctx, &rep, o, unused)
	case o.UnusedFor > 0:
		err = s.removeAll(ctx, &rep, ReasonTTL, o.DryRun, unused, s.classes)
	}
	rep.Bytes = s.bytes()
	return rep, err
}

// Clear removes all entries of the named classes (nil: of all), leaving alone what is pinned or in use. It waits for the
// scan at start. It panics on a name that is not in the options.
func (s *Store) Clear(ctx context.Context, classes []string) (Report, error) {
	among := s.classes
	if classes != nil {
		among = nil
		for _, name := range classes {
			among = append(among, s.Class(name))
		}
	}
	var rep Report
	err := s.removeAll(ctx, &rep, ReasonRemoved, false, func(int64) bool { return true }, among)
	rep.Bytes = s.bytes()
	return rep, err
}

// removeAll removes the entries whose stamp is in question.
func (s *Store) removeAll(ctx context.Context, rep *Report, reason string, dry bool, which func(int64) bool,
	classes []*Class) error {
	return s.walk(ctx, func(r ref, stamp int64) error {
		if which(stamp) {
			s.removeOne(rep, r, reason, dry)
		}
		return nil
	}, classes...)
}

// removeOne removes an entry and reports it.
func (s *Store) removeOne(rep *Report, r ref, reason string, dry bool) {
	bytes := s.classes[r.class].Size(r.key)
	var err error
	if dry {
		s.mu.Lock()
		why := s.held(r)
		s.mu.Unlock()
		if why != "" {
			rep.keep(why, bytes)
			return
		}
	} else {
		_, err = s.drop(r, reason, false)
	}
	switch {
	case err == nil:
		rep.FreedEntries++
		rep.FreedBytes += bytes
	case errors.Is(err, ErrPinned):
		rep.keep(KeptPinned, bytes)
	case errors.Is(err, ErrInUse):
		rep.keep(KeptInUse, bytes)
	default:
		rep.keep(KeptError, bytes)
	}
}

// pruneTo evicts the coldest of what is unused until the total is at the target: bulk data first, as the evictor does.
func (s *Store) pruneTo(ctx context.Context, rep *Report, o PruneOptions, unused func(stamp int64) bool) error {
	over := s.bytes() - o.Target
	for _, data := range []bool{true, false} {
		for _, r := range s.byRecency(data, unused) {
			if over <= 0 {
				return nil
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			before := rep.FreedBytes
			s.removeOne(rep, r, ReasonSize, o.DryRun)
			over -= rep.FreedBytes - before
		}
	}
	return nil
}

// byRecency returns the unused entries of bulk data, or of the rest, the coldest first.
func (s *Store) byRecency(data bool, unused func(stamp int64) bool) []ref {
	type item struct {
		stamp int64
		at    slot
	}
	var items []item
	s.eachLive(func(at slot, e *entry) {
		if s.classes[e.class].data == data && unused(e.stamp) {
			items = append(items, item{e.stamp, at})
		}
	})
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.stamp, b.stamp) })
	refs := make([]ref, 0, len(items))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range items {
		if e := s.x.at(it.at); e.has(flagLive) {
			refs = append(refs, e.ref())
		}
	}
	return refs
}

func (s *Store) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used + s.overhead
}
