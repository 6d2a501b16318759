package storetest

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/vfs"
)

func contains(s, sub string) bool {
	for i := range s {
		if len(s)-i >= len(sub) && s[i:i+len(sub)] == sub {
			return true
		}
	}
	return false
}

func kept(r store.Report, reason string) store.Kept {
	for _, k := range r.Kept {
		if k.Reason == reason {
			return k
		}
	}
	return store.Kept{}
}

func testPrune(t *testing.T, open Opener) {
	build := func(t *testing.T) (*store.Store, *Clock, []store.Key, store.Options) {
		clock := NewClock()
		opts := Options(t, 16<<20)
		opts.Now = clock.Now
		s := open(t, opts)
		var keys []store.Key
		for i := range 20 {
			if i == 10 {
				clock.Add(time.Hour)
			}
			keys = append(keys, put(t, s.Class("data"), Data(uint64(i), 8000)))
		}
		keys = append(keys, put(t, s.Class("small"), Data(100, 8000)))
		return s, clock, keys, opts
	}
	t.Run("unused", func(t *testing.T) {
		s, _, keys, opts := build(t)
		s.Class("data").SetPinned(slices.Values(keys[:2]), true)
		o, err := s.Class("data").Open(keys[2], nil) // read just now
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		for _, dry := range []bool{true, false} {
			r, err := s.Prune(t.Context(), store.PruneOptions{UnusedFor: 30 * time.Minute, DryRun: dry})
			if err != nil || r.FreedEntries != 7 || r.FreedBytes != 7*8192 || kept(r, store.KeptPinned).Entries != 2 {
				t.Errorf("dry %v: %+v, %v", dry, r, err)
			}
			if s.Class("data").Contains(keys[5]) != dry {
				t.Errorf("dry %v: wrong", dry)
			}
		}
		SameAsDisk(t, s, opts)
	})
	t.Run("to a target", func(t *testing.T) {
		s, _, keys, opts := build(t)
		s.Class("data").Lease(keys[0], "x", time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
		target := s.Usage().Bytes - 3*8192 + 1
		for _, dry := range []bool{true, false} {
			r, err := s.Prune(t.Context(), store.PruneOptions{Target: target, DryRun: dry})
			if err != nil || r.FreedEntries > 3 || r.FreedEntries == 0 || kept(r, store.KeptInUse).Entries != 1 {
				t.Errorf("dry %v: %+v, %v", dry, r, err)
			}
			if !dry && r.Bytes > target {
				t.Errorf("%d bytes are left", r.Bytes)
			}
		}
		if s.Class("data").Contains(keys[1]) || !s.Class("data").Contains(keys[19]) || !s.Class("small").Contains(keys[20]) {
			t.Error("not the coldest went")
		}
		SameAsDisk(t, s, opts)
	})
	t.Run("to a target, of what is unused", func(t *testing.T) {
		s, _, keys, _ := build(t)
		r, err := s.Prune(t.Context(), store.PruneOptions{Target: 1, UnusedFor: 30 * time.Minute})
		if err != nil || r.FreedEntries != 10 || s.Class("data").Contains(keys[9]) || !s.Class("data").Contains(keys[10]) {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("nothing asked for", func(t *testing.T) {
		s, _, _, _ := build(t)
		if r, err := s.Prune(t.Context(), store.PruneOptions{}); err != nil || r.FreedEntries != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("clear", func(t *testing.T) {
		s, _, keys, opts := build(t)
		s.Class("data").SetPinned(slices.Values(keys[:1]), true)
		r, err := s.Clear(t.Context(), []string{"data"})
		if err != nil || r.FreedEntries != 19 || kept(r, store.KeptPinned) != (store.Kept{Reason: "pinned", Entries: 1, Bytes: 8192}) {
			t.Errorf("%+v, %v", r, err)
		}
		r, err = s.Clear(t.Context(), nil)
		if err != nil || r.FreedEntries != 1 || len(r.Kept) != 1 || r.Bytes != s.Usage().Bytes {
			t.Errorf("%+v, %v", r, err)
		}
		SameAsDisk(t, s, opts)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Clear(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// testDisk is about disks that others fill, or that refuse to be written.
func testDisk(t *testing.T, open Opener) {
	t.Run("min_free is kept", func(t *testing.T) {
		opts := Options(t, 16<<20)
		disk := WithoutSync()
		obs := &Observer{}
		opts.FS, opts.Observer, opts.MinFree = disk, obs, 1<<30
		disk.SetDisk(vfs.Disk{Size: 100 << 30, Free: 50 << 30})
		clock := NewClock()
		opts.Now = clock.Now
		s := open(t, opts)
		c := s.Class("data")
		flood(t, c, 1, 20, nil)
		if n := obs.Evictions("data", store.ReasonMinFree); n != 0 {
			t.Errorf("%d were evicted with 50 GiB free", n)
		}
		disk.SetDisk(vfs.Disk{Size: 100 << 30, Free: 1<<30 - 100*kib})
		clock.Add(time.Minute)
		if _, err := c.Create(t.Context(), store.DerivedKey("more"), 60*kib); !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("written although the disk is full: %v", err)
		}
		if n := obs.Evictions("data", store.ReasonMinFree); n == 0 {
			t.Error("nothing was evicted on a full disk")
		}
		disk.SetDisk(vfs.Disk{Size: 100 << 30, Free: 50 << 30})
		put(t, c, Data(100, 60*kib))
		u := s.Usage()
		if u.DiskFree != 50<<30 && u.DiskFree < 49<<30 || u.MinFree != 1<<30 {
			t.Errorf("%+v", u)
		}
	})
	t.Run("min_free by default", func(t *testing.T) {
		for size, want := range map[int64]int64{10 << 30: 512 << 20, 1 << 40: 2 << 30} {
			opts := Options(t, 16<<20)
			disk := WithoutSync()
			disk.SetDisk(vfs.Disk{Size: size, Free: size})
			opts.FS, opts.MinFree = disk, -1
			if u := open(t, opts).Usage(); u.MinFree != want {
				t.Errorf("disk of %d: %d are kept free", size, u.MinFree)
			}
		}
	})
	for _, refuse := range []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO} {
		t.Run("serves from a disk that refuses writes: "+refuse.Error(), func(t *testing.T) {
			opts := Options(t, 16<<20)
			s := open(t, opts)
			data := Data(1, 1000)
			k := put(t, s.Class("data"), data)
			p := openPartial(t, s.Class("blocks"), k, len(data))
			fill(t, p, data, 0)
			p.Close()
			closeStore(t, s)
			disk := WithoutSync()
			obs := &Observer{}
			opts.FS, opts.Observer = disk, obs
			writes := func(op, _ string) bool {
				switch op {
				case "Create", "OpenRW", "Rename", "MkdirAll", "File.WriteAt", "File.Write", "File.Truncate", "Remove", "SyncDir":
					return true
				}
				return false
			}
			disk.FailIf(func(op, name string) bool { return writes(op, name) && name != opts.Dir }, 1, refuse, true)
			s = open(t, opts)
			<-s.Scanned()
			if !has(t, s.Class("data"), k) {
				t.Error("object is not served")
			}
			p, err := s.Class("blocks").OpenPartial(k, int64(len(data)), false)
			if err != nil {
				t.Fatal(err)
			}
			if !same(present(t, p, data), []int{0}) {
				t.Error("block is not served")
			}
			p.Close()
			if err := s.Class("data").Put(t.Context(), store.DerivedKey("x"), data); !errors.Is(err, refuse) {
				t.Errorf("put: %v", err)
			}
			if ps := obs.Problems(); len(ps) == 0 || !errors.Is(ps[len(ps)-1], refuse) || s.Usage().Problem == nil {
				t.Errorf("the observer heard %v", ps)
			}
			disk.Fail(0, nil, false)
			put(t, s.Class("data"), Data(2, 1000))
			if ps := obs.Problems(); ps[len(ps)-1] != nil || s.Usage().Problem != nil {
				t.Errorf("the problem has not ended: %v", ps)
			}
			SameAsDisk(t, s, opts)
		})
	}
}
