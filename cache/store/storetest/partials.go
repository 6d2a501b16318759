package storetest

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/blobd/blobd/cache/store"
)

// blocks cuts data into blocks.
func block(data []byte, i int) []byte {
	return data[i*store.BlockSize : min((i+1)*store.BlockSize, len(data))]
}

func openPartial(t *testing.T, c *store.Class, k store.Key, size int) *store.Partial {
	t.Helper()
	p, err := c.OpenPartial(k, int64(size), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fill(t *testing.T, p *store.Partial, data []byte, blocks ...int) {
	t.Helper()
	res, err := p.Reserve(t.Context(), len(blocks))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Release()
	for _, i := range blocks {
		if err := p.WriteBlock(res, i, block(data, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// present returns which blocks can be read, and fails on wrong bytes.
func present(t *testing.T, p *store.Partial, data []byte) (blocks []int) {
	t.Helper()
	buf := make([]byte, store.BlockSize)
	for i := range p.Blocks() {
		n, err := p.ReadBlock(i, buf)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			t.Fatal(err)
		case !bytes.Equal(buf[:n], block(data, i)):
			t.Fatalf("block %d has wrong bytes", i)
		default:
			blocks = append(blocks, i)
		}
	}
	return blocks
}

func same(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func testPartials(t *testing.T, open Opener) {
	opts := Options(t, 64<<20)
	s := open(t, opts)
	c := s.Class("blocks")
	reopen := func() { closeStore(t, s); s = open(t, opts); c = s.Class("blocks") }

	t.Run("filled block by block, over restarts", func(t *testing.T) {
		for _, size := range []int{1, store.BlockSize, store.BlockSize + 1, 20*store.BlockSize - 5} {
			data := Data(uint64(size), size)
			k := KeyFor(data)
			if _, err := c.OpenPartial(k, int64(size), false); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("absent: %v", err)
			}
			p := openPartial(t, c, k, size)
			last := p.Blocks() - 1
			if p.Has(last) || p.Complete() || p.Size() != int64(size) {
				t.Errorf("size %d: a new one has block %d", size, last)
			}
			fill(t, p, data, last)
			if !p.Has(last) || !same(present(t, p, data), []int{last}) {
				t.Errorf("size %d: block %d is not there", size, last)
			}
			for i := range last {
				fill(t, p, data, i)
			}
			if !p.Complete() {
				t.Errorf("size %d: not complete", size)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		SameAsDisk(t, s, opts)
		reopen()
		for _, size := range []int{1, store.BlockSize, store.BlockSize + 1, 20*store.BlockSize - 5} {
			data := Data(uint64(size), size)
			p, err := c.OpenPartial(KeyFor(data), int64(size), false)
			if err != nil {
				t.Fatal(err)
			}
			if got := present(t, p, data); len(got) != p.Blocks() || !p.Complete() {
				t.Errorf("size %d: after a restart there are %v", size, got)
			}
			p.Close()
		}
	})
	t.Run("sparse", func(t *testing.T) {
		const size = 1 << 40
		k := store.DerivedKey("sparse")
		p, err := c.OpenPartial(k, size, true)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		data := Data(1, store.BlockSize)
		res, err := p.Reserve(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Release()
		for _, i := range []int{0, p.Blocks() - 1} {
			if err := p.WriteBlock(res, i, data); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.Size(k); got > 3*store.BlockSize {
			t.Errorf("two blocks take %d bytes", got)
		}
		if err := p.WriteBlock(res, 7, data); !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("a third block of a reservation of two: %v", err)
		}
		if _, err := p.Reserve(t.Context(), 2<<10); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("room for 128 MiB in 64 MiB: %v", err)
		}
	})
	t.Run("handles share what is there", func(t *testing.T) {
		data := Data(2, 5*store.BlockSize)
		k := KeyFor(data)
		a, b := openPartial(t, c, k, len(data)), openPartial(t, c, k, len(data))
		fill(t, a, data, 1)
		if !same(present(t, b, data), []int{1}) {
			t.Error("the other handle does not have the block")
		}
		if _, err := c.OpenPartial(k, 7, true); err == nil {
			t.Error("opened with another size beside")
		}
		a.Close()
		fill(t, b, data, 2)
		b.Drop(1, 2)
		if !same(present(t, b, data), []int{2}) {
			t.Error("dropped block is still there")
		}
		fill(t, b, data, 1)
		b.Close()
		p := openPartial(t, c, k, len(data))
		defer p.Close()
		if got := present(t, p, data); !same(got, []int{1, 2}) {
			t.Errorf("after closing there are %v", got)
		}
	})
	t.Run("bad arguments", func(t *testing.T) {
		data := Data(3, store.BlockSize+10)
		p := openPartial(t, c, KeyFor(data), len(data))
		defer p.Close()
		for i, b := range map[int][]byte{-1: block(data, 0), 2: block(data, 0), 0: data[:5], 1: data[:11]} {
			if err := p.WriteBlock(nil, i, b); err == nil {
				t.Errorf("block %d of %d bytes was written", i, len(b))
			}
		}
		if p.Has(-1) || p.Has(2) {
			t.Error("has blocks that don't exist")
		}
		if err := p.WriteBlock(nil, 0, block(data, 0)); err != nil {
			t.Error(err)
		}
		if _, err := p.ReadBlock(0, make([]byte, 5)); !errors.Is(err, io.ErrShortBuffer) {
			t.Error(err)
		}
		if _, err := c.OpenPartial(KeyFor(nil), 0, true); err == nil {
			t.Error("a partial of no bytes was opened")
		}
	})
	t.Run("of another size", func(t *testing.T) {
		k := store.DerivedKey("resized")
		openPartial(t, c, k, 100).Close()
		if _, err := c.OpenPartial(k, 200, false); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
		p := openPartial(t, c, k, 200) // nothing is lost
		defer p.Close()
		if p.Size() != 200 || p.Has(0) {
			t.Errorf("size %d, has block 0: %v", p.Size(), p.Has(0))
		}
	})
	t.Run("who is wrong about the size destroys nothing", func(t *testing.T) {
		data := Data(5, 600*store.BlockSize) // the last blocks are in a second piece of the table
		k := KeyFor(data)
		p := openPartial(t, c, k, len(data))
		fill(t, p, data, 599)
		for _, open := range []bool{true, false} {
			if !open {
				p.Close()
			}
			for _, size := range []int64{1, int64(len(data)) - 1, 1 << 40} {
				if _, err := c.OpenPartial(k, size, true); !errors.Is(err, store.ErrOtherSize) {
					t.Errorf("open %v, of %d bytes: %v", open, size, err)
				}
				if _, err := c.OpenPartial(k, size, false); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("open %v, of %d bytes, not to be made: %v", open, size, err)
				}
			}
		}
		p = openPartial(t, c, k, len(data))
		defer p.Close()
		if got := present(t, p, data); !same(got, []int{599}) {
			t.Errorf("left are %v", got)
		}
	})
	t.Run("of a size that can't be", func(t *testing.T) {
		for _, size := range []int64{1<<40 + 1, math.MaxInt64 - store.BlockSize, math.MaxInt64} {
			if _, err := c.OpenPartial(store.DerivedKey("giant"), size, true); !errors.Is(err, store.ErrTooLarge) {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	})
	t.Run("dropping what is not there takes no room", func(t *testing.T) {
		k := store.DerivedKey("dropped")
		p, err := c.OpenPartial(k, 16<<30, true)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.WriteBlock(nil, 5000, Data(6, store.BlockSize)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(opts.Dir, "blocks", k.String()[4:6], k.String())
		before := Du(t, path)
		p.Drop(-1, p.Blocks()+1)
		if after := Du(t, path); before == 0 || after != before || p.Has(5000) {
			t.Errorf("it took %d bytes, and takes %d; the block is there: %v", before, after, p.Has(5000))
		}
	})
	t.Run("concurrently", func(t *testing.T) {
		data := Data(4, 64*store.BlockSize-100)
		k := KeyFor(data)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				p, err := c.OpenPartial(k, int64(len(data)), true)
				if err != nil {
					t.Error(err)
					return
				}
				defer p.Close()
				buf := make([]byte, store.BlockSize)
				for i := range p.Blocks() {
					i = (i*7 + w*11) % p.Blocks()
					n, err := p.ReadBlock(i, buf)
					if err == nil && !bytes.Equal(buf[:n], block(data, i)) {
						t.Errorf("block %d has wrong bytes", i)
					}
					if err := p.WriteBlock(nil, i, block(data, i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		p := openPartial(t, c, k, len(data))
		defer p.Close()
		if !p.Complete() || len(present(t, p, data)) != p.Blocks() {
			t.Error("not complete")
		}
	})
}

// partialDamage is what can happen to the file of a partial of partialSize bytes that has the blocks 0, 1 and 3.
type partialDamage struct {
	name  string
	do    func(string) error
	want  []int // blocks that are left
	count int
}

// partialSize makes four blocks.
const partialSize = 4*store.BlockSize - 50

// partialDamages has one for each field of the file's format.
func partialDamages() []partialDamage {
	const blocks, size = 4, partialSize
	const header, records = blocks * store.BlockSize, blocks*store.BlockSize + 64
	at := func(n int64) func(int64) int64 { return func(int64) int64 { return n } }
	return []partialDamage{
		{"bytes of a block", flip(at(store.BlockSize + 5)), []int{0, 3}, 1},
		{"bytes of the last block", flip(at(size - 1)), []int{0, 1}, 1},
		{"bytes of an absent block", flip(at(2*store.BlockSize + 5)), []int{0, 1, 3}, 0},
		{"padding before the header", flip(at(size + 3)), []int{0, 1, 3}, 0},
		{"magic", flip(at(header)), nil, 1},
		{"version", flip(at(header + 8)), nil, 1},
		{"block size", flip(at(header + 12)), nil, 1},
		{"size", flip(at(header + 16)), nil, 1},
		{"kind", flip(at(header + 24)), nil, 1},
		{"sum", flip(at(header + 28)), nil, 1},
		{"header's checksum", flip(at(header + 60)), nil, 1},
		{"checksum of a block", flip(at(records + 8)), []int{0, 3}, 1},
		{"guard of a block", flip(at(records + 12)), []int{0, 3}, 1},
		{"record of an absent block", flip(at(records + 16)), []int{0, 1, 3}, 1},
		{"record moved to another block", func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			var b [8]byte
			if _, err := f.ReadAt(b[:], records); err != nil {
				return err
			}
			_, err = f.WriteAt(b[:], records+16)
			return err
		}, []int{0, 1, 3}, 1},
		{"cut in half", truncate(func(n int64) int64 { return n / 2 }), nil, 1},
		{"last record cut", truncate(func(n int64) int64 { return n - 8 }), nil, 1},
		{"emptied", truncate(at(0)), nil, 1},
		{"longer", truncate(func(n int64) int64 { return n + 1 }), nil, 1},
		{"removed", os.Remove, nil, 0},
	}
}

func testBadPartials(t *testing.T, open Opener) {
	const blocks, size = 4, partialSize
	for i, d := range partialDamages() {
		t.Run(d.name, func(t *testing.T) {
			opts := Options(t, 16<<20)
			obs := &Observer{}
			opts.Observer = obs
			s := open(t, opts)
			c := s.Class("blocks")
			data := Data(uint64(i), size)
			k := KeyFor(data)
			p := openPartial(t, c, k, size)
			fill(t, p, data, 0, 1, 3)
			p.Close()
			if err := d.do(filepath.Join(opts.Dir, "blocks", k.String()[7:9], k.String())); err != nil {
				t.Fatal(err)
			}
			p = openPartial(t, c, k, size)
			if got := present(t, p, data); !same(got, d.want) {
				t.Errorf("left are %v, not %v", got, d.want)
			}
			if got := obs.Corruptions("blocks"); got != d.count {
				t.Errorf("%d corruptions were counted", got)
			}
			for i := range p.Blocks() {
				fill(t, p, data, i)
			}
			if got := present(t, p, data); !p.Complete() || len(got) != blocks {
				t.Errorf("after it was fetched again there are %v", got)
			}
			p.Close()
			SameAsDisk(t, s, opts)
		})
	}
}
