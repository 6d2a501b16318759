package cache

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Artifact is what the catalogue knows of one artifact of one repository.
type Artifact struct {
	Registry     string        `json:"registry"`
	Repository   string        `json:"repository"`
	Digest       digest.Digest `json:"digest"` // of its manifest
	ArtifactType string        `json:"artifactType,omitempty"`
	MediaType    string        `json:"mediaType,omitempty"` // of its manifest
	Files        int64         `json:"files,omitempty"`
	Size         int64         `json:"size,omitempty"`       // of all files, uncompressed, in bytes
	StoredSize   int64         `json:"storedSize,omitempty"` // of what holds the files, as the registry has it, in bytes
	Blobs        []Blob        `json:"blobs,omitempty"`
	LastUsed     time.Time     `json:"lastUsed"` // after a crash, up to a minute too early

	// Pinned and Tags are told by the catalogue; Record does not look at them.
	Pinned bool     `json:"-"`
	Tags   []string `json:"-"` // that were it when last checked, sorted
}

// Blob is one blob of an artifact.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
	Role   Role          `json:"role"`
}

// Role is what a blob is to its artifact.
type Role string

// The roles: which cache a blob lives in follows from them.
const (
	RoleManifest Role = "manifest" // manifests
	RoleIndex    Role = "index"    // indexes
	RoleData     Role = "data"     // blocks
	RoleConfig   Role = "config"   // content
	RoleLayer    Role = "layer"    // content where it is one file, else blocks
	RoleBundle   Role = "bundle"   // blocks; the table of its members is a derived index
)

// writeUse is how often an artifact's last use is written down: at once a minute, ten files read a second cost no more
// than one line.
const writeUse = time.Minute

// grantSlack is how much longer a grant must become before that is written down: of a day's grant that is renewed at
// every pull, some 20 lines a day. A crash makes a grant end up to this much too early, which costs one request.
const grantSlack = time.Hour

// Catalogue knows which artifacts the caches hold, what is pinned, which scopes were granted access until when, through
// which scope which bytes came, and what tags were seen. All of it is in memory, at about 1 KiB an artifact, and in a
// journal of checksummed lines on disk; a damaged line is lost and the others are not. Losing it costs requests, never
// correctness.
//
// Durable means here: on disk, synced, when the method returns nil. Where the disk refuses, the change stands in memory,
// the error is returned and told to the observer, and the whole catalogue is written anew as soon as the disk takes it.
type Catalogue struct {
	now     func() time.Time
	problem func(error)  // told of each change between a disk that refuses (the error) and one that does not (nil)
	owned   func() error // says why nothing must be written in the folder now; nil: it always may

	// writing is held by whoever changes the catalogue until the change is on disk as well, so that the journal's order
	// is that of the changes. It is taken before mu, and guards journal.
	writing sync.Mutex
	journal journal

	mu    sync.RWMutex // guards state; never held while the disk works, so that questions are answered at once
	state state
}

// Record adds an artifact, or replaces what is known of it but for its pin and its tags. A zero LastUsed is now. An
// artifact that is the same but for LastUsed is written down at most once a minute. Not durable; it fails with
// fault.InvalidDigest, and when the disk refuses.
func (c *Catalogue) Record(a Artifact) error {
	if err := a.validate(); err != nil {
		return err
	}
	a = a.bare()
	if a.LastUsed.IsZero() {
		a.LastUsed = c.now()
	}
	if c.touch(a) {
		return nil
	}
	return c.change(record{Op: opArtifact, Artifact: &a}, false)
}

// touch takes the last use of an artifact that is known as a is, and reports whether that is all there is to do.
func (c *Catalogue) touch(a Artifact) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.state.artifacts[a.name()]
	if e == nil || !e.same(a) {
		return false
	}
	e.LastUsed = a.LastUsed
	return a.LastUsed.Sub(e.written).Abs() < writeUse
}

// Get returns what is known of an artifact.
func (c *Catalogue) Get(registry, repository string, d digest.Digest) (Artifact, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.state.get(name{registry, repository, d})
}

// All returns all artifacts, by registry, repository and digest.
func (c *Catalogue) All() []Artifact {
	c.mu.RLock()
	all := make([]Artifact, 0, len(c.state.artifacts))
	for n := range c.state.artifacts {
		a, _ := c.state.get(n)
		all = append(all, a)
	}
	c.mu.RUnlock()
	slices.SortFunc(all, func(a, b Artifact) int { return a.name().compare(b.name()) })
	return all
}

// Len returns the number of artifacts.
func (c *Catalogue) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.state.artifacts)
}

// Pin sets or ends the pin of an artifact in the catalogue, durably; a pin that stands keeps the list of its files. It
// fails with fault.ArtifactUnknown, and when the disk refuses. The store hears of it at the next start only: use
// Caches.PinArtifact, which calls this.
func (c *Catalogue) Pin(registry, repository string, d digest.Digest, pinned bool) error {
	n := name{registry, repository, d}
	c.mu.RLock()
	a, ok := c.state.get(n)
	contents, was := c.state.pins[n]
	c.mu.RUnlock()
	switch {
	case !ok && !was:
		return unknown(n)
	case pinned == was:
		return nil
	case !pinned:
		return c.change(record{Op: opUnpin, Name: &n}, true)
	}
	return c.pin(a, contents)
}

// pin records that a is pinned, and with it the files of these keys in the content cache, and its tags. Durable.
func (c *Catalogue) pin(a Artifact, contents []store.Key) error {
	a = a.bare()
	return c.change(record{Op: opPin, Artifact: &a, Contents: packKeys(contents)}, true)
}

