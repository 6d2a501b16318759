package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
)

// valid fails with fault.InvalidDigest for a digest that is malformed or of an algorithm that we don't know.
func valid(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fault.Wrap(fault.InvalidDigest, err, "digest %q", string(d))
	}
	return nil
}

// isDigest checks that a stream's bytes are those of d, which must be valid.
func isDigest(d digest.Digest) store.Check {
	return func(r io.Reader) error {
		v := d.Verifier()
		n, err := io.Copy(v, r)
		if err != nil {
			return err
		}
		if !v.Verified() {
			return fmt.Errorf("its %d bytes are not those of %s", n, d)
		}
		return nil
	}
}

// isBytesOf checks that raw is d's bytes.
func isBytesOf(d digest.Digest) func(raw []byte) error {
	return func(raw []byte) error { return isDigest(d)(bytes.NewReader(raw)) }
}

// isManifest checks that raw is d's bytes, and JSON.
func isManifest(d digest.Digest) func(raw []byte) error {
	return func(raw []byte) error {
		if err := isBytesOf(d)(raw); err != nil {
			return err
		}
		return isJSON(raw)
	}
}

func isJSON(raw []byte) error {
	if !json.Valid(raw) {
		return errors.New("it is not JSON")
	}
	return nil
}

// isKey checks that a stream's bytes are those of the digest that key stands for.
func isKey(key store.Key) store.Check {
	return func(r io.Reader) error {
		sum := newKeySum(key)
		if _, err := io.Copy(sum, r); err != nil {
			return err
		}
		return sum.check()
	}
}

// keySum hashes an entry's bytes as its key promises them. Of a sha256 the key holds the sum; of the other algorithms
// only a hash over the digest, so that each is tried.
type keySum struct {
	key  store.Key
	sums []digest.Digester
	n    int64
}

func newKeySum(key store.Key) *keySum {
	s := &keySum{key: key}
	if key.Kind == store.SHA256 {
		s.sums = []digest.Digester{digest.SHA256.Digester()}
	} else {
		s.sums = []digest.Digester{digest.SHA512.Digester(), digest.SHA384.Digester()}
	}
	return s
}

func (s *keySum) Write(p []byte) (int, error) {
	for _, d := range s.sums {
		_, _ = d.Hash().Write(p) // a hash takes everything
	}
	s.n += int64(len(p))
	return len(p), nil
}

// check reports whether what was written is what the key promises.
func (s *keySum) check() error {
	for _, d := range s.sums {
		if store.KeyOf(d.Digest()) == s.key {
			return nil
		}
	}
	return fmt.Errorf("its %d bytes are not those that its name promises", s.n)
}
