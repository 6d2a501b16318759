package pullthrough

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
)

// left is what is free in r.
func left(r *room) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.free
}

func mustTake(t *testing.T, r *room, n int64) *share {
	t.Helper()
	s, err := r.take(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoom(t *testing.T) {
	const total = 80 << 20
	t.Run("whoever fits goes first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom("tests", total)
			first := mustTake(t, r, 60<<20)
			var order []string
			large := make(chan *share)
			go func() {
				s, _ := r.take(t.Context(), 30<<20)
				order = append(order, "large")
				large <- s
			}()
			synctest.Wait()
			if !r.contended() {
				t.Error("nobody is seen to wait")
			}
			middling, small := mustTake(t, r, 10<<20), mustTake(t, r, 1000)
			order = append(order, "others")
			first.release()
			first.release() // again, which does nothing
			s := <-large
			if want := []string{"others", "large"}; !slices.Equal(order, want) {
				t.Errorf("%v", order)
			}
			for _, s := range []*share{s, middling, small} {
				s.release()
			}
			if left(r) != total {
				t.Errorf("%d of %d are left", left(r), total)
			}
		})
	})
	t.Run("small ones find room beside the largest", func(t *testing.T) {
		r := newRoom("tests", total)
		all := mustTake(t, r, 10*total)
		mustTake(t, r, smallShare).release()
		if all.tryGrow(1) {
			t.Error("it grows into what is kept for small ones")
		}
		all.shrink(total - smallReserve - 10<<20)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // it waits for nothing
		if _, err := r.take(ctx, 15<<20); err == nil {
			t.Error("a large one takes what is kept for small ones")
		}
		all.shrink(total / 2)
		if !all.tryGrow(blockSize) {
			t.Error("it doesn't grow")
		}
		all.release()
		if left(r) != total {
			t.Errorf("%d of %d are left", left(r), total)
		}
	})
	t.Run("patience ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRoom("tests", total)
			all := mustTake(t, r, total)
			began := time.Now()
			_, err := r.take(t.Context(), 10<<20)
			if !errors.Is(err, fault.LocalOverload) || time.Since(began) != patience {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := r.take(ctx, 10<<20); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			all.release()
			if left(r) != total || r.contended() {
				t.Errorf("%d of %d are left", left(r), total)
			}
		})
	})
}

// TestStalledFeed has the only reader of an unkept feed stop: its producer goes after a while, or stays where nobody wants
// what it has.
func TestStalledFeed(t *testing.T) {
	for name, needed := range map[string]func() bool{"wanted": func() bool { return true }, "unwanted": func() bool { return false }, "a connection": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom("tests", 80<<20)
				all := mustTake(t, r, 80<<20) // so that the window stays as small as can be
				f := newFeed(0, r, func(bool) {})
				f.needed = needed
				follower, _ := f.join(0)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var err error
				published := 0
				for ; err == nil; published++ {
					err = f.publishUnkept(ctx, []byte("x"))
				}
				want := errLagged
				if name == "unwanted" {
					want = nil
				}
				if published-1 != windowLeast || want != nil && err != want || want == nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v after %d chunks", err, published-1)
				}
				f.leave(follower)
				f.room.release()
				all.release()
				if left(r) != 80<<20 {
					t.Error("not all was given back")
				}
			})
		})
	}
}

// TestWindowGrows has a slow reader get as large a window as there is room for.
func TestWindowGrows(t *testing.T) {
	r := newRoom("tests", smallReserve+5*blockSize)
	f := newFeed(0, r, func(bool) {})
	f.join(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // it waits for nothing
	published := 0
	for f.publishUnkept(ctx, []byte("x")) == nil {
		published++
	}
	if published != windowLeast+5 {
		t.Errorf("%d chunks", published)
	}
}

// TestFitWindow has frames that ask for more memory than their files are long.
func TestFitWindow(t *testing.T) {
	small, smallFrame := archivetest.RunLength(200_000)
	large, largeFrame := archivetest.RunLength(20 << 20)
	wide := bytes.Clone(smallFrame)
	wide[5] = 17 << 3 // 128 MiB
	for name, c := range map[string]struct {
		content *io.SectionReader
		frame   []byte
		window  int64
	}{
		"8 MiB for 200 kB":   {small, smallFrame, 256 << 10},
		"128 MiB for 200 kB": {small, wide, 256 << 10},
		"8 MiB for 20 MiB":   {large, largeFrame, 8 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			frame := bytes.Clone(c.frame)
			if got := fitWindow(frame[:min(len(frame), 17)], c.content.Size()); got != c.window {
				t.Errorf("a window of %d, want %d", got, c.window)
			}
			z, err := newDecoder(bytes.NewReader(frame), c.window)
			if err != nil {
				t.Fatal(err)
			}
			defer z.Close()
			got, err := io.ReadAll(z)
			if err != nil || !bytes.Equal(got, archivetest.Bytes(c.content)) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	for name, head := range map[string][]byte{"nothing": nil, "no frame": []byte("no frame"), "skippable": {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0}} {
		if got := fitWindow(head, 1000); got != decoderWindow {
			t.Errorf("%s: a window of %d", name, got)
		}
	}
}
