package client_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"
	"testing/fstest"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/client/clienttest"
)

// FuzzFile: a file is what a bytes.Reader over its bytes is, whatever is done to it in whatever order: Read, ReadAt, Seek
// and WriteTo give the same bytes, offsets and ends. A failed Seek moves nothing.
func FuzzFile(f *testing.F) {
	sizes := []int{0, 1, 4096, 64<<10 - 1, 64 << 10, 200_003}
	tree := fstest.MapFS{}
	names := []string{"a", "b", "c", "d", "e", "f"}
	for i, size := range sizes {
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		tree[names[i]] = &fstest.MapFile{Data: data, Mode: 0o644}
	}
	d := clienttest.Start(f)
	d.Tag(ref, tree)
	c, err := client.Dial(f.Context(), client.WithSocket(d.Socket), client.WithStartTimeout(0))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	a, err := c.Pull(f.Context(), ref)
	if err != nil {
		f.Fatal(err)
	}
	for i := range sizes {
		f.Add(uint8(i), []byte("r\xf2\x00w\x00\x00"))
		f.Add(uint8(i), []byte("r\x10\x00R\xff\xffr\x00\x00w"))
		f.Add(uint8(i), []byte("a\x00\x01a\xff\x7fs\x00\x01r\x05\x00c\xfb\xffr\xff\x00e\x00\x00r\x01\x00"))
		f.Add(uint8(i), []byte("e\xff\xffr\x02\x00e\x05\x00r\x01\x00s\xff\xffs\x00\x00w\x00\x00r\x01\x00w"))
		f.Add(uint8(i), []byte("c\x00\x80r\x00\x00x\x00\x00a\x00\x80"))
	}
	f.Fuzz(func(t *testing.T, which uint8, script []byte) {
		if len(script) > 60 {
			script = script[:60]
		}
		name := names[int(which)%len(names)]
		opened, err := a.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		got := opened.(interface {
			io.ReadSeeker
			io.ReaderAt
			io.WriterTo
		})
		want := bytes.NewReader(tree[name].Data)
		for ; len(script) > 2; script = script[3:] {
			n := int64(int16(uint16(script[1]) | uint16(script[2])<<8))
			switch script[0] {
			case 'r': // Read may give less, so it is asked until it is full
				sameRead(t, got, want, n&0x7fff)
			case 'R':
				x, errX := io.ReadAll(got)
				y, errY := io.ReadAll(want)
				if !bytes.Equal(x, y) || errX != nil || errY != nil {
					t.Fatalf("ReadAll: %d bytes, %v; want %d", len(x), errX, len(y))
				}
			case 'w':
				var x, y bytes.Buffer
				nx, errX := got.WriteTo(&x)
				ny, errY := want.WriteTo(&y)
				if nx != ny || !bytes.Equal(x.Bytes(), y.Bytes()) || errX != nil || errY != nil {
					t.Fatalf("WriteTo: %d bytes, %v; want %d", nx, errX, ny)
				}
			case 'a':
				x, y := make([]byte, 777), make([]byte, 777)
				at := n * 3
				nx, errX := got.ReadAt(x, at)
				ny, errY := want.ReadAt(y, at)
				if nx != ny || !bytes.Equal(x[:nx], y[:ny]) || (errX == io.EOF) != (errY == io.EOF) || (errX == nil) != (errY == nil) {
					t.Fatalf("ReadAt %d: %d bytes, %v; want %d, %v", at, nx, errX, ny, errY)
				}
			default:
				whence := map[byte]int{'s': io.SeekStart, 'c': io.SeekCurrent, 'e': io.SeekEnd, 'x': 7}
				w, ok := whence[script[0]]
				if !ok {
					continue
				}
				x, errX := got.Seek(n*3, w)
				y, errY := want.Seek(n*3, w)
				if x != y || (errX == nil) != (errY == nil) {
					t.Fatalf("Seek %d %d: %d, %v; want %d, %v", n*3, w, x, errX, y, errY)
				}
			}
		}
		if err := opened.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := got.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
	})
}

func sameRead(t *testing.T, got, want io.Reader, n int64) {
	t.Helper()
	x, y := make([]byte, n), make([]byte, n)
	nx, errX := io.ReadFull(got, x)
	ny, errY := io.ReadFull(want, y)
	if nx != ny || !bytes.Equal(x[:nx], y[:ny]) || errX != errY {
		t.Fatalf("Read of %d: %d bytes, %v; want %d, %v", n, nx, errX, ny, errY)
	}
}
