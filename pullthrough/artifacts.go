package pullthrough

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// What the store reports, for those who may not know the store.
type (
	PruneOptions = store.PruneOptions
	Report       = store.Report
	Kept         = store.Kept
)

// Artifacts lists the catalogue and what of each artifact is on disk. When ctx ends it lists no further.
func (s *Service) Artifacts(ctx context.Context) []ArtifactInfo {
	return s.describe(ctx, s.caches.Catalogue.All())
}

// LastUsed is Artifacts for those last used, that one first, at most so many; more is how many there are besides.
func (s *Service) LastUsed(ctx context.Context, most int) (infos []ArtifactInfo, more int) {
	all := s.caches.Catalogue.All()
	slices.SortStableFunc(all, func(a, b cache.Artifact) int { return b.LastUsed.Compare(a.LastUsed) })
	most = min(most, len(all))
	return s.describe(ctx, all[:most]), len(all) - most
}

func (s *Service) describe(ctx context.Context, artifacts []cache.Artifact) []ArtifactInfo {
	var infos []ArtifactInfo
	for _, a := range artifacts {
		if ctx.Err() != nil {
			break
		}
		contents, _ := s.contentsOf(ctx)(a)
		infos = append(infos, ArtifactInfo{Artifact: a, Cached: s.caches.Cached(a, contents)})
	}
	return infos
}

// Prune frees space by recency; with no word on how much, as much as eviction frees when the caches are full.
func (s *Service) Prune(ctx context.Context, o PruneOptions) (Report, error) {
	if o.Target == 0 && o.UnusedFor == 0 {
		o.Target = s.caches.Store.Usage().Limit / 10 * 9
	}
	return s.caches.Store.Prune(ctx, o)
}

// Clear empties the caches named, or all, but for what is pinned or in use.
func (s *Service) Clear(ctx context.Context, names []string) (Report, error) {
	defer s.live.clear()
	return s.caches.Clear(ctx, names)
}

// Verify reads everything that is cached and drops what is bad. See cache.Caches.Verify.
func (s *Service) Verify(ctx context.Context, progress func(done, total, bytes int64), found func(cache, key, why string)) error {
	return s.caches.Verify(ctx, progress, found)
}

// Remove forgets an artifact and frees what no other artifact names. It fails with fault.Pinned while it is pinned.
func (s *Service) Remove(ctx context.Context, ref string) (digest.Digest, Report, error) {
	a, err := s.known(ref)
	if err != nil {
		return "", Report{}, err
	}
	if a.Pinned {
		return "", Report{}, fault.New(fault.Pinned, "%s is pinned", ref).Try("end that first: blobd unpin %s", ref)
	}
	report, err := s.caches.Remove(ctx, a, s.contentsOf(ctx))
	s.live.clear()
	if ctx.Err() == nil {
		err = unwritten(err, "the removal of "+ref)
	}
	return a.Digest, report, err
}

// Pin makes an artifact ready and keeps it, and whatever of its files is cached now or later, from eviction. It returns
// what the artifact takes when all of it is cached, and what of it is now. It fails with fault.PinBudget when that, with
// what is pinned already, passes the policy's MaxPinned.
func (s *Service) Pin(ctx context.Context, principal, ref string, o Options) (res Resolution, size, cached int64, err error) {
	a, err := s.Pull(ctx, principal, ref, o)
	if err != nil {
		return Resolution{}, 0, 0, err
	}
	art, ok := s.caches.Catalogue.Get(a.Reference.Registry, a.Reference.Repository, a.Digest)
	if !ok {
		return Resolution{}, 0, 0, fault.New(fault.ArtifactUnknown, "%s was removed from the cache while it was to be pinned", a.Reference).
			Try("pin it again")
	}
	s.pinning.Lock()
	defer s.pinning.Unlock()
	total, most := weight(art), s.policy.Load().MaxPinned
	for _, other := range s.caches.Catalogue.All() {
		if other.Pinned && !(other.Registry == art.Registry && other.Repository == art.Repository && other.Digest == art.Digest) {
			total += weight(other)
		}
	}
	if total > most {
		return Resolution{}, 0, 0, fault.New(fault.PinBudget, "with %s, which may take %s, all pins may take %s, more than the %s that are for them",
			a.Reference, humanize.IBytes(uint64(weight(art))), humanize.IBytes(uint64(total)), humanize.IBytes(uint64(most))).
			Try("unpin something, or raise max_size")
	}
	var tags []cache.Tag
	if named, err := oci.ParseReference(ref); err == nil && named.Digest == "" {
		tags = []cache.Tag{{Scope: a.scope, Name: named.Tag}}
	}
	if err := s.caches.PinArtifact(art, digests(a.Tree), tags, true); err != nil {
		return Resolution{}, 0, 0, unwritten(err, "the pin of "+a.Reference.String())
	}
	return a.Resolution, weight(art), s.caches.Cached(art, digests(a.Tree)), nil
}

