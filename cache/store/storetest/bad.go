package storetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/cache/store"
)

// damage is what can happen to a file between two readings.
type damage struct {
	name    string
	do      func(path string) error
	count   bool // it is a corruption, not just absent
	stays   bool // what is there now is not ours to remove
	inPlace bool // who has the file open is affected
}

func flip(at func(size int64) int64) func(string) error {
	return func(path string) error {
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		var b [1]byte
		if _, err := f.ReadAt(b[:], at(fi.Size())); err != nil {
			return err
		}
		b[0] ^= 0x10
		_, err = f.WriteAt(b[:], at(fi.Size()))
		return err
	}
}

func truncate(size func(int64) int64) func(string) error {
	return func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.Truncate(path, size(fi.Size()))
	}
}

func damages() []damage {
	inPlace := func(name string, do func(string) error) damage {
		return damage{name: name, do: do, count: true, inPlace: true}
	}
	instead := func(name string, make func(string) error) damage {
		do := func(path string) error { return errors.Join(os.Rename(path, path+".away"), make(path)) }
		return damage{name: name, do: do, count: true, stays: true}
	}
	all := []damage{
		inPlace("first byte flipped", flip(func(int64) int64 { return 0 })),
		inPlace("middle byte flipped", flip(func(n int64) int64 { return n / 2 })),
		inPlace("last byte flipped", flip(func(n int64) int64 { return n - 1 })),
		inPlace("cut in half", truncate(func(n int64) int64 { return n / 2 })),
		inPlace("last byte cut", truncate(func(n int64) int64 { return n - 1 })),
		inPlace("emptied", truncate(func(int64) int64 { return 0 })),
		inPlace("longer", truncate(func(n int64) int64 { return n + 1 })),
		inPlace("written over", overwrite),
		inPlace("written over, its time put back", keepingTime(overwrite)),
		{name: "replaced", do: replace, count: true},
		{name: "removed", do: os.Remove},
		instead("a folder", func(path string) error { return os.Mkdir(path, 0o700) }),
		instead("a link", func(path string) error { return os.Symlink(path+".away", path) }),
	}
	for name, make := range special() {
		all = append(all, instead(name, make))
	}
	return all
}

// overwrite puts as many other bytes in the place of a file's.
func overwrite(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, Data(99, int(fi.Size())), 0o600))
}

// replace puts another file of the same size in a file's place.
func replace(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path+".new", Data(98, int(fi.Size())), 0o600), os.Rename(path+".new", path))
}

// keepingTime makes a damage one that does not show in the file's mtime.
func keepingTime(do func(string) error) func(string) error {
	return func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		return errors.Join(do(path), os.Chtimes(path, fi.ModTime(), fi.ModTime()))
	}
}

func testBadObjects(t *testing.T, open Opener) {
	for _, restart := range []bool{false, true} {
		for i, d := range damages() {
			name := d.name
			if restart {
				name += " before a restart"
			}
			t.Run(name, func(t *testing.T) {
				opts := Options(t, 16<<20)
				obs := &Observer{}
				opts.Observer = obs
				s := open(t, opts)
				c := s.Class("data")
				data := Data(uint64(i), 10_000)
				k := put(t, c, data)
				path := filepath.Join(opts.Dir, "data", k.String()[7:9], k.String())
				if restart {
					closeStore(t, s)
				} else if !has(t, c, k) {
					t.Fatal("not there to begin with")
				}
				if err := d.do(path); err != nil {
					t.Fatal(err)
				}
				if restart {
					s = open(t, opts)
					c = s.Class("data")
					<-s.Scanned()
				}
				if _, err := c.Open(k, CheckSum(k)); !errors.Is(err, store.ErrNotFound) {
					t.Fatalf("a bad object is not a miss: %v", err)
				}
				if got := obs.Corruptions("data"); (got == 1) != d.count && !(restart && d.stays) {
					t.Errorf("%d corruptions were counted", got)
				}
				if c.Contains(k) {
					t.Error("it is still contained")
				}
				if d.name == "a folder" {
					return // it stays in the way
				}
				put(t, c, data)
				if got, err := c.Get(k, nil); err != nil || !bytes.Equal(got, data) {
					t.Errorf("after it was fetched again: %d bytes, %v", len(got), err)
				}
				if !d.stays {
					SameAsDisk(t, s, opts)
				}
			})
		}
	}
}
