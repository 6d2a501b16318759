package storetest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blobd/blobd/cache/store"
)

// readSome puts 40 objects and reads every other one: those must outlive the rest.
func readSome(t *testing.T, s *store.Store) (hot, cold []store.Key) {
	t.Helper()
	c := s.Class("data")
	for i := range 40 {
		k := put(t, c, Data(uint64(i), 60*kib))
		if i%2 == 0 {
			hot = append(hot, k)
		} else {
			cold = append(cold, k)
		}
	}
	for _, k := range hot {
		if !has(t, c, k) {
			t.Fatal("an object is gone too early")
		}
	}
	return hot, cold
}

// checkOrder puts more until half of what readSome left has to go, and looks whether it is the right half.
func checkOrder(t *testing.T, s *store.Store, hot, cold []store.Key) {
	t.Helper()
	<-s.Scanned()
	c := s.Class("data")
	for i := 0; slices.ContainsFunc(cold, c.Contains) && i < 100; i++ {
		put(t, c, Data(uint64(1000+i), 60*kib))
		for _, k := range hot {
			if !c.Contains(k) && slices.ContainsFunc(cold, c.Contains) {
				t.Fatalf("after %d more, an object that was read went before one that was not", i+1)
			}
		}
	}
	left := 0
	for _, k := range hot {
		if c.Contains(k) {
			left++
		}
	}
	if left < len(hot)/2 {
		t.Errorf("%d of %d objects that were read are left", left, len(hot))
	}
}

