package bundle_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/internal/fault"
)

// FuzzRead feeds Read anything, as a bundle (packed) or as the tar in one. What it accepts has members that are where it
// says in what the standard library decodes, visit sees the same, and their table is read as it was written.
func FuzzRead(f *testing.F) {
	for _, stream := range [][]byte{
		nil, end(),
		join(file("a", "some text"), file("./b/c", ""), header("d/", '5', 0, ""), end()),
		join(pax("path=long", "mtime=1.5", "size=2"), header("x", '0', 0, ""), padded("xx"), end()),
		join(header("././@LongLink", 'L', 5, ""), padded("long\x00"), file("x", "a"), end()),
		join(header("l", '2', 0, "a"), end()),
		join(pax("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=4096"), file("x", "1\n0\n1\n"+strings.Repeat("\x00", 506)+"a"), end()),
	} {
		f.Add(stream, false)
		f.Add(gz(f, stream), true)
		f.Add(join(gz(f, stream[:len(stream)/2]), gz(f, stream[len(stream)/2:])), true)
	}
	limits := bundle.Limits{Members: 50, Bytes: 1 << 20}
	f.Fuzz(func(t *testing.T, raw []byte, packed bool) {
		if !packed {
			raw = gz(t, raw)
		}
		blob := descriptor(raw)
		var seen []bundle.Member
		members, err := bundle.Read(bytes.NewReader(raw), blob, limits, func(m *bundle.Member, content io.Reader) error {
			n, err := io.Copy(io.Discard, content)
			if err == nil && n != m.Size {
				t.Errorf("%q: %d bytes of %d", m.Name, n, m.Size)
			}
			if err == nil {
				seen = append(seen, *m)
			}
			return err
		})
		if err != nil {
			if !errors.Is(err, fault.IndexInvalid) || members != nil || len(err.Error()) > 2000 {
				t.Errorf("%v, %v", members, err)
			}
			return
		}
		r, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("accepted, but: %v", err)
		}
		stream, err := io.ReadAll(r)
		if err != nil || int64(len(stream)) > limits.Bytes || len(members) > limits.Members {
			t.Fatalf("%d bytes, %d members, %v", len(stream), len(members), err)
		}
		checkMembers(t, members, stream, blob)
		if !reflect.DeepEqual(seen, members) {
			t.Errorf("visited %v, returned %v", seen, members)
		}
		again, err := bundle.Unmarshal(bundle.Marshal(members), blob)
		if err != nil || len(again) != len(members) || len(members) > 0 && !reflect.DeepEqual(again, members) {
			t.Errorf("%v\nread again: %v, %v", members, again, err)
		}
	})
}
