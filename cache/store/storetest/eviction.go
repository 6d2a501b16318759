package storetest

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store"
)

const kib = 1 << 10

func flood(t *testing.T, c *store.Class, seed uint64, n int, also func()) {
	t.Helper()
	for i := range n {
		put(t, c, Data(seed+uint64(i), 60*kib))
		if also != nil {
			also()
		}
	}
}

func testEviction(t *testing.T, open Opener) {
	t.Run("what is read stays", func(t *testing.T) {
		opts := Options(t, 4<<20)
		s := open(t, opts)
		c := s.Class("data")
		var hot, cold []store.Key
		for i := range 10 {
			hot = append(hot, put(t, c, Data(uint64(1000+i), 60*kib)))
			cold = append(cold, put(t, c, Data(uint64(2000+i), 60*kib)))
		}
		flood(t, c, 3000, 200, func() {
			for _, k := range hot {
				if !has(t, c, k) {
					t.Fatal("an object that was read all the time is gone")
				}
			}
		})
		for _, k := range cold {
			if c.Contains(k) {
				t.Error("an object that was not read for 200 others is still there")
			}
		}
	})
	t.Run("what is inspected is not read", func(t *testing.T) {
		s := open(t, Options(t, 4<<20))
		c, blocks := s.Class("data"), s.Class("blocks")
		k := put(t, c, Data(1, 60*kib))
		p := openPartial(t, blocks, k, 60*kib)
		fill(t, p, Data(1, 60*kib), 0)
		p.Close()
		flood(t, c, 100, 150, func() {
			if o, err := c.Peek(k, CheckSum(k)); err == nil {
				o.Close()
			}
			if p, err := blocks.OpenPartial(k, store.AnySize, false); err == nil {
				present(t, p, Data(1, 60*kib))
				p.Close()
			}
		})
		if c.Contains(k) || blocks.Contains(k) {
			t.Error("still there")
		}
	})
	t.Run("bulk data goes first", func(t *testing.T) {
		s := open(t, Options(t, 4<<20))
		var small []store.Key
		for i := range 50 {
			small = append(small, put(t, s.Class("small"), Data(uint64(i), 1000)))
		}
		flood(t, s.Class("data"), 100, 150, nil)
		for _, k := range small {
			if !s.Class("small").Contains(k) {
				t.Error("a small object went for bulk data")
			}
		}
	})
	t.Run("recency counts across classes of bulk data, and demoted partials go first", func(t *testing.T) {
		s := open(t, Options(t, 4<<20))
		data, blocks := s.Class("data"), s.Class("blocks")
		first := put(t, data, Data(1, 60*kib))
		bytes := Data(2, 4*store.BlockSize)
		cold, kept := store.DerivedKey("demoted"), store.DerivedKey("kept")
		for _, k := range []store.Key{cold, kept} {
			p := openPartial(t, blocks, k, len(bytes))
			fill(t, p, bytes, 0, 1, 2, 3)
			p.Close()
		}
		p := openPartial(t, blocks, cold, len(bytes))
		p.Demote()
		p.Close()
		for i := 0; blocks.Contains(cold) && i < 200; i++ {
			put(t, data, Data(uint64(100+i), 60*kib))
		}
		if blocks.Contains(cold) {
			t.Fatal("the demoted partial is never evicted")
		}
		for i := 0; blocks.Contains(kept) && i < 200; i++ {
			put(t, data, Data(uint64(400+i), 60*kib))
		}
		if blocks.Contains(kept) || data.Contains(first) {
			t.Error("old entries of either class are still there")
		}
	})
	t.Run("each class under its cap", func(t *testing.T) {
		opts := Options(t, 16<<20)
		opts.Classes[1].Cap = 1 << 20
		s := open(t, opts)
		blob := put(t, s.Class("blocks"), Data(9, 100))
		flood(t, s.Class("data"), 100, 60, func() {
			if u := s.Usage().Classes[1]; u.Bytes+u.Reserved > u.Limit || u.Limit != 1<<20 {
				t.Fatalf("%d bytes of %d", u.Bytes+u.Reserved, u.Limit)
			}
		})
		if !s.Class("blocks").Contains(blob) {
			t.Error("another class had to give way")
		}
	})
	t.Run("caps scale down with the total", func(t *testing.T) {
		opts := Options(t, 8<<20)
		opts.Classes = append(opts.Classes, store.ClassOptions{Name: "big", Cap: 7 << 20})
		u := open(t, opts).Usage()
		if sum := u.Classes[0].Limit + u.Classes[3].Limit; sum > 2<<20 || u.Classes[3].Limit < 6*u.Classes[0].Limit {
			t.Errorf("limits %d and %d", u.Classes[0].Limit, u.Classes[3].Limit)
		}
	})
	t.Run("larger than may ever be", func(t *testing.T) {
		s := open(t, Options(t, 4<<20))
		if _, err := s.Class("data").Create(t.Context(), store.DerivedKey("x"), 4<<20); !errors.Is(err, store.ErrTooLarge) {
			t.Error(err)
		}
		if _, err := s.Class("small").Create(t.Context(), store.DerivedKey("x"), 2<<20); !errors.Is(err, store.ErrTooLarge) {
			t.Error(err)
		}
		if _, err := s.Class("data").Create(t.Context(), store.DerivedKey("x"), math.MaxInt64); !errors.Is(err, store.ErrTooLarge) {
			t.Error(err)
		}
	})
	t.Run("a large one finds room in a store full of old ones", func(t *testing.T) {
		const size, total = 10 << 20, 16 << 20
		piece := Data(7, 1<<20)
		for name, keep := range map[string]func(*store.Store) error{
			"of known size": func(s *store.Store) error {
				return putPieces(t.Context(), s.Class("data"), piece, size, size)
			},
			"of unknown size": func(s *store.Store) error {
				return putPieces(t.Context(), s.Class("data"), piece, -1, size)
			},
			"in blocks": func(s *store.Store) error {
				p := openPartial(t, s.Class("blocks"), store.DerivedKey("large"), size)
				defer p.Close()
				res, err := p.Reserve(t.Context(), p.Blocks())
				if err != nil {
					return err
				}
				defer res.Release()
				for i := range p.Blocks() {
					if err := p.WriteBlock(res, i, piece[:store.BlockSize]); err != nil {
						return err
					}
				}
				return nil
			},
		} {
			t.Run(name, func(t *testing.T) {
				opts := Options(t, total)
				s := open(t, opts)
				for i := range 140 {
					put(t, s.Class("data"), Data(uint64(100+i), 125*kib))
				}
				k := put(t, s.Class("small"), Data(1, 1000))
				if err := keep(s); err != nil {
					t.Fatal(err)
				}
				if u := s.Usage(); u.Bytes > u.Limit || !s.Class("small").Contains(k) {
					t.Errorf("%+v", u)
				}
				SameAsDisk(t, s, opts)
			})
		}
	})
	t.Run("limits change while it runs", func(t *testing.T) {
		s := open(t, Options(t, 16<<20))
		flood(t, s.Class("data"), 1, 100, nil)
		s.SetLimits(2<<20, 0, nil)
		if _, err := s.Class("data").Create(t.Context(), store.DerivedKey("x"), 3<<20); !errors.Is(err, store.ErrTooLarge) {
			t.Error(err)
		}
		put(t, s.Class("data"), Data(500, 10)) // waits for the evictor
		if u := s.Usage(); u.Bytes+u.Reserved > 2<<20 {
			t.Errorf("%d bytes of %d", u.Bytes, u.Limit)
		}
	})
}

