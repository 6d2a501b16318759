package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/blobd/blobd/internal/vfs"
)

// damaged is a store whose files a fuzzer writes over, with what should be in it.
type damaged struct {
	files   map[string][]byte // by path below the folder
	objects [][]byte
	partial []byte
	written []int // blocks
}

func keyOfBytes(b []byte) Key { return Key{Kind: SHA256, Sum: sha256.Sum256(b)} }

func openDamaged(t testing.TB, dir string) *Store {
	s, err := Open(Options{Dir: dir, FS: unsynced{vfs.OS()}, MaxSize: 16 << 20, Classes: []ClassOptions{{Name: "a", Data: true}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// makeDamaged fills a store and keeps its files, as they are after Close, or as a kill leaves them.
func makeDamaged(f *testing.F, kill bool) damaged {
	bytesOf := func(seed byte, n int) []byte {
		b := make([]byte, n)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
		return b
	}
	d := damaged{files: map[string][]byte{}, partial: bytesOf(9, 2*BlockSize-11), written: []int{1}}
	dir := f.TempDir()
	s := openDamaged(f, dir)
	for i, n := range []int{1, 300, 5000} {
		d.objects = append(d.objects, bytesOf(byte(i), n))
		if err := s.Class("a").Put(f.Context(), keyOfBytes(d.objects[i]), d.objects[i]); err != nil {
			f.Fatal(err)
		}
	}
	p, err := s.Class("a").OpenPartial(keyOfBytes(d.partial), int64(len(d.partial)), true)
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range d.written {
		if err := p.WriteBlock(nil, n, d.block(n)); err != nil {
			f.Fatal(err)
		}
	}
	keep := func() {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			name, _ := filepath.Rel(dir, path)
			d.files[name], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			f.Fatal(err)
		}
	}
	if kill {
		keep()
	}
	if err := errors.Join(p.Close(), s.Close()); err != nil {
		f.Fatal(err)
	}
	if !kill {
		keep()
	}
	return d
}

func (d damaged) block(n int) []byte {
	return d.partial[n*BlockSize : min((n+1)*BlockSize, len(d.partial))]
}

// FuzzDamage: whatever somebody writes over, cuts off or adds to any one file of a store, be it an entry's, the snapshot
// or the journal, the next start serves no byte that was not put there, counts what is there, and takes all of it anew.
func FuzzDamage(f *testing.F) {
	stores := [2]damaged{makeDamaged(f, false), makeDamaged(f, true)}
	names := slices.Sorted(maps.Keys(stores[0].files))
	for n := range names {
		f.Add(uint8(n), uint32(0), []byte(nil), uint16(0))
		f.Add(uint8(n)|0x80, uint32(9), []byte("\xff\xff"), uint16(0))
		f.Add(uint8(n), uint32(0), []byte{}, uint16(1))
		f.Add(uint8(n)|0x80, uint32(40), []byte("\x00\x00\x00\x00\x00\x00\x00\x00"), uint16(3))
		f.Add(uint8(n), uint32(1<<31), []byte("more at its end"), uint16(0))
		f.Add(uint8(n), uint32(BlockSize+100), []byte("x"), uint16(0))
		f.Add(uint8(n), uint32(2*BlockSize), []byte("\x01"), uint16(8))
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint32, over []byte, cut uint16) {
		d := stores[which>>7]
		names := slices.Sorted(maps.Keys(d.files))
		victim := names[int(which&0x7f)%len(names)]
		dir := t.TempDir()
		for name, b := range d.files {
			if name == victim {
				b = slices.Clone(b)
				pos := int(at) % (len(b) + 1)
				b = slices.Concat(b[:pos], over, b[min(len(b), pos+len(over)):])
				b = b[:max(0, len(b)-int(cut))]
			}
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		s := openDamaged(t, dir)
		defer s.Close()
		d.check(t, s, false) // while the scan goes on
		<-s.scanned
		d.check(t, s, false)
		checkFiled(t, s)
		d.fill(t, s)
		d.check(t, s, true)
		checkFiled(t, s)
	})
}

// check reads all there is. With all, nothing may be missing.
func (d damaged) check(t *testing.T, s *Store, all bool) {
	t.Helper()
	for _, want := range d.objects {
		key := keyOfBytes(want)
		got, err := s.Class("a").Get(key, func(b []byte) error {
			if keyOfBytes(b) != key {
				return errors.New("another digest")
			}
			return nil
		})
		if err != nil && (all || !errors.Is(err, ErrNotFound)) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("an object of %d bytes: %d bytes, %v", len(want), len(got), err)
		}
	}
	p, err := s.Class("a").OpenPartial(keyOfBytes(d.partial), int64(len(d.partial)), false)
	if err != nil {
		if all || !errors.Is(err, ErrNotFound) {
			t.Errorf("the partial: %v", err)
		}
		return
	}
	defer p.Close()
	buf := make([]byte, BlockSize)
	for n := range p.Blocks() {
		got, err := p.ReadBlock(n, buf)
		if err != nil && all || err == nil && !bytes.Equal(buf[:got], d.block(n)) {
			t.Errorf("block %d: %d bytes, %v", n, got, err)
		}
	}
}

// fill puts all there is to be.
func (d damaged) fill(t *testing.T, s *Store) {
	t.Helper()
	for _, b := range d.objects {
		if err := s.Class("a").Put(t.Context(), keyOfBytes(b), b); err != nil {
			t.Error(err)
		}
	}
	p, err := s.Class("a").OpenPartial(keyOfBytes(d.partial), int64(len(d.partial)), true)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for n := range p.Blocks() {
		if err := p.WriteBlock(nil, n, d.block(n)); err != nil {
			t.Error(err)
		}
	}
}
