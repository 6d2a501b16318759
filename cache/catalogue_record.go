package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/oci"
)

// record is one change of the catalogue, and one line of its journal:
//
//	1 <crc32c of the JSON, 8 hex digits> <JSON>
//
// where 1 is the format's version. An empty line goes before each, so that damage to a line's end reaches no other.
type record struct {
	Op       op         `json:"op"`
	Artifact *Artifact  `json:"artifact,omitempty"` // of artifact, pin
	Contents []byte     `json:"contents,omitempty"` // of pin: packKeys
	Name     *name      `json:"name,omitempty"`     // of unpin, forget, tag
	Tag      string     `json:"tag,omitempty"`      // of tag
	Scope    *oci.Scope `json:"scope,omitempty"`    // of grant, revoke
	Until    time.Time  `json:"until,omitzero"`     // of grant
	Proof    []byte     `json:"proof,omitempty"`    // of prove
}

type op string

const (
	opArtifact op = "artifact" // an artifact is known, or known differently
	opPin      op = "pin"      // an artifact is known, and pinned
	opUnpin    op = "unpin"
	opForget   op = "forget"
	opGrant    op = "grant"
	opRevoke   op = "revoke"
	opProve    op = "prove"
	opTag      op = "tag"
)

const recordVersion = "1"

// line returns r as it stands in the journal.
func (r record) line() ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	line := make([]byte, 0, len(body)+16)
	line = fmt.Appendf(line, "\n%s %08x ", recordVersion, checksum(body))
	line = append(line, body...)
	return append(line, '\n'), nil
}

func checksum(body []byte) uint32 { return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) }

// parseRecord reads a line without its newlines. What it returns is fit for state.apply. It never panics, whatever the
// line is.
func parseRecord(line []byte) (record, error) {
	version, rest, _ := bytes.Cut(line, []byte(" "))
	sum, body, ok := bytes.Cut(rest, []byte(" "))
	if !ok || string(version) != recordVersion || len(sum) != 8 {
		return record{}, errors.New("not a record of this version")
	}
	if want, err := strconv.ParseUint(string(sum), 16, 32); err != nil || uint32(want) != checksum(body) {
		return record{}, errors.New("its checksum does not match")
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return record{}, err
	}
	return r, r.validate()
}

// validate reports what r lacks for what it is.
func (r record) validate() error {
	var ok bool
	switch r.Op {
	case opArtifact:
		ok = r.Artifact != nil && r.Artifact.validate() == nil
	case opPin:
		ok = r.Artifact != nil && r.Artifact.validate() == nil && len(r.Contents)%packedKey == 0
	case opUnpin, opForget, opTag:
		ok = r.Name != nil && r.Name.validate() == nil
	case opGrant, opRevoke:
		ok = r.Scope != nil
	case opProve:
		ok = len(r.Proof) == sha256.Size
	}
	if !ok {
		return fmt.Errorf("a record of %q that lacks something", r.Op)
	}
	return nil
}

// packedKey is the size of a packed key: its kind and its sum.
const packedKey = 1 + sha256.Size

// packKeys returns keys one after the other: a pinned archive may have a million files.
func packKeys(keys []store.Key) []byte {
	packed := make([]byte, 0, len(keys)*packedKey)
	for _, k := range keys {
		packed = append(packed, byte(k.Kind))
		packed = append(packed, k.Sum[:]...)
	}
	return packed
}

// unpackKeys is the inverse of packKeys. What is left over of packed is ignored.
func unpackKeys(packed []byte) []store.Key {
	keys := make([]store.Key, 0, len(packed)/packedKey)
	for ; len(packed) >= packedKey; packed = packed[packedKey:] {
		keys = append(keys, store.Key{Kind: store.Kind(packed[0]), Sum: [sha256.Size]byte(packed[1:packedKey])})
	}
	return keys
}