// putPieces puts an object of size bytes that is announced with another size, piece by piece.
func putPieces(ctx context.Context, c *store.Class, piece []byte, announced, size int64) error {
	w, err := c.Create(ctx, store.DerivedKey("large"), announced)
	if err != nil {
		return err
	}
	defer w.Close()
	for w.Size() < size {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return w.Commit()
}

func testHeld(t *testing.T, open Opener) {
	t.Run("open, leased and pinned entries stay", func(t *testing.T) {
		clock := NewClock()
		opts := Options(t, 4<<20)
		opts.Now = clock.Now
		s := open(t, opts)
		c := s.Class("data")
		var keys []store.Key
		for i := range 5 {
			keys = append(keys, KeyFor(Data(uint64(i), 60*kib)))
		}
		c.SetPinned(slices.Values(keys[3:]), true) // before it is there
		for i := range keys {
			put(t, c, Data(uint64(i), 60*kib))
		}
		opened, err := c.Open(keys[0], CheckSum(keys[0]))
		if err != nil {
			t.Fatal(err)
		}
		c.Lease(keys[1], "a", clock.Now().Add(time.Hour))
		c.Lease(keys[2], "a", clock.Now().Add(time.Hour))
		c.Lease(keys[2], "b", clock.Now().Add(3*time.Hour))
		c.SetPinned(slices.Values(keys[4:]), true) // twice
		stay := func(want ...bool) {
			t.Helper()
			flood(t, c, 100, 150, nil)
			for i, k := range keys {
				if c.Contains(k) != want[i] {
					t.Errorf("entry %d is there: %v", i, !want[i])
				}
			}
		}
		stay(true, true, true, true, true)
		u := s.Usage().Classes[1]
		if u.Pinned != 2 || u.InUse != 3 || u.PinnedBytes < 120*kib || u.InUseBytes < 180*kib {
			t.Errorf("usage %+v", u)
		}
		for i, want := range []error{store.ErrInUse, store.ErrInUse, store.ErrInUse, store.ErrPinned, store.ErrPinned} {
			if _, err := c.Remove(keys[i], store.ReasonRemoved); !errors.Is(err, want) {
				t.Errorf("entry %d: %v", i, err)
			}
		}
		opened.Close()
		clock.Add(2 * time.Hour)
		c.SetPinned(slices.Values(keys[3:]), false)
		stay(false, false, true, false, true)
		clock.Add(2 * time.Hour)
		c.SetPinned(slices.Values(keys[4:]), false)
		stay(false, false, false, false, false)
	})
	t.Run("when all is held, no room is made", func(t *testing.T) {
		opts := Options(t, 4<<20)
		s := open(t, opts)
		c := s.Class("data")
		var err error
		var pinned []store.Key
		for i := 0; err == nil && i < 200; i++ {
			data := Data(uint64(i), 60*kib)
			pinned = append(pinned, KeyFor(data))
			c.SetPinned(slices.Values(pinned[i:]), true)
			err = c.Put(t.Context(), pinned[i], data)
		}
		if !errors.Is(err, store.ErrNoSpace) {
			t.Fatal(err)
		}
		for _, k := range pinned[:len(pinned)-1] {
			if !has(t, c, k) {
				t.Error("a pinned entry is gone")
			}
		}
		c.SetPinned(slices.Values(pinned), false)
		put(t, c, Data(1000, 60*kib))
	})
	t.Run("nothing goes in vain", func(t *testing.T) {
		s := open(t, Options(t, 4<<20))
		c := s.Class("data")
		var pinned, rest []store.Key
		for i := range 40 {
			data := Data(uint64(i), 60*kib)
			if i < 30 {
				pinned = append(pinned, KeyFor(data))
			} else {
				rest = append(rest, KeyFor(data))
			}
			put(t, c, data)
		}
		c.SetPinned(slices.Values(pinned), true)
		if _, err := c.Create(t.Context(), store.DerivedKey("large"), 3<<20); !errors.Is(err, store.ErrNoSpace) {
			t.Error(err)
		}
		for _, k := range rest {
			if !c.Contains(k) {
				t.Error("an entry was evicted for what can't fit")
			}
		}
	})
	t.Run("nothing goes in vain for what is being written", func(t *testing.T) {
		s := open(t, Options(t, 32<<20))
		c := s.Class("data")
		var rest []store.Key
		for i := range 10 {
			rest = append(rest, put(t, c, Data(uint64(i), 60*kib)))
		}
		w, err := c.Create(t.Context(), store.DerivedKey("large"), 20<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		for range 20 {
			if _, err := w.Write(Data(1, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Create(t.Context(), store.DerivedKey("another"), 16<<20); !errors.Is(err, store.ErrNoSpace) {
			t.Error(err)
		}
		for _, k := range rest {
			if !c.Contains(k) {
				t.Error("an entry was evicted for what can't fit")
			}
		}
	})
	t.Run("a caller can give up waiting", func(t *testing.T) {
		s := open(t, Options(t, 4<<20))
		<-s.Scanned()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		// Room is there, so the end of the context need not show; with none it must.
		w, err := s.Class("data").Create(ctx, store.DerivedKey("x"), 3<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := s.Class("data").Create(ctx, store.DerivedKey("y"), 3<<20); !errors.Is(err, context.Canceled) &&
			!errors.Is(err, store.ErrNoSpace) {
			t.Error(err)
		}
	})
	t.Run("removed files count until they are closed", func(t *testing.T) {
		s := open(t, Options(t, 16<<20))
		c := s.Class("data")
		k := put(t, c, Data(1, 1<<20))
		o, err := c.Open(k, nil)
		if err != nil {
			t.Fatal(err)
		}
		if freed, err := c.Remove(k, store.ReasonCorrupt); freed != 0 || err != nil {
			t.Errorf("freed %d, %v", freed, err)
		}
		if u := s.Usage().Classes[1]; u.Bytes < 1<<20 || u.Entries != 0 {
			t.Errorf("usage %+v", u)
		}
		put(t, c, Data(1, 1<<20))
		if u := s.Usage().Classes[1]; u.Bytes < 2<<20 {
			t.Errorf("usage %+v", u)
		}
		o.Close()
		if u := s.Usage().Classes[1]; u.Bytes > 1<<20+8*kib {
			t.Errorf("usage %+v", u)
		}
	})
}

// testBudget loads a small store with ten times its size from all sides, and looks again and again at what the disk has
// given up, at one moment.
func testBudget(t *testing.T, open Opener) {
	const maxSize = 8 << 20
	opts := Options(t, maxSize)
	disk := WithoutSync()
	opts.FS = disk
	s := open(t, opts)
	done, look := make(chan struct{}), make(chan struct{}, 1)
	var sampler, load sync.WaitGroup
	var most int64
	var samples int
	sampler.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-look:
			}
			disk.Freeze(func() { most = max(most, Du(t, opts.Dir)) })
			samples++
		}
	})
	for w := range 4 {
		load.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for written := 0; written < 10*maxSize/4; {
				n := 1 + r.IntN(400*kib)
				if r.IntN(3) == 0 {
					n = 1 + r.IntN(4*kib)
				}
				data := Data(r.Uint64N(400), n)
				written += n
				select {
				case look <- struct{}{}: // while the others, and soon we, are in the middle of something
				default:
				}
				var err error
				if r.IntN(3) > 0 {
					err = s.Class("data").Put(t.Context(), KeyFor(data), data)
				} else {
					err = loadPartial(t.Context(), s.Class("blocks"), data)
				}
				if err != nil && !errors.Is(err, store.ErrNoSpace) {
					t.Error(err)
					return
				}
			}
		})
	}
	load.Wait()
	close(done)
	sampler.Wait()
	t.Logf("%d samples, at most %d of %d bytes (%d %%)", samples, most, maxSize, most*100/maxSize)
	if most > maxSize {
		t.Errorf("the disk gave up %d bytes; the limit is %d", most, maxSize)
	}
	if most < maxSize*3/4 {
		t.Errorf("only %d bytes of %d were ever used", most, maxSize)
	}
	SameAsDisk(t, s, opts)
	if n := disk.OpenFiles(); n > 3 {
		t.Errorf("%d files are open", n)
	}
}

func loadPartial(ctx context.Context, c *store.Class, data []byte) error {
	p, err := c.OpenPartial(KeyFor(data), int64(len(data)), true)
	if err != nil {
		return err
	}
	defer p.Close()
	res, err := p.Reserve(ctx, p.Blocks())
	if err != nil {
		return err
	}
	defer res.Release()
	for i := range p.Blocks() {
		if i%3 == 2 {
			continue
		}
		if err := p.WriteBlock(res, i, block(data, i)); err != nil {
			return err
		}
	}
	return nil
}
