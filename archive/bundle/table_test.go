package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

var blob = &oci.Descriptor{Digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}

func samples() []bundle.Member {
	return []bundle.Member{
		{Name: "b", Blob: blob, Offset: 512, Size: 3, Sum: sha256.Sum256([]byte("abc")), Mode: 0o644},
		{Name: "a/ünï", Blob: blob, Offset: 1536, Sum: sha256.Sum256(nil), Mode: 0o777, ModTime: math.MinInt64},
		{Name: "z", Blob: blob, Offset: 2048, Size: math.MaxInt64 - 2048, ModTime: math.MaxInt64},
	}
}

func TestTable(t *testing.T) {
	for n := range len(samples()) + 1 {
		want := samples()[:n]
		raw := bundle.Marshal(want)
		got, err := bundle.Unmarshal(raw, blob)
		clear(raw) // nothing of it is kept
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d members: %+v, %v", n, got, err)
		}
	}
}

// TestTableFormat has the bytes of a table: caches that were filled before must be read, or be of another version.
func TestTableFormat(t *testing.T) {
	m := samples()[:1]
	m[0].ModTime = -1
	want := "bmt\x01" + "\x01" + "\x01b" + "\x80\x04" + "\x03" + "\xa4\x03" + "\x01" + string(m[0].Sum[:])
	if got := string(bundle.Marshal(m)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	alter := func(f func(m []bundle.Member)) []byte {
		m := samples()
		f(m)
		return bundle.Marshal(m)
	}
	good := bundle.Marshal(samples())
	for _, c := range []struct {
		name string
		raw  []byte
		says string
	}{
		{"empty", nil, "version"},
		{"version", append([]byte("bmt\x02"), good[4:]...), "version"},
		{"longer", append(bytes.Clone(good), 0), "follow"},
		{"more members than bytes", binary.AppendUvarint([]byte("bmt\x01"), 1<<40), "can't hold"},
		{"no count", []byte("bmt\x01\x80"), "cut off"},
		{"a name that leaves", alter(func(m []bundle.Member) { m[0].Name = "../b" }), `"../b"`},
		{"no name", alter(func(m []bundle.Member) { m[0].Name = "" }), `""`},
		{"twice", alter(func(m []bundle.Member) { m[2].Name = "b" }), "twice"},
		{"another order", alter(func(m []bundle.Member) { m[0], m[1] = m[1], m[0] }), "impossible"},
		{"overlap", alter(func(m []bundle.Member) { m[0].Size = 1025 }), "impossible"},
		{"ends past all", alter(func(m []bundle.Member) { m[2].Offset++ }), "impossible"},
		{"offset is negative", alter(func(m []bundle.Member) { m[0].Offset = -1 }), "impossible"},
		{"size is negative", alter(func(m []bundle.Member) { m[0].Size = -1 }), "impossible"},
		{"mode", alter(func(m []bundle.Member) { m[0].Mode |= 1 << 9 }), "impossible"},
	} {
		t.Run(c.name, func(t *testing.T) {
			members, err := bundle.Unmarshal(c.raw, blob)
			refused(t, members, err, c.says, blob.Digest.String())
		})
	}
	for n := range good {
		members, err := bundle.Unmarshal(good[:n], blob)
		refused(t, members, err)
	}
}

// FuzzUnmarshal feeds Unmarshal anything. What it accepts, Marshal writes so that it is read as the same; memory is a small
// multiple of the input.
func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(nil))
	for n := range len(samples()) + 1 {
		f.Add(bundle.Marshal(samples()[:n]))
	}
	f.Add([]byte("bmt\x01\x01" + strings.Repeat("\xff", 100)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		members, err := bundle.Unmarshal(raw, blob)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(16*len(raw))+256<<10 {
			t.Errorf("%d bytes allocated for a table of %d", grown, len(raw))
		}
		if err != nil {
			if !errors.Is(err, fault.IndexInvalid) || members != nil {
				t.Errorf("%v, %v", members, err)
			}
			return
		}
		again, err := bundle.Unmarshal(bundle.Marshal(members), blob)
		if err != nil || !reflect.DeepEqual(again, members) {
			t.Errorf("%v\nread again: %v, %v", members, again, err)
		}
	})
}
