package pullthrough

import (
	"cmp"
	"context"
	"io"
	"path"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
)

const (
	// runBytes is how much of a blob one GET brings in a prefetch: long enough that the request costs nothing beside its
	// bytes, short enough that the cache need not hold a whole archive twice.
	runBytes = 32 << 20
	// runsAtOnce overlaps the network with decoding and hashing.
	runsAtOnce = 2
	// blobsAtOnce is runsAtOnce where files are blobs of their own, most of them small: it is round trips that take time.
	blobsAtOnce = 8
	// batchFiles is how many files are looked at together: 20 MiB of entries, and all that one bundle may hold.
	batchFiles = 100_000
)

// Prefetch reads the files that match one of the patterns, or all files when there are none, into the cache. A pattern
// is one of path.Match, for the whole path or for one of its parent folders. Neighbours in the archive come in one GET.
// progress may be nil; calls of it don't overlap.
func (s *Service) Prefetch(ctx context.Context, a *Archive, patterns []string, o Options, progress func(Progress)) error {
	found, err := matching(a.Tree, patterns)
	if err != nil {
		return err
	}
	t := tally{report: progress}
	for _, at := range found {
		t.FilesTotal++
		t.BytesTotal += a.Tree.At(int(at)).Size
	}
	t.add(func(*Progress) {})
	for batch := range slices.Chunk(found, batchFiles) {
		if err := s.fetchBatch(ctx, a, batch, o, &t); err != nil {
			return err
		}
	}
	t.add(func(p *Progress) { p.FilesUnkept = s.unkept(a.Tree, found) })
	return nil
}

// fetchBatch is Prefetch for the entries at some places of the tree.
func (s *Service) fetchBatch(ctx context.Context, a *Archive, places []int32, o Options, t *tally) error {
	entries := make([]*archive.Entry, len(places))
	for i, at := range places {
		entries[i] = a.Tree.At(int(at))
	}
	work, working := errgroup.WithContext(ctx)
	work.SetLimit(runsAtOnce)
	if slices.ContainsFunc(entries, whole) {
		work.SetLimit(blobsAtOnce)
	}
	for _, run := range runs(entries) {
		if working.Err() != nil {
			break
		}
		work.Go(func() error { return s.fetchRun(working, a, run, o, t) })
	}
	return cmp.Or(work.Wait(), ctx.Err())
}

// unkept counts the files that the cache does not hold: it had no room for them, or gave their room to others since. Those
// that stand in the index need none.
func (s *Service) unkept(tree *archive.Tree, places []int32) (n int64) {
	for _, at := range places {
		e := tree.At(int(at))
		if _, inline := e.Locator.(archive.Inline); !inline && e.Size > 0 && !s.keeps(e) {
			n++
		}
	}
	return n
}

// keeps reports whether the cache holds all of a file.
func (s *Service) keeps(e *archive.Entry) bool {
	if e.HasSum {
		return s.caches.Content.Contains(sumDigest(e))
	}
	b := s.blobs.acquire(*rangeOf(e).Blob) // it is a blob of another digest, and stays that
	defer b.release()
	return b.partial != nil && b.partial.Complete()
}

// tally counts what several goroutines have done.
type tally struct {
	mu sync.Mutex // guards Progress and orders the reports
	Progress
	report func(Progress)
}

func (t *tally) add(change func(*Progress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.Progress)
	if t.report != nil {
		t.report(t.Progress)
	}
}

// matching returns the places of the entries that match, in the order of the tree.
func matching(tree *archive.Tree, patterns []string) ([]int32, error) {
	used := make([]bool, len(patterns))
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fault.Wrap(fault.InvalidArgument, err, "pattern %q", p).Try("use *, ? and [a-z], as in css/*.css")
		}
	}
	var found []int32
	for at := range tree.Len() {
		e, hit := tree.At(at), len(patterns) == 0
		for i, p := range patterns {
			if matches(p, e.Path) {
				used[i], hit = true, true
			}
		}
		if hit {
			found = append(found, int32(at))
		}
	}
	if i := slices.Index(used, false); i >= 0 {
		return nil, fault.New(fault.FileUnknown, "pattern %q matches no file", patterns[i]).Try("blobd ls -R lists them")
	}
	return found, nil
}

func matches(pattern, name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return pattern == "."
}

// whole reports whether an entry is a blob of its own.
func whole(e *archive.Entry) bool {
	r, ok := e.Locator.(archive.Range)
	return ok && r.Whole
}

