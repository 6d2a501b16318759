package cache

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Refs knows what tags were when the registry was last asked. Scopes share nothing: what one may see says nothing about
// another. Each tag is a small record that is overwritten whole; a lost or damaged one is a miss.
type Refs struct{ class *store.Class }

// Ref is what a tag was.
type Ref struct {
	Digest    digest.Digest `json:"digest,omitempty"`    // "" where Missing
	MediaType string        `json:"mediaType,omitempty"` // of the manifest; may be ""
	CheckedAt time.Time     `json:"checkedAt"`           // when the registry said so
	Missing   bool          `json:"missing,omitempty"`   // the registry said that there is no such tag
}

// valid reports whether r says anything.
func (r Ref) valid() bool {
	if r.Missing {
		return r.Digest == ""
	}
	return r.Digest.Validate() == nil
}

// refKind is the first part of a tag's key.
const refKind = "ref"

func refParts(scope oci.Scope, tag string) []string {
	return []string{refKind, scope.Principal, scope.Registry, scope.Repository, scope.Credential, tag}
}

// Get returns what tag was for scope. It does not judge how long ago that was.
func (r *Refs) Get(scope oci.Scope, tag string) (Ref, bool) {
	payload, ok := getRecord(r.class, refParts(scope, tag))
	if !ok {
		return Ref{}, false
	}
	return decodeRef(payload)
}

// Put remembers what tag is for scope, durably, in place of what was known. It fails with fault.InvalidDigest for a Ref
// that says nothing, and with the store's errors.
func (r *Refs) Put(ctx context.Context, scope oci.Scope, tag string, ref Ref) error {
	if !ref.valid() {
		return fault.New(fault.InvalidDigest, "tag %s of %s/%s: digest %q", tag, scope.Registry, scope.Repository, ref.Digest)
	}
	payload, err := json.Marshal(ref)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "tag %s of %s/%s", tag, scope.Registry, scope.Repository)
	}
	return putRecord(ctx, r.class, refParts(scope, tag), payload)
}

// Delete forgets what tag was for scope.
func (r *Refs) Delete(scope oci.Scope, tag string) {
	parts := refParts(scope, tag)
	if _, err := r.class.Remove(store.DerivedKey(parts...), store.ReasonRemoved); err != nil {
		// Somebody is reading it: a record that says nothing takes its place. A disk that refuses is told by the store.
		_ = putRecord(context.Background(), r.class, parts, nil)
	}
}

func decodeRef(payload []byte) (Ref, bool) {
	var ref Ref
	if err := json.Unmarshal(payload, &ref); err != nil || !ref.valid() {
		return Ref{}, false
	}
	return ref, true
}

// pointingAt returns the keys of the records, of any scope, that say a tag of registry/repository is d.
func (r *Refs) pointingAt(ctx context.Context, registry, repository string, d digest.Digest) ([]store.Key, error) {
	var keys []store.Key
	err := r.class.Walk(ctx, func(key store.Key) error {
		raw, err := r.peek(key)
		if err != nil {
			return nil // gone meanwhile, or bad: nothing that points anywhere
		}
		parts, payload, err := decodeRecord(raw)
		if err != nil || len(parts) != 6 || parts[0] != refKind || parts[2] != registry || parts[3] != repository {
			return nil
		}
		if ref, ok := decodeRef(payload); ok && ref.Digest == d {
			keys = append(keys, key)
		}
		return nil
	})
	return keys, err
}

// peek returns the record under key; that does not count as reading it.
func (r *Refs) peek(key store.Key) ([]byte, error) {
	o, err := r.class.Peek(key, nil)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
}
