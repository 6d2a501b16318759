package cache

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/oci"
)

// bounds limit how much the catalogue holds. Past one of them the least recently used, or the oldest, tenth goes.
type bounds struct{ artifacts, grants, tags, proofs int }

// defaultBounds keeps the catalogue below some 150 MiB even where everything is at its bound. The manifests' default cap
// holds 12,000 artifacts, so that nothing goes before its manifest does.
func defaultBounds() bounds {
	return bounds{artifacts: 100_000, grants: 50_000, tags: 100_000, proofs: 100_000}
}

// state is all that a catalogue knows. It changes by records alone (and by last uses and longer grants, which need not be
// written down at once), so that reading the journal and doing the work are the same thing.
type state struct {
	bounds    bounds
	artifacts map[name]*artifact
	pins      map[name][]store.Key // of what is pinned: its files in the content cache
	grants    map[oci.Scope]grant
	tags      map[tagName]digest.Digest
	tagged    map[name][]string // tags the other way round, sorted
	proofs    proofs
}

// artifact is an Artifact and the last use of it that is on disk.
type artifact struct {
	Artifact
	written time.Time
}

// grant is how long a scope may read, and how long the disk says so.
type grant struct{ until, written time.Time }

type tagName struct{ registry, repository, tag string }

func newState(b bounds) state {
	return state{
		bounds:    b,
		artifacts: make(map[name]*artifact),
		pins:      make(map[name][]store.Key),
		grants:    make(map[oci.Scope]grant),
		tags:      make(map[tagName]digest.Digest),
		tagged:    make(map[name][]string),
		proofs:    newProofs(b.proofs),
	}
}

// get returns the artifact n as callers see it.
func (s *state) get(n name) (Artifact, bool) {
	e := s.artifacts[n]
	if e == nil {
		return Artifact{}, false
	}
	a := e.Artifact
	a.Blobs = slices.Clone(a.Blobs)
	a.Tags = slices.Clone(s.tagged[n])
	_, a.Pinned = s.pins[n]
	return a, true
}

// apply makes the change that r, a valid record, tells of.
func (s *state) apply(r record, now time.Time) {
	switch r.Op {
	case opArtifact:
		s.artifacts[r.Artifact.name()] = &artifact{*r.Artifact, r.Artifact.LastUsed}
		s.boundArtifacts()
	case opPin:
		s.artifacts[r.Artifact.name()] = &artifact{*r.Artifact, r.Artifact.LastUsed}
		s.pins[r.Artifact.name()] = unpackKeys(r.Contents)
	case opUnpin:
		delete(s.pins, *r.Name)
	case opForget:
		s.forget(*r.Name)
	case opGrant:
		s.grants[*r.Scope] = grant{r.Until, r.Until}
		s.boundGrants(now)
	case opRevoke:
		delete(s.grants, *r.Scope)
	case opProve:
		s.proofs.add([sha256.Size]byte(r.Proof))
	case opTag:
		s.tag(*r.Name, r.Tag)
		s.boundTags()
	}
}

func (s *state) forget(n name) {
	delete(s.artifacts, n)
	delete(s.pins, n)
	for _, tag := range s.tagged[n] {
		delete(s.tags, tagName{n.Registry, n.Repository, tag})
	}
	delete(s.tagged, n)
}

func (s *state) tag(n name, tag string) {
	t := tagName{n.Registry, n.Repository, tag}
	s.untag(t)
	s.tags[t] = n.Digest
	i, _ := slices.BinarySearch(s.tagged[n], tag)
	s.tagged[n] = slices.Insert(s.tagged[n], i, tag)
}

func (s *state) untag(t tagName) {
	d, ok := s.tags[t]
	if !ok {
		return
	}
	n := name{t.registry, t.repository, d}
	rest := slices.DeleteFunc(s.tagged[n], func(tag string) bool { return tag == t.tag })
	if len(rest) == 0 {
		delete(s.tagged, n)
	} else {
		s.tagged[n] = rest
	}
	delete(s.tags, t)
}

