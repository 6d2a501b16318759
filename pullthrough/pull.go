package pullthrough

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
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
// not at hand.
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
	if !blobfmt.Matches(m.Manifest) {
		return nil, fault.New(fault.ArtifactUnsupported, "%s is of type %q, which is no archive that blobd can read", res.Reference, m.ArtifactType).
			Try("blobd manifest shows it")
	}
	index, data, err := blobfmt.Layers(m.Manifest)
	if err != nil {
		return nil, err
	}
	tree, source, err := s.tree(ctx, scope, res.Digest, index, data, o.NoCache)
	if err != nil {
		return nil, err
	}
	res.Steps = append(res.Steps, Step{"index", source})
	a := &Archive{Resolution: res, Tree: tree, StoredSize: index.Size + data.Size, scope: scope}
	_ = s.caches.Catalogue.Record(artifactOf(a, index, data)) // a disk that refuses is the catalogue's to report
	return a, nil
}

func artifactOf(a *Archive, index, data oci.Descriptor) cache.Artifact {
	return cache.Artifact{
		Registry: a.Reference.Registry, Repository: a.Reference.Repository, Digest: a.Digest,
		ArtifactType: a.ArtifactType, MediaType: a.MediaType,
		Files: int64(a.Tree.Len()), Size: a.Tree.Size(), StoredSize: a.StoredSize,
		Blobs: []cache.Blob{
			{Digest: index.Digest, Size: index.Size, Role: cache.RoleIndex},
			{Digest: data.Digest, Size: data.Size, Role: cache.RoleData},
		},
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
		if mediaType, raw, ok := s.caches.Manifests.Get(d); ok {
			if parsed, err := oci.ParseManifest(mediaType, raw); err == nil {
				s.obs.CacheRequest("manifest", "hit")
				m := &manifest{parsed, raw}
				s.caches.Memory.Set(inMemory, m, int64(2*len(raw)))
				return m, "cache", nil
			}
		}
		s.obs.CacheRequest("manifest", "miss")
	}
	m, err := s.manifests.do(ctx, objectKey{scope, d, fresh}, func(ctx context.Context) (*manifest, error) {
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

// tree brings an archive's index, decoded. What was decoded is shared by everybody for as long as anybody uses it, since
// a large one takes tens of megabytes.
func (s *Service) tree(ctx context.Context, scope oci.Scope, of digest.Digest, index, data oci.Descriptor, fresh bool) (*archive.Tree, string, error) {
	inMemory := "tree\x00" + string(of)
	if fresh {
		s.obs.CacheRequest("index", "bypass")
	} else {
		if v, ok := s.caches.Memory.Get(inMemory); ok {
			s.obs.CacheRequest("memory", "hit")
			s.obs.CacheRequest("index", "hit")
			return v.(*archive.Tree), "memory", nil
		}
		s.obs.CacheRequest("memory", "miss")
		if t, ok := s.live.get(of); ok {
			s.obs.CacheRequest("index", "hit")
			return t, "memory", nil
		}
	}
	t, err := s.trees.do(ctx, objectKey{scope, of, fresh}, func(ctx context.Context) (sourced, error) {
		t, err := s.readTree(ctx, scope, index, data, fresh)
		if err == nil {
			s.live.put(of, t.tree)
			s.caches.Memory.Set(inMemory, t.tree, t.tree.MemoryBytes())
		}
		return t, err
	})
	return t.tree, t.source, err
}

// sourced is a decoded index and where its bytes came from.
type sourced struct {
	tree   *archive.Tree
	source string
}

// readTree reads and decodes an index from the cache, else from upstream.
func (s *Service) readTree(ctx context.Context, scope oci.Scope, index, data oci.Descriptor, fresh bool) (sourced, error) {
	limit := s.policy.Load().MaxIndex
	if index.Size > limit {
		return sourced{}, fault.New(fault.IndexInvalid, "index %s has %d bytes, more than the %d that are allowed", index.Digest, index.Size, limit).
			Try("raise max_index_size")
	}
	limits := blobfmt.Limits{IndexBytes: limit, Entries: maxEntries}
	if !fresh {
		if raw, ok := s.caches.Indexes.Get(index.Digest); ok {
			if t, err := blobfmt.Decode(raw, data, limits); err == nil {
				s.obs.CacheRequest("index", "hit")
				return sourced{t, "cache"}, nil
			}
		}
		s.obs.CacheRequest("index", "miss")
	}
	raw, err := s.fetchIndex(ctx, scope, index)
	if errors.Is(err, fault.DigestMismatch) {
		raw, err = s.fetchIndex(ctx, scope, index) // wrong bytes came: once more, from scratch
	}
	if err != nil {
		s.denied(scope, err)
		return sourced{}, err
	}
	t, err := blobfmt.Decode(raw, data, limits)
	if err != nil {
		return sourced{}, fault.Wrap(fault.ReasonOf(err), err, "index %s of %s/%s", index.Digest, scope.Registry, scope.Repository).
			Try("the archive is damaged: push it again")
	}
	_ = s.caches.Indexes.Put(ctx, index.Digest, raw)
	return sourced{t, "upstream"}, nil
}

// fetchIndex reads an index from upstream to its end, where its digest is checked.
func (s *Service) fetchIndex(ctx context.Context, scope oci.Scope, index oci.Descriptor) ([]byte, error) {
	body, err := s.up.Blob(ctx, scope, index)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	raw := make([]byte, index.Size)
	if _, err := io.ReadFull(body, raw); err != nil {
		return nil, ended(err, index)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return nil, err
	}
	return raw, nil
}

// maxEntries is how many files an archive may have: five times what the published writer allows.
const maxEntries = 1_000_000

func ended(err error, d oci.Descriptor) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.Wrap(fault.Truncated, err, "blob %s of %d bytes", d.Digest, d.Size)
	}
	return err
}
