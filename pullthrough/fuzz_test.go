package pullthrough_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

// What a read of FuzzRead is made under.
const (
	fuzzZstd     = 1 << iota
	fuzzCold     // nothing is cached
	fuzzNoBlocks // whole files may be cached, parts are not
	fuzzWhole    // the registry knows no ranges
	fuzzVerified
	fuzzNoCache
	fuzzNear // offset and length are taken near the file's size, where the edges are
)

// FuzzRead: a read of any part of a file of any size, wherever its bytes are just then, is that slice of the file, or the
// one error that its offset deserves; and no more than the blocks that hold it come for it.
func FuzzRead(f *testing.F) {
	sizes := []int64{0, 1, block - 1, block, block + 1, 3*block + 7, 20 * block}
	for file := range sizes {
		for _, at := range []int64{0, 1, block - 1, block, 2*block + 5, math.MaxInt64, -1, math.MinInt64} {
			for _, length := range []int64{0, 1, block, -1, math.MaxInt64} {
				f.Add(uint8(file), at, length, uint8(file*37)^uint8(at)^uint8(length))
			}
		}
	}
	b := start(f)
	var files []archivetest.File
	for i, size := range sizes {
		data := random(uint64(i), size)
		if i%2 == 0 {
			data = repetitive(uint64(i), size)
		}
		files = append(files, archivetest.File{Path: fmt.Sprintf("f%d", i), Data: data})
	}
	b.up.push("stored", files, archivetest.Options{})
	b.up.push("zstd", files, archivetest.Options{Zstd: true})
	archives := [2]*pullthrough.Archive{b.pull(repo+":stored", pullthrough.Options{}), b.pull(repo+":zstd", pullthrough.Options{})}
	f.Fuzz(func(t *testing.T, file uint8, offset, length int64, flags uint8) {
		want := files[int(file)%len(files)]
		size := int64(len(want.Data))
		if flags&fuzzNear != 0 {
			offset, length = offset%(size+2), length%(size+2)
		}
		var drop []string
		switch {
		case flags&fuzzCold != 0:
			drop = []string{"content", "block"}
		case flags&fuzzNoBlocks != 0:
			drop = []string{"block"}
		}
		if drop != nil {
			if _, err := b.caches.Clear(t.Context(), drop); err != nil {
				t.Fatal(err)
			}
		}
		quiet := b.Status().Flights == 0 // what still comes for a read before this one would be counted too
		b.up.set(func(u *upstream) { u.noRanges, u.spans = flags&fuzzWhole != 0, nil })
		o := pullthrough.Options{RequireVerified: flags&fuzzVerified != 0, NoCache: flags&fuzzNoCache != 0}
		got, st, err := b.read(t.Context(), archives[flags&fuzzZstd], want.Path, offset, length, o)
		reason := map[bool]fault.Reason{offset < 0: fault.InvalidArgument, offset > size: fault.OutOfRange}[true]
		if reason != "" {
			if !errors.Is(err, reason) {
				t.Fatalf("%d bytes from %d of %d: %v, want %s", length, offset, size, err, reason)
			}
			return
		}
		end := size
		if length >= 0 && length < size-offset {
			end = offset + length
		}
		if err != nil || !bytes.Equal(got, want.Data[offset:end]) {
			t.Fatalf("%d bytes from %d of %d: %d bytes, %v", length, offset, size, len(got), err)
		}
		if (o.RequireVerified || end-offset == size) && !st.Verified() {
			t.Errorf("%d bytes from %d of %d are not verified", length, offset, size)
		}
		if quiet && flags&(fuzzZstd|fuzzWhole|fuzzVerified) == 0 && end-offset < size {
			b.up.mu.Lock()
			defer b.up.mu.Unlock()
			var came int64
			for _, span := range b.up.spans {
				came += span[1]
			}
			if most := (end-offset)/block*block + 2*block; came > most {
				t.Errorf("%d bytes came for %d from %d of %d", came, end-offset, offset, size)
			}
		}
	})
}