// boundArtifacts forgets the least recently used tenth of the artifacts, but for those that are pinned, when there are
// too many. Nothing is written down: whoever reads the journal does the same.
func (s *state) boundArtifacts() {
	if len(s.artifacts) <= s.bounds.artifacts+len(s.pins) {
		return
	}
	var names []name
	for n := range s.artifacts {
		if _, pinned := s.pins[n]; !pinned {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b name) int {
		return cmp.Or(s.artifacts[a].LastUsed.Compare(s.artifacts[b].LastUsed), a.compare(b))
	})
	for _, n := range names[:min(len(names), s.bounds.artifacts/10+1)] {
		s.forget(n)
	}
}

// boundGrants drops the grants that have ended, and the tenth that ends first, when there are too many.
func (s *state) boundGrants(now time.Time) {
	if len(s.grants) <= s.bounds.grants {
		return
	}
	var ends []time.Time
	for scope, g := range s.grants {
		if !now.Before(g.until) {
			delete(s.grants, scope)
		} else {
			ends = append(ends, g.until)
		}
	}
	if len(s.grants) <= s.bounds.grants {
		return
	}
	slices.SortFunc(ends, time.Time.Compare)
	last := ends[s.bounds.grants/10]
	for scope, g := range s.grants {
		if !g.until.After(last) {
			delete(s.grants, scope)
		}
	}
}

// boundTags drops tags of artifacts that are not in the catalogue, and then any, when there are too many.
func (s *state) boundTags() {
	if len(s.tags) <= s.bounds.tags {
		return
	}
	for t, d := range s.tags {
		if s.artifacts[name{t.registry, t.repository, d}] == nil {
			s.untag(t)
		}
	}
	for t := range s.tags {
		if len(s.tags) <= s.bounds.tags-s.bounds.tags/10 {
			return
		}
		s.untag(t)
	}
}

// size is how many records the state takes.
func (s *state) size() int {
	return len(s.artifacts) + len(s.grants) + len(s.tags) + len(s.proofs.order)
}

// records returns what a new journal must say, but for what has ended at now. What is read in this order gives the same
// state.
func (s *state) records(now time.Time) []record {
	all := make([]record, 0, s.size())
	for scope, g := range s.grants {
		if now.Before(g.until) {
			all = append(all, record{Op: opGrant, Scope: &scope, Until: g.until})
		}
	}
	for n, e := range s.artifacts {
		a := e.Artifact
		if contents, pinned := s.pins[n]; pinned {
			all = append(all, record{Op: opPin, Artifact: &a, Contents: packKeys(contents)})
		} else {
			all = append(all, record{Op: opArtifact, Artifact: &a})
		}
	}
	for t, d := range s.tags {
		all = append(all, record{Op: opTag, Name: &name{t.registry, t.repository, d}, Tag: t.tag})
	}
	for _, p := range s.proofs.order {
		all = append(all, record{Op: opProve, Proof: slices.Clone(p[:])})
	}
	return all
}

// proofs is a bounded set: the oldest go.
type proofs struct {
	limit int
	known map[[sha256.Size]byte]struct{}
	order [][sha256.Size]byte // oldest first
}

func newProofs(limit int) proofs {
	return proofs{limit: limit, known: make(map[[sha256.Size]byte]struct{})}
}

// proofOf is a hash, so that a proof is as small as can be; nobody needs to list them.
func proofOf(scope oci.Scope, blob digest.Digest) [sha256.Size]byte {
	key := store.DerivedKey("proof", scope.Principal, scope.Registry, scope.Repository, scope.Credential, blob.String())
	return key.Sum
}

func (p *proofs) has(proof [sha256.Size]byte) bool {
	_, ok := p.known[proof]
	return ok
}

func (p *proofs) add(proof [sha256.Size]byte) {
	if p.has(proof) {
		return
	}
	p.known[proof] = struct{}{}
	p.order = append(p.order, proof)
	if len(p.order) > p.limit {
		drop := p.limit/10 + 1
		for _, old := range p.order[:drop] {
			delete(p.known, old)
		}
		p.order = slices.Delete(p.order, 0, drop)
	}
}
