package pullthrough

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/oci"
)

// Flight is one fetch under way that callers share.
type Flight struct {
	Kind    string // tag, manifest, index, content or blocks
	What    string // the reference, digest or address that is fetched
	Since   time.Time
	Callers int
}

// Flights lists what is under way, the oldest first.
func (s *Service) Flights() []Flight { return s.flying.list() }

// flying are the flights under way.
type flying struct {
	mu  sync.Mutex // guards all; nothing is locked while it is held
	all map[*aloft]struct{}
}

// aloft is one of them, as those see it who only look.
type aloft struct {
	kind    string
	what    func() string
	since   time.Time
	callers func() int
}

// takes adds a flight; the returned func removes it.
func (f *flying) takes(a *aloft) (lands func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[*aloft]struct{})
	}
	f.all[a] = struct{}{}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.all, a)
	}
}

func (f *flying) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

func (f *flying) list() []Flight {
	f.mu.Lock()
	all := make([]*aloft, 0, len(f.all))
	for a := range f.all {
		all = append(all, a)
	}
	f.mu.Unlock()
	out := make([]Flight, len(all)) // without the lock: who counts callers has one of his own
	for i, a := range all {
		out[i] = Flight{Kind: a.kind, What: a.what(), Since: a.since, Callers: a.callers()}
	}
	slices.SortFunc(out, func(a, b Flight) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What))
	})
	return out
}

// String names what is asked: resolveDigest asks for a digest as if it were a tag.
func (k tagKey) String() string {
	name := k.scope.Registry + "/" + k.scope.Repository
	if d := digest.Digest(k.tag); d.Validate() == nil {
		return name + "@" + k.tag
	}
	return name + ":" + k.tag
}

func (k objectKey) String() string {
	return oci.Reference{Registry: k.scope.Registry, Repository: k.scope.Repository, Digest: k.digest}.String()
}

// String names the file, or, where its digest is not known, the blob that it is in.
func (k contentKey) String() string {
	if k.sum == [32]byte{} {
		return k.blob.String()
	}
	return digest.NewDigestFromBytes(digest.SHA256, k.sum[:]).String()
}
