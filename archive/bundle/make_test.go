package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/oci"
)

// header is one block of a tar as its specification draws it, for what archive/tar refuses to write.
func header(name string, typeflag byte, size int64, link string) []byte {
	var b [512]byte
	copy(b[0:100], name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], "00000000000\x00")
	b[156] = typeflag
	copy(b[157:257], link)
	copy(b[257:], "ustar\x0000")
	return checksummed(b)
}

func checksummed(b [512]byte) []byte {
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b[:]
}

// padded is data up to the next block.
func padded(data string) []byte { return append([]byte(data), make([]byte, -len(data)&511)...) }

// file is a regular member, whole.
func file(name, data string) []byte {
	return append(header(name, '0', int64(len(data)), ""), padded(data)...)
}

// pax is an extended header that holds records about the member that follows it.
func pax(records ...string) []byte { return extended('x', records...) }

func extended(typeflag byte, records ...string) []byte {
	var body string
	for _, r := range records { // "<length of the line> <record>\n", the length's own digits counted
		n := len(r) + 3
		for len(fmt.Sprint(n))+len(r)+2 != n {
			n++
		}
		body += fmt.Sprintf("%d %s\n", n, r)
	}
	return append(header("pax", typeflag, int64(len(body)), ""), padded(body)...)
}

// end is what a tar ends with.
func end() []byte { return make([]byte, 1024) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func gz(t testing.TB, data ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for _, d := range data {
		if _, err := w.Write(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// written is what archive/tar makes of headers; those with a size get as many letters.
func written(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.ModTime.IsZero() {
			h.ModTime = time.Unix(0, 0)
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("a"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func descriptor(raw []byte) *oci.Descriptor {
	return &oci.Descriptor{Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}
