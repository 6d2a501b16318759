package cache

import (
	"bytes"
	"slices"
	"testing"

	"github.com/blobd/blobd/cache/store"
)

func TestRecordTellsItsKey(t *testing.T) {
	raw := encodeRecord([]string{"ref", "", "a\x00b"}, []byte("payload"))
	payload, err := recordFor(raw, []string{"ref", "", "a\x00b"})
	if err != nil || string(payload) != "payload" {
		t.Fatalf("got %q, %v", payload, err)
	}
	if err := recordUnder(raw, store.DerivedKey("ref", "", "a\x00b")); err != nil {
		t.Errorf("under its own key: %v", err)
	}
	for name, parts := range map[string][]string{
		"another tag": {"ref", "", "c"}, "fewer parts": {"ref", ""}, "more parts": {"ref", "", "a\x00b", ""}, "none": nil,
	} {
		if _, err := recordFor(raw, parts); err == nil {
			t.Errorf("%s: it is taken for the record of %q", name, parts)
		}
		if err := recordUnder(raw, store.DerivedKey(parts...)); err == nil {
			t.Errorf("%s: it is taken for the one under the key of %q", name, parts)
		}
	}
}

func TestRecordDamaged(t *testing.T) {
	raw := encodeRecord([]string{"ref", "tag"}, []byte("payload"))
	for n := range raw {
		if _, _, err := decodeRecord(raw[:n]); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
		for bit := range 8 {
			bad := slices.Clone(raw)
			bad[n] ^= 1 << bit
			if _, _, err := decodeRecord(bad); err == nil {
				t.Errorf("bit %d of byte %d flipped: no error", bit, n)
			}
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(recordMagic))
	f.Add(encodeRecord(nil, nil))
	f.Add(encodeRecord([]string{"ref", "", "registry", "repository", "", "latest"}, []byte(`{"missing":true}`)))
	f.Add(encodeRecord(refParts(testScope, "v1"), []byte(`{"digest":"sha256:zz","checkedAt":"never"}`)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// What is hashed over is as hostile as can be: the checksum must not be what protects the parser.
		for _, raw := range [][]byte{raw, encodeRecord(nil, raw), sealed(raw)} {
			parts, payload, err := decodeRecord(raw)
			if err != nil {
				continue
			}
			if again, err := recordFor(encodeRecord(parts, payload), parts); err != nil || !bytes.Equal(again, payload) {
				t.Errorf("%x is read as %q, %x; written and read again as %x, %v", raw, parts, payload, again, err)
			}
			if ref, ok := decodeRef(payload); ok && !ref.valid() {
				t.Errorf("an invalid ref: %+v", ref)
			}
		}
	})
}