// runs cuts the entries into groups whose ranges follow one another in their blob. The members of a bundle are one group.
func runs(entries []*archive.Entry) [][]*archive.Entry {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b *archive.Entry) int {
		x, y := placeOf(a), placeOf(b)
		return cmp.Or(cmp.Compare(x.blob, y.blob), cmp.Compare(x.offset, y.offset))
	})
	var all [][]*archive.Entry
	var start, last place
	for _, e := range entries {
		p := placeOf(e)
		near := p.blob == last.blob && (p.member || p.offset <= last.end+blockSize && p.end-start.offset <= runBytes)
		if len(all) > 0 && near {
			all[len(all)-1] = append(all[len(all)-1], e)
			last.end = max(last.end, p.end)
		} else {
			all = append(all, []*archive.Entry{e})
			start, last = p, p
		}
	}
	return all
}

// place is where an entry stands in the registry.
type place struct {
	blob        digest.Digest // none for what is inline
	offset, end int64
	member      bool
}

func placeOf(e *archive.Entry) place {
	switch l := e.Locator.(type) {
	case archive.Range:
		return place{blob: l.Blob.Digest, offset: l.Offset, end: l.Offset + l.Length}
	case archive.Member:
		return place{blob: l.Blob.Digest, offset: l.Offset, end: l.Offset + e.Size, member: true}
	}
	return place{}
}

// fetchRun reads one group of neighbours. A reader over the range of those that are missing claims it before the first of
// them is read; where cached ones leave a hole, there is one for each side of it.
func (s *Service) fetchRun(ctx context.Context, a *Archive, run []*archive.Entry, o Options, t *tally) error {
	if _, ok := run[0].Locator.(archive.Member); ok && o.NoCache && !o.renewed {
		if err := s.unpack(ctx, a, run[0], true); err != nil {
			return err
		}
		o.NoCache = false // which brought all of them anew
	}
	missing := run
	if !o.NoCache {
		missing = slices.DeleteFunc(slices.Clone(run), func(e *archive.Entry) bool {
			return e.HasSum && s.caches.Content.Contains(sumDigest(e))
		})
	}
	var carriers []*blockReader
	for _, side := range runs(missing) {
		if carrier := s.carry(ctx, a, side, o.NoCache); carrier != nil {
			defer carrier.close()
			carriers = append(carriers, carrier)
			o.renewed = true
		}
	}
	for _, e := range run {
		// Where blocks can't be kept they wait for the carriers, which stay with the file that is read.
		r, _ := e.Locator.(archive.Range)
		for _, c := range carriers {
			c.moveTo(r.Offset)
		}
		begun := func() {
			for _, c := range carriers {
				c.moveTo(r.Offset + r.Length)
			}
		}
		if err := s.fetchFile(ctx, a, e, o, begun, t); err != nil {
			return err
		}
	}
	return nil
}

// carry claims the blocks that hold the entries; nil where there is nothing to claim.
func (s *Service) carry(ctx context.Context, a *Archive, entries []*archive.Entry, fresh bool) *blockReader {
	var first archive.Range
	var end int64
	for _, e := range entries {
		r, ok := e.Locator.(archive.Range)
		if !ok || r.Length == 0 || atOnce(e, r) { // which no blocks are kept of
			continue
		}
		if first.Blob == nil {
			first = r
		}
		end = max(end, r.Offset+r.Length)
	}
	if first.Blob == nil {
		return nil
	}
	b := s.blobs.acquire(*first.Blob)
	if fresh {
		b.forget(first.Offset, end-first.Offset)
	}
	carrier := s.newBlockReader(ctx, b, a.scope, first.Offset, end-first.Offset)
	carrier.claimAll()
	return carrier
}

// fetchFile reads one file; it calls begun when the first bytes have come.
func (s *Service) fetchFile(ctx context.Context, a *Archive, e *archive.Entry, o Options, begun func(), t *tally) error {
	st, err := s.Open(ctx, a, e.Path, 0, -1, o)
	if err != nil {
		return err
	}
	defer st.Close()
	buf := s.blockBufs.Get().(*[]byte)
	defer s.blockBufs.Put(buf)
	for unreported := int64(0); ; {
		n, err := st.Read(*buf)
		if n > 0 && begun != nil {
			begun()
			begun = nil
		}
		if unreported += int64(n); unreported >= 1<<20 || err != nil {
			t.add(func(p *Progress) { p.BytesDone += unreported })
			unreported = 0
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	t.add(func(p *Progress) { p.FilesDone++ })
	return nil
}
