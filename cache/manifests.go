package cache

import (
	"context"
	"encoding/json"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
)

// Manifests holds manifests, raw, by digest. The media type that one was served as is kept beside it where the body
// does not say the same.
type Manifests struct{ class *store.Class }

func mediaParts(d digest.Digest) []string { return []string{"media type", d.String()} }

// Get returns the manifest d and its media type. A manifest whose media type is not known is a miss.
func (m *Manifests) Get(d digest.Digest) (mediaType string, raw []byte, ok bool) {
	if valid(d) != nil {
		return "", nil, false
	}
	raw, err := m.class.Get(store.KeyOf(d), isManifest(d))
	if err != nil {
		return "", nil, false
	}
	mediaType = ownMediaType(raw)
	if served, ok := getRecord(m.class, mediaParts(d)); ok {
		mediaType = string(served)
	}
	return mediaType, raw, mediaType != ""
}

// Put keeps raw, the manifest d, which was served as mediaType ("": as its body says), durably. It fails with
// fault.DigestMismatch or fault.ManifestInvalid for what is not d's bytes or not JSON, and with the store's errors.
func (m *Manifests) Put(ctx context.Context, d digest.Digest, mediaType string, raw []byte) error {
	if err := valid(d); err != nil {
		return err
	}
	if err := isBytesOf(d)(raw); err != nil {
		return fault.Wrap(fault.DigestMismatch, err, "manifest %s", d)
	}
	if err := isJSON(raw); err != nil {
		return fault.Wrap(fault.ManifestInvalid, err, "manifest %s", d)
	}
	// The media type goes first: a crash between the two must not leave a manifest that is taken for another type.
	record := store.DerivedKey(mediaParts(d)...)
	if own := ownMediaType(raw); mediaType != "" && mediaType != own {
		if err := putRecord(ctx, m.class, mediaParts(d), []byte(mediaType)); err != nil {
			return err
		}
	} else if m.class.Contains(record) {
		_, _ = m.class.Remove(record, store.ReasonRemoved) // while it is in use it stays: it says what some registry did say
	}
	return kept(m.class.Put(ctx, store.KeyOf(d), raw))
}

// Contains reports whether the manifest d seems to be here, without reading it.
func (m *Manifests) Contains(d digest.Digest) bool {
	return valid(d) == nil && m.class.Contains(store.KeyOf(d))
}

// ownMediaType is what a manifest's body says of itself; "" when it says nothing.
func ownMediaType(raw []byte) string {
	var body struct {
		MediaType string `json:"mediaType"`
	}
	if json.Unmarshal(raw, &body) != nil {
		return ""
	}
	return body.MediaType
}
