package fetcher

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/blobd/blobd/internal/fault"
)

func TestLargeRoom(t *testing.T) {
	const limit = 4 << 20
	for name, c := range map[string]struct {
		size      int64
		announced int64
		takes     bool
	}{
		"small":             {1000, 1000, false},
		"small, unknown":    {1000, -1, false},
		"large":             {1 << 20, 1 << 20, true},
		"large, unknown":    {1 << 20, -1, true},
		"just large":        {smallManifest, smallManifest, true},
		"all that may be":   {limit, limit, true},
		"too large":         {limit + 10, limit + 10, true},
		"too large, hidden": {limit + 10, -1, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLargeRoom()
			want := bytes.Repeat([]byte("x"), int(c.size))
			raw, release, err := l.read(t.Context(), iotest.HalfReader(bytes.NewReader(want)), c.announced, limit)
			if err != nil || !bytes.Equal(raw, want[:min(c.size, limit+1)]) {
				t.Fatalf("%d bytes, %v", len(raw), err)
			}
			if (release != nil) != c.takes {
				t.Fatalf("takes room: %v", release != nil)
			}
			if release == nil {
				return
			}
			if c.size >= limit && l.bytes.TryAcquire(1) {
				t.Error("there is room beside it")
			}
			release()
			if !l.bytes.TryAcquire(largeManifests) {
				t.Error("not all was given back")
			}
		})
	}
	t.Run("cut short", func(t *testing.T) {
		l := newLargeRoom()
		body := io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(io.ErrUnexpectedEOF))
		if _, _, err := l.read(t.Context(), body, -1, limit); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		if !l.bytes.TryAcquire(largeManifests) {
			t.Error("not all was given back")
		}
	})
	t.Run("no room", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLargeRoom()
			_ = l.bytes.Acquire(context.Background(), largeManifests)
			if _, _, err := l.read(t.Context(), bytes.NewReader(make([]byte, 1<<20)), -1, limit); !errors.Is(err, fault.LocalOverload) {
				t.Error(err)
			}
		})
	})
}
