package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Kind says what the Sum of a Key is taken over.
type Kind uint8

const (
	SHA256  Kind = iota // the Sum is the sha256 digest of the entry's own bytes
	Derived             // the Sum is a sha256 over a canonical description of the key
)

// String returns the word that stands for the kind in file names.
func (k Kind) String() string {
	if k == SHA256 {
		return "sha256"
	}
	return "key"
}

// Key names one entry of a class.
type Key struct {
	Kind Kind
	Sum  [sha256.Size]byte
}

// KeyOf returns the key of what has digest d: the digest itself for sha256, and one derived from it for any other.
func KeyOf(d digest.Digest) Key {
	if d.Validate() == nil && d.Algorithm() == digest.SHA256 {
		var k Key
		if _, err := hex.Decode(k.Sum[:], []byte(d.Encoded())); err == nil {
			return k
		}
	}
	return Key{Kind: Derived, Sum: sha256.Sum256([]byte("digest\x00" + string(d)))}
}

// DerivedKey returns the key for a list of strings. Different lists have different keys: ("ab", "c") is not ("a", "bc").
func DerivedKey(parts ...string) Key {
	h := sha256.New()
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	k := Key{Kind: Derived}
	h.Sum(k.Sum[:0])
	return k
}

// String returns the key as it stands in file names: the kind and 64 hex digits.
func (k Key) String() string { return k.Kind.String() + "-" + hex.EncodeToString(k.Sum[:]) }

// parseKey is the inverse of String; it takes nothing that String does not produce.
func parseKey(name string) (Key, bool) {
	kind, sum, ok := strings.Cut(name, "-")
	if !ok || len(sum) != 2*sha256.Size || sum != strings.ToLower(sum) {
		return Key{}, false
	}
	var k Key
	switch kind {
	case "sha256":
	case "key":
		k.Kind = Derived
	default:
		return Key{}, false
	}
	_, err := hex.Decode(k.Sum[:], []byte(sum))
	return k, err == nil
}

// ref is a key and the class it is in: what the store's tables are keyed by.
type ref struct {
	key   Key
	class uint8
}

// shard is the number of the folder that an entry's file is in. It is also the number of the stripe that orders changes.
func (k Key) shard() uint8 { return k.Sum[0] }

func (c *Class) shardDir(shard uint8) string {
	return filepath.Join(c.dir, hex.EncodeToString([]byte{shard}))
}

func (c *Class) path(k Key) string { return filepath.Join(c.shardDir(k.shard()), k.String()) }
