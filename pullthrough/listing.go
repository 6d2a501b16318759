package pullthrough

import (
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/archive/files"
	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// maxEntries is how many files an archive may have: five times what the published writer allows.
const maxEntries = 1_000_000

const (
	// maxLocked is the largest locked application in bytes: some 100,000 assets. Read, it takes up to lockedCost times that.
	maxLocked  = 16 << 20
	lockedCost = 5
	// layerCost is what a layer that is a file takes, read, with its name and its place in the tree.
	layerCost = 512
)

// layout says how the files of an artifact are found: which blob lists them, and how it is read.
type layout struct {
	index  oci.Descriptor // the blob that lists them; without a digest where the manifest itself does
	limit  int64          // the largest index in bytes; 0 is the policy's
	memory int64          // what reading takes at most
	read   func(raw []byte) (listing, error)
	blobs  []cache.Blob
	stored int64 // bytes of the artifact's blobs
}

// listing is the files that an artifact lists. Where some of them are members of bundles, it needs to know of which.
type listing interface {
	Bundles() []oci.Descriptor
	Tree(members []bundle.Member) (*archive.Tree, error)
}

// layoutOf finds the format of an artifact. It fails with fault.ArtifactUnsupported, or as the format does.
func layoutOf(m oci.Manifest) (layout, error) {
	if blobfmt.Matches(m) {
		return blobLayout(m)
	}
	locked, certain, ok := spin.Locked(m)
	component, bare, err := spin.Component(m)
	l := layout{read: func([]byte) (listing, error) { return settled{component}, err }, memory: layerCost * int64(len(m.Layers))}
	switch {
	case ok:
		l.index, l.limit, l.memory = locked, maxLocked, lockedCost*locked.Size
		l.read = func(raw []byte) (listing, error) {
			switch {
			case certain || spin.IsLocked(raw):
				return spin.Decode(m, raw, spin.Limits{LockedBytes: maxLocked, Files: maxEntries})
			case bare || err != nil:
				return settled{component}, err
			case files.Matches(m):
				return plain{m}, nil
			}
			return nil, unsupported(m)
		}
	case bare || err != nil:
	case files.Matches(m):
		l.read = func([]byte) (listing, error) { return plain{m}, nil }
	default:
		return layout{}, unsupported(m)
	}
	l.addBlobs(m)
	return l, nil
}

func unsupported(m oci.Manifest) error {
	kind := m.ArtifactType
	if kind == "" {
		kind = m.Config.MediaType
	}
	return fault.New(fault.ArtifactUnsupported, "it is of type %q, which is no archive that blobd can read", kind).
		Try("blobd manifest shows it")
}

func blobLayout(m oci.Manifest) (layout, error) {
	index, data, err := blobfmt.Layers(m)
	return layout{
		index: index, memory: blobfmt.DecodeBytes(index.Size, maxEntries), stored: index.Size + data.Size,
		blobs: []cache.Blob{
			{Digest: index.Digest, Size: index.Size, Role: cache.RoleIndex},
			{Digest: data.Digest, Size: data.Size, Role: cache.RoleData},
		},
		read: func(raw []byte) (listing, error) {
			t, err := blobfmt.Decode(raw, data, blobfmt.Limits{IndexBytes: int64(len(raw)), Entries: maxEntries})
			return settled{t}, err
		},
	}, err
}

// addBlobs names the blobs of m, each once, for the catalogue.
func (l *layout) addBlobs(m oci.Manifest) {
	bundles := make(map[digest.Digest]bool)
	for _, b := range files.Bundles(m) {
		bundles[b.Digest] = true
	}
	seen := make(map[digest.Digest]bool)
	add := func(d oci.Descriptor, role cache.Role) {
		if d.Digest == "" || seen[d.Digest] {
			return
		}
		seen[d.Digest] = true
		l.blobs = append(l.blobs, cache.Blob{Digest: d.Digest, Size: d.Size, Role: role})
		l.stored += d.Size
	}
	add(l.index, cache.RoleIndex)
	for _, d := range m.Layers {
		if d.MediaType == spin.MediaTypeBundle || bundles[d.Digest] {
			add(d, cache.RoleBundle)
		} else {
			add(d, cache.RoleLayer)
		}
	}
}

// settled is a listing that needs nothing else.
type settled struct{ tree *archive.Tree }

func (k settled) Bundles() []oci.Descriptor                   { return nil }
func (k settled) Tree([]bundle.Member) (*archive.Tree, error) { return k.tree, nil }

// plain is the listing of a plain artifact.
type plain struct{ manifest oci.Manifest }

func (p plain) Bundles() []oci.Descriptor { return files.Bundles(p.manifest) }

func (p plain) Tree(members []bundle.Member) (*archive.Tree, error) {
	return files.Tree(p.manifest, members)
}
