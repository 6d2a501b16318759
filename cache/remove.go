package cache

import (
	"context"
	"errors"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
)

// Why Remove leaves something, beside the store's reasons.
const (
	KeptShared  = "shared"  // another artifact names it
	KeptUnknown = "unknown" // another artifact, whose index is not here, may name it
)

// ContentsOf returns the digests of an artifact's files, as its index in the cache says; false where that can't be read
// now. Of an artifact that holds no files it returns an empty sequence and true. It must not go upstream.
type ContentsOf func(Artifact) (iter.Seq[digest.Digest], bool)

// Remove forgets an artifact, and frees what no other artifact in the catalogue names: its manifest, its index, its
// blobs, its files, and the records of the tags that point at it. Which files another artifact names only its index
// says; where that can't be read, the files are kept, since it may name them. The report says what was freed and what
// was kept; kept things are evicted when their time comes.
//
// A pinned artifact is left as it is, and the report says so. An artifact that comes into the cache meanwhile, and shares
// something with this one, may have to fetch that again.
func (c *Caches) Remove(ctx context.Context, a Artifact, contents ContentsOf) (store.Report, error) {
	select {
	case <-c.Store.Scanned(): // only then it is known what is here
	case <-ctx.Done():
		return store.Report{}, ctx.Err()
	}
	r := removal{caches: c, left: make(map[entry]struct{})}
	for e := range entriesOf(a) {
		r.add(e)
	}
	files, ok := contents(a)
	if ok {
		for d := range files {
			if valid(d) == nil {
				r.add(entry{FolderContent, store.KeyOf(d)})
			}
		}
	}
	if known, ok := c.Catalogue.Get(a.Registry, a.Repository, a.Digest); ok && known.Pinned {
		r.keepAll(store.KeptPinned)
		return r.result(), nil
	}
	if err := r.spare(ctx, a, contents); err != nil {
		return store.Report{}, err
	}
	refs, err := c.Refs.pointingAt(ctx, a.Registry, a.Repository, a.Digest)
	if err != nil {
		return store.Report{}, err
	}
	for _, key := range refs {
		r.add(entry{FolderRefs, key})
	}
	// From here on it is done to the end: half an artifact is worth little.
	r.free()
	c.Memory.Clear()
	err = c.Catalogue.Forget(a.Registry, a.Repository, a.Digest)
	return r.result(), err
}

// removal is a Remove under way.
type removal struct {
	caches *Caches
	left   map[entry]struct{} // what would go
	report store.Report
}

// add puts e on the list of what would go, if it is there at all.
func (r *removal) add(e entry) {
	if r.class(e).Contains(e.key) {
		r.left[e] = struct{}{}
	}
}

func (r *removal) class(e entry) *store.Class { return r.caches.Store.Class(e.folder) }

// spare takes from the list what artifacts other than a name or may name.
func (r *removal) spare(ctx context.Context, a Artifact, contents ContentsOf) error {
	var others []Artifact
	for _, o := range r.caches.Catalogue.All() {
		if o.name() == a.name() {
			continue
		}
		if o.Digest == a.Digest { // the same manifest in another repository names all the same
			r.keepAll(KeptShared)
			return nil
		}
		others = append(others, o)
		for e := range entriesOf(o) {
			r.keep(e, KeptShared)
		}
	}
	// Artifacts that share an index, as a re-tagged build does, are read once; and none is once no file is left.
	read := make(map[digest.Digest]struct{})
	unknown := false
	for _, o := range others {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !r.anyContent() {
			return nil
		}
		index := o.index()
		if _, done := read[index]; done {
			continue
		}
		files, ok := contents(o)
		if !ok {
			unknown = true
			continue
		}
		if index != "" {
			read[index] = struct{}{}
		}
		for d := range files {
			if valid(d) == nil {
				r.keep(entry{FolderContent, store.KeyOf(d)}, KeptShared)
			}
		}
	}
	if unknown {
		for e := range r.left {
			if e.folder == FolderContent {
				r.keep(e, KeptUnknown)
			}
		}
	}
	return nil
}

// index returns the digest of the index that an artifact carries; "" when it carries none.
func (a Artifact) index() digest.Digest {
	for _, b := range a.Blobs {
		if b.Role == RoleIndex {
			return b.Digest
		}
	}
	return ""
}

func (r *removal) anyContent() bool {
	for e := range r.left {
		if e.folder == FolderContent {
			return true
		}
	}
	return false
}

// keep takes e from the list, and says why.
func (r *removal) keep(e entry, reason string) {
	if _, ok := r.left[e]; !ok {
		return
	}
	delete(r.left, e)
	bytes := r.class(e).Size(e.key)
	for i := range r.report.Kept {
		if k := &r.report.Kept[i]; k.Reason == reason {
			k.Entries++
			k.Bytes += bytes
			return
		}
	}
	r.report.Kept = append(r.report.Kept, store.Kept{Reason: reason, Entries: 1, Bytes: bytes})
}

func (r *removal) keepAll(reason string) {
	for e := range r.left {
		r.keep(e, reason)
	}
}

// free removes what is on the list.
func (r *removal) free() {
	for e := range r.left {
		freed, err := r.class(e).Remove(e.key, store.ReasonRemoved)
		switch {
		case err == nil:
			r.report.FreedEntries++
			r.report.FreedBytes += freed
		case errors.Is(err, store.ErrPinned):
			r.keep(e, store.KeptPinned)
		case errors.Is(err, store.ErrInUse):
			r.keep(e, store.KeptInUse)
		default:
			r.keep(e, store.KeptError)
		}
	}
}

func (r *removal) result() store.Report {
	r.report.Bytes = r.caches.Store.Usage().Bytes
	return r.report
}

// Cached returns the bytes that the disk gives up for what an artifact names, shared things too. Contents are the
// digests of its files, each once; nil where they are not known.
func (c *Caches) Cached(a Artifact, contents iter.Seq[digest.Digest]) int64 {
	var bytes int64
	counted := make(map[entry]struct{})
	for e := range entriesOf(a) {
		if _, twice := counted[e]; !twice {
			counted[e] = struct{}{}
			bytes += c.Store.Class(e.folder).Size(e.key)
		}
	}
	if contents == nil {
		return bytes
	}
	for d := range contents {
		e := entry{FolderContent, store.KeyOf(d)}
		if _, twice := counted[e]; !twice {
			bytes += c.Store.Class(e.folder).Size(e.key)
		}
	}
	return bytes
}
