package cache

import (
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/oci"
)

// entry is one entry of one cache.
type entry struct {
	folder string
	key    store.Key
}

// entriesOf yields where the manifest and the blobs of an artifact live, whether or not they are there. A blob that may
// live in either of two caches is yielded for both.
func entriesOf(a Artifact) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		manifest := func(d digest.Digest) bool {
			return yield(entry{FolderManifests, store.KeyOf(d)}) &&
				yield(entry{FolderManifests, store.DerivedKey(mediaParts(d)...)})
		}
		if !manifest(a.Digest) {
			return
		}
		for _, b := range a.Blobs {
			more := true
			switch b.Role {
			case RoleManifest:
				more = manifest(b.Digest)
			case RoleIndex:
				more = yield(entry{FolderIndexes, store.KeyOf(b.Digest)})
			case RoleBundle:
				more = yield(entry{FolderBlocks, store.KeyOf(b.Digest)}) &&
					yield(entry{FolderIndexes, store.DerivedKey(derivedParts(b.Digest, MembersDeriver, MembersVersion)...)})
			default:
				more = yield(entry{FolderBlocks, store.KeyOf(b.Digest)}) && yield(entry{FolderContent, store.KeyOf(b.Digest)})
			}
			if !more {
				return
			}
		}
	}
}

// pins are what the store was told to leave alone, by artifact, so that exactly that is given up again.
type pins struct {
	mu   sync.Mutex // guards held, and orders what the store and the catalogue are told; taken before the catalogue's
	held map[name]map[string][]store.Key
}

func newPins() pins { return pins{held: make(map[name]map[string][]store.Key)} }

// Tag is a tag as one scope sees it.
type Tag struct {
	Scope oci.Scope
	Name  string
}

// PinArtifact pins an artifact and its files, or ends the pin: its manifest, its index, its blobs, the records of tags
// by which it was asked for, and contents, the digests of its files; what is not here yet is pinned when it comes. The
// artifact is recorded as by Catalogue.Record. Contents may yield a digest more than once, and is not looked at when a
// pin ends, nor are tags. Durable: the pin outlives restarts even where the index, from which contents comes, is lost.
// When the disk refuses, the error is returned and the change stands until the daemon ends. Pinning what is pinned
// replaces contents.
//
// Whether what is pinned fits is the caller's to find out before.
func (c *Caches) PinArtifact(a Artifact, contents iter.Seq[digest.Digest], tags []Tag, pinned bool) error {
	c.pins.mu.Lock()
	defer c.pins.mu.Unlock()
	if !pinned {
		c.release(a.name())
		return c.Catalogue.Pin(a.Registry, a.Repository, a.Digest, false)
	}
	if err := a.validate(); err != nil {
		return err
	}
	if a.LastUsed.IsZero() {
		a.LastUsed = c.Catalogue.now()
	}
	keys := contentKeys(contents)
	for _, t := range tags {
		keys = append(keys, store.DerivedKey(refParts(t.Scope, t.Name)...))
	}
	c.hold(a, keys)
	return c.Catalogue.pin(a, keys)
}

// contentKeys returns the keys of contents, each once.
func contentKeys(contents iter.Seq[digest.Digest]) []store.Key {
	if contents == nil {
		return nil
	}
	set := make(map[store.Key]struct{})
	for d := range contents {
		if valid(d) == nil {
			set[store.KeyOf(d)] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(set))
}

// restorePins tells the store what the catalogue says is pinned.
func (c *Caches) restorePins() {
	c.pins.mu.Lock()
	defer c.pins.mu.Unlock()
	for _, p := range c.Catalogue.pinned() {
		c.hold(p.Artifact, p.contents)
	}
}

// hold tells the store to leave a and contents alone, and then gives up what was held for a before: what is in both
// never goes. c.pins.mu is held.
func (c *Caches) hold(a Artifact, contents []store.Key) {
	byFolder := make(map[string][]store.Key)
	for e := range entriesOf(a) {
		byFolder[e.folder] = append(byFolder[e.folder], e.key)
	}
	byFolder[FolderContent] = append(byFolder[FolderContent], contents...)
	for _, key := range contents {
		if key.Kind == store.Derived { // a tag's, or that of a file named by another digest, which is no tag's
			byFolder[FolderRefs] = append(byFolder[FolderRefs], key)
		}
	}
	c.setPinned(byFolder, true)
	c.release(a.name())
	c.pins.held[a.name()] = byFolder
}

// release gives up what is held for the artifact n; c.pins.mu is held.
func (c *Caches) release(n name) {
	c.setPinned(c.pins.held[n], false)
	delete(c.pins.held, n)
}

func (c *Caches) setPinned(byFolder map[string][]store.Key, pinned bool) {
	for folder, keys := range byFolder {
		c.Store.Class(folder).SetPinned(slices.Values(keys), pinned)
	}
}
