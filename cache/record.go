package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/blobd/blobd/cache/store"
)

// A record is a small file of ours: it says itself which key it belongs to, so that one that is damaged, or that stands
// under another's name, is seen to be bad. The layout is
//
//	magic and version, 8 bytes · sha256 of the rest, 32 bytes · number of parts · each part with its length · payload
//
// with unsigned varints for the numbers. The parts are those of the store's derived key.
const recordMagic = "blobd\x00r\x01"

// recordParts bounds the parts of a key: no key of ours has more than six.
const recordParts = 16

var errRecord = errors.New("not a record of ours")

// encodeRecord returns the record of payload under the derived key of parts.
func encodeRecord(parts []string, payload []byte) []byte {
	body := binary.AppendUvarint(nil, uint64(len(parts)))
	for _, p := range parts {
		body = binary.AppendUvarint(body, uint64(len(p)))
		body = append(body, p...)
	}
	body = append(body, payload...)
	sum := sha256.Sum256(body)
	return slices.Concat([]byte(recordMagic), sum[:], body)
}

// decodeRecord reads a record; payload is part of raw. It never panics, whatever raw is.
func decodeRecord(raw []byte) (parts []string, payload []byte, err error) {
	rest, ok := bytes.CutPrefix(raw, []byte(recordMagic))
	if !ok || len(rest) < sha256.Size {
		return nil, nil, errRecord
	}
	sum, body := rest[:sha256.Size], rest[sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(sum, got[:]) {
		return nil, nil, errors.New("its checksum does not match")
	}
	number := func() (uint64, bool) {
		n, size := binary.Uvarint(body)
		if size <= 0 {
			return 0, false
		}
		body = body[size:]
		return n, true
	}
	count, ok := number()
	if !ok || count > recordParts {
		return nil, nil, errRecord
	}
	for range count {
		n, ok := number()
		if !ok || n > uint64(len(body)) {
			return nil, nil, errRecord
		}
		parts = append(parts, string(body[:n]))
		body = body[n:]
	}
	return parts, body, nil
}

// recordFor reads the record in raw if it is the one of these parts.
func recordFor(raw []byte, parts []string) (payload []byte, err error) {
	got, payload, err := decodeRecord(raw)
	if err == nil && !slices.Equal(got, parts) {
		err = fmt.Errorf("it is the record of %q", got)
	}
	return payload, err
}

// recordUnder checks that raw is a record that belongs under key.
func recordUnder(raw []byte, key store.Key) error {
	parts, _, err := decodeRecord(raw)
	if err == nil && store.DerivedKey(parts...) != key {
		err = fmt.Errorf("it is the record of %q", parts)
	}
	return err
}

// getRecord returns the payload of the record of parts.
func getRecord(class *store.Class, parts []string) ([]byte, bool) {
	check := func(raw []byte) error {
		_, err := recordFor(raw, parts)
		return err
	}
	raw, err := class.Get(store.DerivedKey(parts...), check)
	if err != nil {
		return nil, false
	}
	payload, err := recordFor(raw, parts)
	return payload, err == nil
}

// putRecord writes, or overwrites, the record of parts.
func putRecord(ctx context.Context, class *store.Class, parts []string, payload []byte) error {
	return kept(class.Put(ctx, store.DerivedKey(parts...), encodeRecord(parts, payload)))
}

// kept makes the answer of a cache that is off no error: nobody expects it to keep anything.
func kept(err error) error {
	if errors.Is(err, store.ErrOff) {
		return nil
	}
	return err
}
