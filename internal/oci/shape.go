package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// minDescriptor is the least that a descriptor takes of a manifest: its digest, the shortest of which is a sha256. It
// keeps what is allocated to a small multiple of what was sent: `{},` is three bytes, and a Descriptor in memory 72.
const minDescriptor = len("sha256:") + 64

// checkShape refuses JSON that two readers may understand differently: a key that is said twice, or in another spelling
// than the specification's, which encoding/json takes for the same and others do not. It also refuses lists of more
// descriptors than raw has room for. It needs little memory whatever raw is.
func checkShape(raw []byte) error {
	if !json.Valid(raw) { // which bounds the depth, too
		return errors.New("not JSON")
	}
	s := shape{dec: json.NewDecoder(bytes.NewReader(raw)), most: len(raw) / minDescriptor}
	s.dec.UseNumber()
	return s.value("", 0)
}

// shape is the walk through a manifest.
type shape struct {
	dec  *json.Decoder
	most int // elements of a list of descriptors
}

// value walks through what stands under key, so many objects deep.
func (s *shape) value(key string, depth int) error {
	token, err := s.dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		return s.object(key, depth)
	case json.Delim('['):
		descriptors := depth == 1 && (key == "layers" || key == "manifests")
		for n := 1; s.dec.More(); n++ {
			if descriptors && n > s.most {
				return fmt.Errorf("its %s are more than it has room for", key)
			}
			if err := s.value("", depth); err != nil {
				return err
			}
		}
		_, err = s.dec.Token()
	}
	return err
}

func (s *shape) object(of string, depth int) error {
	seen := make(map[string]struct{})
	for s.dec.More() {
		token, err := s.dec.Token()
		if err != nil {
			return err
		}
		key := token.(string)
		if _, twice := seen[key]; twice {
			return fmt.Errorf("it says %.64q twice", key)
		}
		seen[key] = struct{}{}
		if of != "annotations" && misspelt(key) {
			return fmt.Errorf("it has a key %.64q, in a spelling that not all would read", key)
		}
		if err := s.value(key, depth+1); err != nil {
			return err
		}
	}
	_, err := s.dec.Token()
	return err
}

// misspelt reports whether encoding/json takes key for one that we read, though it is not that.
func misspelt(key string) bool {
	known := []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations", "digest", "size",
	}
	return !slices.Contains(known, key) && slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, key) })
}