// Forget drops an artifact with its pin and its tags, durably. One that is not known is no error.
func (c *Catalogue) Forget(registry, repository string, d digest.Digest) error {
	n := name{registry, repository, d}
	c.mu.RLock()
	_, known := c.state.artifacts[n]
	_, pinned := c.state.pins[n]
	c.mu.RUnlock()
	if !known && !pinned {
		return nil
	}
	return c.change(record{Op: opForget, Name: &n}, true)
}

// Grant remembers that upstream lets scope read its repository, until then. Durable, but that an end less than an hour
// later than the one on disk is not written down.
func (c *Catalogue) Grant(scope oci.Scope, until time.Time) error {
	until = until.Round(0) // by the wall clock, as it will be after a restart
	if c.extend(scope, until) {
		return nil
	}
	return c.change(record{Op: opGrant, Scope: &scope, Until: until}, true)
}

// extend makes a grant longer in memory, and reports whether that is enough.
func (c *Catalogue) extend(scope oci.Scope, until time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.state.grants[scope]
	if !ok || !g.written.After(c.now()) || until.Before(g.written) || until.Sub(g.written) > grantSlack {
		return false
	}
	g.until = until
	c.state.grants[scope] = g
	return true
}

// Granted reports whether scope has a grant that has not ended at now. See GrantLeft.
func (c *Catalogue) Granted(scope oci.Scope, now time.Time) bool { return c.GrantLeft(scope, now) > 0 }

// GrantLeft returns how much of scope's grant is left at now; nothing or less where there is none. It does not judge
// whether that is more than a grant can have left, which it is after the clock was set back.
func (c *Catalogue) GrantLeft(scope oci.Scope, now time.Time) time.Duration {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.state.grants[scope].until.Sub(now)
}

// Revoke ends the grant of scope, durably.
func (c *Catalogue) Revoke(scope oci.Scope) error {
	c.mu.RLock()
	_, ok := c.state.grants[scope]
	c.mu.RUnlock()
	if !ok {
		return nil
	}
	return c.change(record{Op: opRevoke, Scope: &scope}, true)
}

// Prove remembers that the bytes of blob came, verified, through scope. Not durable, and bounded: the oldest proofs go.
func (c *Catalogue) Prove(scope oci.Scope, blob digest.Digest) {
	if valid(blob) != nil || c.Proved(scope, blob) {
		return
	}
	p := proofOf(scope, blob)
	_ = c.change(record{Op: opProve, Proof: p[:]}, false) // the observer hears of it; the proof stands in memory
}

// Proved reports whether the bytes of blob are known to have come through scope.
func (c *Catalogue) Proved(scope oci.Scope, blob digest.Digest) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.state.proofs.has(proofOf(scope, blob))
}

// TagSeen remembers that a tag is d now, in place of what it was. Not durable. Tags are what Artifact.Tags shows and
// decide nothing: see Refs.
func (c *Catalogue) TagSeen(registry, repository, tag string, d digest.Digest) {
	n := name{registry, repository, d}
	c.mu.RLock()
	same := c.state.tags[tagName{registry, repository, tag}] == d
	c.mu.RUnlock()
	if same || n.validate() != nil {
		return
	}
	_ = c.change(record{Op: opTag, Name: &n, Tag: tag}, false) // the observer hears of it
}

// change applies r and writes it down.
func (c *Catalogue) change(r record, durable bool) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	c.state.apply(r, c.now())
	c.mu.Unlock()
	return c.write(r, durable)
}

// name is what tells artifacts apart.
type name struct {
	Registry   string        `json:"registry"`
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
}

func (n name) compare(o name) int {
	return cmp.Or(cmp.Compare(n.Registry, o.Registry), cmp.Compare(n.Repository, o.Repository),
		cmp.Compare(n.Digest, o.Digest))
}

func (n name) validate() error { return valid(n.Digest) }

func unknown(n name) error {
	return fault.New(fault.ArtifactUnknown, "%s/%s@%s is not in the cache", n.Registry, n.Repository, n.Digest)
}

func (a Artifact) name() name { return name{a.Registry, a.Repository, a.Digest} }

func (a Artifact) validate() error {
	if err := a.name().validate(); err != nil {
		return err
	}
	for _, b := range a.Blobs {
		if err := valid(b.Digest); err != nil {
			return err
		}
	}
	return nil
}

// bare is a as Record takes it: without what the catalogue tells of it, and with blobs of its own.
func (a Artifact) bare() Artifact {
	a.Pinned, a.Tags, a.Blobs = false, nil, slices.Clone(a.Blobs)
	return a
}

// same reports whether a and b differ in their last use at most.
func (a Artifact) same(b Artifact) bool {
	return a.name() == b.name() && a.ArtifactType == b.ArtifactType && a.MediaType == b.MediaType && a.Files == b.Files &&
		a.Size == b.Size && a.StoredSize == b.StoredSize && slices.Equal(a.Blobs, b.Blobs)
}

// pinnedArtifact is an artifact that is pinned, and its files in the content cache and tags.
type pinnedArtifact struct {
	Artifact
	contents []store.Key
}

// pinned returns all that is pinned.
func (c *Catalogue) pinned() []pinnedArtifact {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var all []pinnedArtifact
	for n, contents := range c.state.pins {
		if a, ok := c.state.get(n); ok {
			all = append(all, pinnedArtifact{a, contents})
		}
	}
	return all
}
