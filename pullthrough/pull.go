package pullthrough

import (
	"context"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// manifest is a parsed manifest and its bytes.
type manifest struct {
	oci.Manifest
	raw []byte
}

// objectKey names the flight for a manifest or an index. The scope is part of it: what another may fetch is no answer.
type objectKey struct {
	scope  oci.Scope
	digest digest.Digest
	fresh  bool
}

// Manifest returns the raw bytes of what ref points to, of any artifact type.
func (s *Service) Manifest(ctx context.Context, principal, ref string, o Options) (Resolution, []byte, error) {
	named, err := oci.ParseReference(ref)
	if err != nil {
		return Resolution{}, nil, err
	}
	res, m, err := s.reach(ctx, s.scope(principal, named), named, o)
	if err != nil {
		return Resolution{}, nil, err
	}
	return res, m.raw, nil
}

// Pull makes the archive that ref points to ready. A tag is never answered with a digest whose manifest and index are
// not at hand. The archive is the caller's until its Release, or until ctx ends: its index takes memory of which there is
// only so much.
func (s *Service) Pull(ctx context.Context, principal, ref string, o Options) (*Archive, error) {
	named, err := oci.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	if o.Held && named.Digest != "" {
		o.NoCache = false
	}
	scope := s.scope(principal, named)
	res, m, err := s.reach(ctx, scope, named, o)
	if err != nil {
		return nil, err
	}
	l, err := layoutOf(m.Manifest)
	if err != nil {
		return nil, fault.Wrap(fault.ReasonOf(err), err, "%s", res.Reference)
	}
	live := s.live.hold(res.Digest)
	release := sync.OnceFunc(func() { s.live.release(live) })
	tree, source, err := s.tree(ctx, scope, live, l, o.NoCache)
	if err != nil {
		release()
		return nil, err
	}
	context.AfterFunc(ctx, release)
	res.Steps = append(res.Steps, Step{"index", source})
	a := &Archive{Resolution: res, Tree: tree, StoredSize: l.stored, manifest: m.Manifest, scope: scope, release: release}
	_ = s.caches.Catalogue.Record(artifactOf(a, l.blobs)) // a disk that refuses is the catalogue's to report
	return a, nil
}

func artifactOf(a *Archive, blobs []cache.Blob) cache.Artifact {
	return cache.Artifact{
		Registry: a.Reference.Registry, Repository: a.Reference.Repository, Digest: a.Digest,
		ArtifactType: a.ArtifactType, MediaType: a.MediaType,
		Files: int64(a.Tree.Len()), Size: a.Tree.Size(), StoredSize: a.StoredSize, Blobs: blobs,
	}
}

// reach resolves ref and brings its manifest. A stale digest whose manifest is gone is no answer; the failure to ask the
// registry is.
func (s *Service) reach(ctx context.Context, scope oci.Scope, ref oci.Reference, o Options) (Resolution, *manifest, error) {
	res, err := s.resolve(ctx, scope, ref, o)
	if err != nil {
		return Resolution{}, nil, err
	}
	m, source, err := s.manifest(ctx, scope, res.Digest, o.NoCache)
	if err != nil {
		return Resolution{}, nil, err
	}
	res.MediaType, res.ArtifactType = m.MediaType, m.ArtifactType
	res.Steps = append(res.Steps, Step{"manifest", source})
	return res, m, nil
}

func memoryManifest(d digest.Digest) string { return "manifest\x00" + string(d) }

// holds reports whether a manifest could be answered without its registry.
func (s *Service) holds(d digest.Digest) bool {
	_, ok := s.caches.Memory.Get(memoryManifest(d))
	return ok || s.caches.Manifests.Contains(d)
}

// manifest brings a manifest by digest.
func (s *Service) manifest(ctx context.Context, scope oci.Scope, d digest.Digest, fresh bool) (*manifest, string, error) {
	inMemory := memoryManifest(d)
	if fresh {
		s.obs.CacheRequest("manifest", "bypass")
	} else {
		if v, ok := s.caches.Memory.Get(inMemory); ok {
			s.obs.CacheRequest("memory", "hit")
			s.obs.CacheRequest("manifest", "hit")
			return v.(*manifest), "memory", nil
		}
		s.obs.CacheRequest("memory", "miss")
		if m, ok := s.keptManifest(d); ok {
			s.obs.CacheRequest("manifest", "hit")
			return m, "cache", nil
		}
		s.obs.CacheRequest("manifest", "miss")
	}
	m, err := s.manifests.do(ctx, objectKey{scope, d, fresh}, func(ctx context.Context) (*manifest, error) {
		if !fresh { // another flight may have ended since the look above
			if m, ok := s.keptManifest(d); ok {
				return m, nil
			}
		}
		mediaType, raw, err := s.up.Manifest(ctx, scope, d)
		if err != nil {
			s.denied(scope, err)
			return nil, err
		}
		parsed, err := oci.ParseManifest(mediaType, raw)
		if err != nil {
			return nil, fmt.Errorf("manifest %s of %s/%s: %w", d, scope.Registry, scope.Repository, err)
		}
		_ = s.caches.Manifests.Put(ctx, d, mediaType, raw)
		s.granted(scope)
		m := &manifest{parsed, raw}
		s.caches.Memory.Set(inMemory, m, int64(2*len(raw)))
		return m, nil
	})
	return m, "upstream", err
}

// keptManifest brings a manifest from the disk.
func (s *Service) keptManifest(d digest.Digest) (*manifest, bool) {
	mediaType, raw, ok := s.caches.Manifests.Get(d)
	if !ok {
		return nil, false
	}
	parsed, err := oci.ParseManifest(mediaType, raw)
	if err != nil {
		return nil, false
	}
	m := &manifest{parsed, raw}
	s.caches.Memory.Set(memoryManifest(d), m, int64(2*len(raw)))
	return m, true
}

// tree brings an archive's index, decoded, to those who use it. What was decoded is shared by all of them, since a large
// one takes tens of megabytes; the memory tier may refuse or drop it while they do.
func (s *Service) tree(
	ctx context.Context, scope oci.Scope, live *liveTree, l layout, fresh bool,
) (*archive.Tree, string, error) {
	inMemory := "tree\x00" + string(live.of)
	if fresh {
		s.obs.CacheRequest("index", "bypass")
	} else {
		if v, ok := s.caches.Memory.Get(inMemory); ok {
			s.obs.CacheRequest("memory", "hit")
			s.obs.CacheRequest("index", "hit")
			t, err := s.useKept(ctx, live, v.(*archive.Tree))
			return t, "memory", err
		}
		s.obs.CacheRequest("memory", "miss")
		if t, ok := s.live.get(live); ok {
			s.obs.CacheRequest("index", "hit")
			return t, "memory", nil
		}
	}
	t, err := s.trees.do(ctx, objectKey{scope, live.of, fresh}, func(ctx context.Context) (sourced, error) {
		t, room, err := s.readTree(ctx, scope, l, fresh)
		if err == nil {
			s.caches.Memory.Set(inMemory, t.tree, t.tree.MemoryBytes())
			t.tree = s.live.bring(live, t.tree, room)
		}
		return t, err
	})
	return t.tree, t.source, err
}

// useKept gives a tree of the memory tier, which may drop it any time, a share of its own.
func (s *Service) useKept(ctx context.Context, live *liveTree, kept *archive.Tree) (*archive.Tree, error) {
	if t, ok := s.live.get(live); ok {
		return t, nil
	}
	room, err := s.indexRoom.take(ctx, kept.MemoryBytes())
	if err != nil {
		return nil, err
	}
	return s.live.bring(live, kept, room), nil
}

// sourced is a decoded index and where its bytes came from.
type sourced struct {
	tree   *archive.Tree
	source string
}

// readTree reads what lists an artifact's files from the cache, else from upstream. The share that it returns is the
// tree's.
func (s *Service) readTree(ctx context.Context, scope oci.Scope, l layout, fresh bool) (sourced, *share, error) {
	limit := s.policy.Load().MaxIndex
	if l.limit > 0 {
		limit = min(limit, l.limit)
	}
	if l.index.Size > limit {
		return sourced{}, nil, fault.New(fault.IndexInvalid, "index %s has %d bytes, more than the %d that are allowed", l.index.Digest, l.index.Size, limit).
			Try("raise max_index_size, if it is below %d", max(l.limit, l.index.Size))
	}
	if l.index.Digest == "" {
		return s.listTree(ctx, scope, l)
	}
	if !fresh {
		t, room, err := s.cachedTree(ctx, scope, l)
		switch {
		case err != nil:
			return sourced{}, nil, err
		case t.tree != nil:
			s.obs.CacheRequest("index", "hit")
			return t, room, nil
		}
		s.obs.CacheRequest("index", "miss")
	}
	f, raw, room, err := s.bringIndex(ctx, scope, l)
	if err != nil {
		s.denied(scope, err)
		return sourced{}, nil, err
	}
	defer f.close()
	list, err := l.read(raw)
	var t *archive.Tree
	if err == nil {
		t, err = s.listed(ctx, scope, list, room)
	}
	if err == nil {
		f.keep()
	} else {
		room.release()
		return sourced{}, nil, damaged(err, "index %s of %s/%s", l.index.Digest, scope.Registry, scope.Repository)
	}
	return sourced{t, "upstream"}, room, nil
}

// damaged says of what err is about, where that is an artifact that can't be read.
func damaged(err error, what string, args ...any) error {
	if fault.ReasonOf(err) != fault.IndexInvalid {
		return err
	}
	return fault.Wrap(fault.IndexInvalid, err, what, args...).Try("the archive is damaged: push it again")
}

// listTree is readTree for an artifact whose manifest lists its files.
func (s *Service) listTree(ctx context.Context, scope oci.Scope, l layout) (sourced, *share, error) {
	bad := func(err error) error { return damaged(err, "layers of %s/%s", scope.Registry, scope.Repository) }
	list, err := l.read(nil)
	if err != nil {
		return sourced{}, nil, bad(err)
	}
	memory, err := s.tables(ctx, scope, list.Bundles())
	if err != nil {
		return sourced{}, nil, bad(err)
	}
	room, err := s.indexRoom.take(ctx, l.memory+memory)
	if err != nil {
		return sourced{}, nil, err
	}
	t, err := s.listed(ctx, scope, list, room)
	if err != nil {
		room.release()
		return sourced{}, nil, bad(err)
	}
	return sourced{t, "derived"}, room, nil
}

// cachedTree is readTree from an index of the cache; the tree is nil where that is not there or can't be read.
func (s *Service) cachedTree(ctx context.Context, scope oci.Scope, l layout) (sourced, *share, error) {
	list, room, err := s.cachedList(ctx, l)
	if list == nil || err != nil {
		return sourced{}, nil, err
	}
	t, err := s.listed(ctx, scope, list, room)
	if err != nil {
		room.release()
		return sourced{}, nil, err
	}
	return sourced{t, "cache"}, room, nil
}

// cachedList reads an index of the cache; nil where it is not there or can't be read.
func (s *Service) cachedList(ctx context.Context, l layout) (listing, *share, error) {
	if !s.caches.Indexes.Contains(l.index.Digest) {
		return nil, nil, nil
	}
	room, err := s.indexRoom.take(ctx, l.memory)
	if err != nil {
		return nil, nil, err
	}
	if raw, ok := s.caches.Indexes.Get(l.index.Digest); ok {
		if list, err := l.read(raw); err == nil {
			return list, room, nil
		}
	}
	room.release()
	return nil, nil, nil
}

// listed makes the tree of a listing, and leaves room as large as what stays of it. What is in the listing's bundles is
// asked of the cache, else of upstream.
func (s *Service) listed(ctx context.Context, scope oci.Scope, list listing, room *share) (*archive.Tree, error) {
	memory, err := s.tables(ctx, scope, list.Bundles())
	if err != nil {
		return nil, err
	}
	return s.treeOf(ctx, list, memory, room, func(b oci.Descriptor) ([]bundle.Member, error) {
		return s.readMembers(ctx, scope, b, false, 0, nil)
	})
}

// treeOf is listed once the tables of the bundles are kept, and take that much memory; unkept answers for one that is not.
func (s *Service) treeOf(
	ctx context.Context, list listing, memory int64, room *share, unkept func(oci.Descriptor) ([]bundle.Member, error),
) (*archive.Tree, error) {
	decoding, err := s.decodeRoom.take(ctx, memory)
	if err != nil {
		return nil, err
	}
	defer decoding.release()
	var members []bundle.Member
	for _, b := range list.Bundles() {
		more, ok := s.keptMembers(b)
		if !ok {
			if more, err = unkept(b); err != nil {
				return nil, err
			}
		}
		members = append(members, more...)
	}
	t, err := list.Tree(members)
	if err == nil {
		room.shrink(t.MemoryBytes())
	}
	return t, err
}