// unwritten is what a caller is told when the disk refused to take down a change: it stands until blobd ends, or until
// the disk takes it.
func unwritten(err error, change string) error {
	if err == nil || fault.ReasonOf(err) != "" {
		return err
	}
	return fault.Wrap(fault.LocalOverload, err, "%s is not on disk, and may not outlive the daemon", change).
		Try("make room on the disk of the cache folder, and do it again")
}

// diskPage is what the smallest file takes on the disks of today.
const diskPage = 4 << 10

// weight is what an artifact takes on disk at most: its files as content, each in whole pages, the blobs that they were
// cut from, and the records of both.
func weight(a cache.Artifact) int64 {
	const records = 8
	return a.Size + a.StoredSize + (a.Files+records)*diskPage
}

// Unpin ends a pin.
func (s *Service) Unpin(_ context.Context, ref string) (digest.Digest, error) {
	a, err := s.known(ref)
	if err != nil {
		return "", err
	}
	s.pinning.Lock()
	defer s.pinning.Unlock()
	return a.Digest, unwritten(s.caches.PinArtifact(a, nil, nil, false), "the end of the pin of "+ref)
}

// known finds the artifact that ref names without going upstream: by its digest, or by what its tag was last seen to be.
func (s *Service) known(text string) (cache.Artifact, error) {
	ref, err := oci.ParseReference(text)
	if err != nil {
		return cache.Artifact{}, err
	}
	if ref.Digest != "" {
		if a, ok := s.caches.Catalogue.Get(ref.Registry, ref.Repository, ref.Digest); ok {
			return a, nil
		}
	} else {
		for _, a := range s.caches.Catalogue.All() {
			if a.Registry == ref.Registry && a.Repository == ref.Repository && slices.Contains(a.Tags, ref.Tag) {
				return a, nil
			}
		}
	}
	return cache.Artifact{}, fault.New(fault.ArtifactUnknown, "%s is not in the cache", ref).Try("blobd cache ls lists what is")
}

// contentsOf names the files of an artifact as its cached index has them; false where that can't be read.
func (s *Service) contentsOf(ctx context.Context) cache.ContentsOf {
	return func(a cache.Artifact) (iter.Seq[digest.Digest], bool) {
		live := s.live.hold(a.Digest)
		defer s.live.release(live)
		t, ok := s.live.get(live)
		if !ok {
			kept, room, ok := s.keptTree(ctx, a)
			if !ok {
				return nil, false
			}
			t = s.live.bring(live, kept, room)
		}
		return digests(t), true
	}
}

// keptTree is an artifact's tree, from what is cached of it alone.
func (s *Service) keptTree(ctx context.Context, a cache.Artifact) (*archive.Tree, *share, bool) {
	mediaType, raw, ok := s.caches.Manifests.Get(a.Digest)
	if !ok {
		return nil, nil, false
	}
	m, err := oci.ParseManifest(mediaType, raw)
	if err != nil {
		return nil, nil, false
	}
	l, err := layoutOf(m)
	if err != nil {
		return nil, nil, false
	}
	var list listing
	var room *share
	if l.index.Digest == "" {
		list, err = l.read(nil)
	} else {
		list, room, err = s.cachedList(ctx, l)
	}
	if list == nil || err != nil {
		return nil, nil, false
	}
	bundles := list.Bundles()
	memory, ok := s.keptTables(bundles)
	if ok && room == nil {
		room, err = s.indexRoom.take(ctx, l.memory+memory)
	}
	if room == nil || err != nil {
		return nil, nil, false
	}
	var t *archive.Tree
	if ok {
		t, err = s.treeOf(ctx, list, memory, room, func(oci.Descriptor) ([]bundle.Member, error) { return nil, store.ErrNotFound })
	}
	if t == nil || err != nil {
		room.release()
		return nil, nil, false
	}
	return t, room, true
}

// digests yields the digest of each file that has bytes, once. It needs t no more when it returns.
func digests(t *archive.Tree) iter.Seq[digest.Digest] {
	sums := make([][32]byte, 0, t.Len())
	for e := range t.All() {
		if e.HasSum {
			sums = append(sums, e.Sum)
		}
	}
	slices.SortFunc(sums, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	sums = slices.Compact(sums)
	return func(yield func(digest.Digest) bool) {
		for _, sum := range sums {
			if !yield(digest.NewDigestFromBytes(digest.SHA256, sum[:])) {
				return
			}
		}
	}
}