func testRestart(t *testing.T, open Opener) {
	t.Run("recency after a clean stop", func(t *testing.T) {
		opts := Options(t, 4<<20)
		s := open(t, opts)
		hot, cold := readSome(t, s)
		closeStore(t, s)
		checkOrder(t, open(t, opts), hot, cold)
	})
	t.Run("recency after a crash", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			opts := Options(t, 4<<20)
			s := open(t, opts)
			hot, cold := readSome(t, s)
			time.Sleep(store.FlushEvery + time.Second)
			synctest.Wait()
			opts.Dir = CopyDir(t, opts.Dir)
			closeStore(t, s)
			crashed := open(t, opts)
			checkOrder(t, crashed, hot, cold)
			closeStore(t, crashed)
		})
	})
	t.Run("what was written last before a crash is the latest", func(t *testing.T) {
		opts := Options(t, 4<<20)
		opts.Now = time.Now // files without a record are as old as their mtime
		s := open(t, opts)
		old := put(t, s.Class("data"), Data(1, 60*kib))
		flood(t, s.Class("data"), 500, 20, nil) // more than goes at once
		closeStore(t, s)
		s = open(t, opts)
		latest := put(t, s.Class("data"), Data(2, 60*kib))
		opts.Dir = CopyDir(t, opts.Dir)
		s = open(t, opts)
		<-s.Scanned()
		c := s.Class("data")
		for i := 0; c.Contains(old) && i < 100; i++ {
			put(t, c, Data(uint64(1000+i), 60*kib))
			if !c.Contains(latest) {
				t.Fatal("the latest went before the oldest")
			}
		}
		if c.Contains(old) {
			t.Error("the oldest is never evicted")
		}
	})
	t.Run("entries are served while they are scanned", func(t *testing.T) {
		opts := Options(t, 16<<20)
		s := open(t, opts)
		var keys []store.Key
		for i := range 30 {
			keys = append(keys, put(t, s.Class("data"), Data(uint64(i), 1000)))
		}
		opts.Dir = CopyDir(t, opts.Dir)
		for _, name := range []string{"snapshot", "journal"} {
			_ = os.Remove(filepath.Join(opts.Dir, name))
		}
		s = open(t, opts)
		for i, k := range keys {
			if !has(t, s.Class("data"), k) {
				t.Errorf("object %d is not found", i)
			}
		}
		<-s.Scanned()
		if u := s.Usage(); u.Scanning || u.Entries != 30 {
			t.Errorf("%+v", u)
		}
		SameAsDisk(t, s, opts)
	})
	t.Run("temporary files of a crash are removed, foreign files left and counted", func(t *testing.T) {
		opts := Options(t, 16<<20)
		s := open(t, opts)
		k := put(t, s.Class("data"), Data(1, 1000))
		closeStore(t, s)
		foreign := []string{filepath.Join("data", "README"), filepath.Join("data", k.String()[7:9], "x"), "other",
			filepath.Join("data", k.String()[7:9], "sha256-1234")}
		for _, name := range append(foreign, filepath.Join("data", "tmp", "77"), filepath.Join("small", "tmp", "x"), "snapshot.tmp") {
			if err := os.WriteFile(filepath.Join(opts.Dir, name), Data(1, 100*kib), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s = open(t, opts)
		<-s.Scanned()
		for _, name := range foreign {
			if _, err := os.Stat(filepath.Join(opts.Dir, name)); err != nil {
				t.Error(err)
			}
		}
		if files := append(Files(t, filepath.Join(opts.Dir, "data", "tmp")), Files(t, filepath.Join(opts.Dir, "small", "tmp"))...); len(files) != 0 {
			t.Errorf("left behind: %v", files)
		}
		if _, err := os.Stat(filepath.Join(opts.Dir, "snapshot.tmp")); err == nil {
			t.Error("left behind: snapshot.tmp")
		}
		if u := s.Usage(); u.Overhead < 400*kib || u.Entries != 1 {
			t.Errorf("%+v", u)
		}
		closeStore(t, s)
		s = open(t, opts) // the snapshot knows of them
		if u := s.Usage(); u.Overhead < 100*kib {
			t.Errorf("%+v", u)
		}
	})
	t.Run("one process at a time", func(t *testing.T) {
		opts := Options(t, 16<<20)
		s := open(t, opts)
		_, err := store.Open(opts)
		locked, ok := errors.AsType[*store.LockedError](err)
		if !ok || locked.PID != os.Getpid() || locked.Dir != opts.Dir {
			t.Fatalf("%v", err)
		}
		closeStore(t, s)
		open(t, opts)
	})
	t.Run("one process at a time in a folder of its own", func(t *testing.T) {
		opts, others := Options(t, 16<<20), Options(t, 16<<20)
		opts.Classes[1].Dir = filepath.Join(t.TempDir(), "disk")
		others.Classes[1].Dir = opts.Classes[1].Dir
		s := open(t, opts)
		_, err := store.Open(others)
		locked, ok := errors.AsType[*store.LockedError](err)
		if !ok || locked.PID != os.Getpid() || locked.Dir != others.Classes[1].Dir {
			t.Fatalf("%v", err)
		}
		closeStore(t, s)
		closeStore(t, open(t, others)) // nothing that it had begun with is in its way
		open(t, opts)
	})
	t.Run("a folder that can't be made", func(t *testing.T) {
		opts := Options(t, 16<<20)
		file := filepath.Join(opts.Dir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []*string{&opts.Dir, &opts.Classes[1].Dir} {
			was := *dir
			*dir = filepath.Join(file, "cache")
			if _, err := store.Open(opts); err == nil || !contains(err.Error(), file) {
				t.Errorf("%v", err)
			}
			*dir = was
		}
	})
	t.Run("a class that was switched off", func(t *testing.T) {
		opts := Options(t, 16<<20)
		s := open(t, opts)
		put(t, s.Class("data"), Data(1, 1000))
		closeStore(t, s)
		opts.Classes[1].Off = true
		s = open(t, opts)
		<-s.Scanned()
		if files := Files(t, filepath.Join(opts.Dir, "data")); len(files) != 0 {
			t.Errorf("it keeps %v", files)
		}
		SameAsDisk(t, s, opts)
	})
	t.Run("folders of their own", func(t *testing.T) {
		opts := Options(t, 16<<20)
		opts.Classes[1].Dir = filepath.Join(t.TempDir(), "deep", "down")
		s := open(t, opts)
		k := put(t, s.Class("data"), Data(1, 1000))
		closeStore(t, s)
		s = open(t, opts)
		if !has(t, s.Class("data"), k) {
			t.Error("not found")
		}
		SameAsDisk(t, s, opts)
	})
	t.Run("closed", func(t *testing.T) {
		s := open(t, Options(t, 16<<20))
		c := s.Class("data")
		k := put(t, c, Data(1, 1000))
		o, err := c.Open(k, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := c.Create(t.Context(), store.DerivedKey("late"), 10)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("late")); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		if _, err := o.ReadAt(make([]byte, 1000), 0); err != nil {
			t.Errorf("an object that was open: %v", err)
		}
		if err := w.Commit(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("commit: %v", err)
		}
		w.Close()
		o.Close()
		if err := c.Put(t.Context(), k, []byte("x")); !errors.Is(err, store.ErrClosed) {
			t.Errorf("put: %v", err)
		}
		if _, err := s.Clear(t.Context(), nil); !errors.Is(err, store.ErrClosed) {
			t.Errorf("clear: %v", err)
		}
		closeStore(t, s) // again
	})
	t.Run("who ends late does no harm to who came after", func(t *testing.T) {
		opts := Options(t, 16<<20)
		create := func(s *store.Store) *store.Writer {
			w, err := s.Class("data").Create(t.Context(), store.DerivedKey("late"), 10)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte("late")); err != nil {
				t.Fatal(err)
			}
			return w
		}
		s := open(t, opts)
		old := create(s)
		closeStore(t, s)
		s = open(t, opts)
		w := create(s)
		defer w.Close()
		old.Close()
		if err := w.Commit(); err != nil {
			t.Error(err)
		}
	})
}

// testBadHints damages the snapshot and the journal in every way: the store finds its entries nevertheless, and counts
// them right.
func testBadHints(t *testing.T, open Opener) {
	build := func(t *testing.T) (opts store.Options, keys []store.Key) {
		synctest.Test(t, func(t *testing.T) {
			opts = Options(t, 16<<20)
			s := open(t, opts)
			for i := range 10 {
				keys = append(keys, put(t, s.Class("data"), Data(uint64(i), 1000)))
			}
			closeStore(t, s)
			s = open(t, opts)
			for i := range 10 {
				keys = append(keys, put(t, s.Class("small"), Data(uint64(100+i), 5000)))
			}
			time.Sleep(store.FlushEvery + time.Second)
			synctest.Wait()
			from := opts.Dir
			opts.Dir, _ = os.MkdirTemp("", "")
			if err := os.CopyFS(opts.Dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			closeStore(t, s)
		})
		return opts, keys
	}
	made, keys := build(t)
	t.Cleanup(func() { os.RemoveAll(made.Dir) })
	for _, file := range []string{"snapshot", "journal"} {
		fi, err := os.Stat(filepath.Join(made.Dir, file))
		if err != nil || fi.Size() < 100 {
			t.Fatalf("%v, %v", fi, err)
		}
		all := damages()
		for at := int64(0); at < min(fi.Size(), 90); at += 5 {
			all = append(all, damage{name: "flipped at " + string(rune('A'+at/5)), do: flip(func(int64) int64 { return at })})
		}
		for at := int64(1); at < fi.Size(); at += 131 {
			all = append(all, damage{name: "cut", do: truncate(func(int64) int64 { return at })})
		}
		for _, d := range all {
			t.Run(file+" "+d.name, func(t *testing.T) {
				opts := made
				opts.Dir = CopyDir(t, made.Dir)
				if err := d.do(filepath.Join(opts.Dir, file)); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					s := open(t, opts)
					<-s.Scanned()
					for i, k := range keys {
						c := s.Class("data")
						if i >= 10 {
							c = s.Class("small")
						}
						if !has(t, c, k) {
							t.Fatalf("entry %d is lost", i)
						}
					}
					SameAsDisk(t, s, opts)
					put(t, s.Class("data"), Data(7, 100))
					// A folder in the place of one of ours is a problem that the user has to end.
					if err := s.Close(); err != nil && d.name != "a folder" {
						t.Fatal(err)
					}
				}
			})
		}
	}
}
