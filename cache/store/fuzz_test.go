package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/internal/vfs"
)

// unsynced does not wait for the disk: a fuzzer has no time for that.
type unsynced struct{ vfs.FS }

func (u unsynced) SyncDir(string) error { return nil }

func (u unsynced) Create(name string) (vfs.File, error) {
	f, err := u.FS.Create(name)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ vfs.File }

func (unsyncedFile) Sync() error { return nil }

// FuzzHints: whatever stands in snapshot and journal, the store starts, counts right and can be written.
func FuzzHints(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(append(snapshotInfo{generation: 3, clean: true, foreign: 1 << 40}.encode(), 0, 0, 0, 0), []byte(journalMagic))
	f.Add(bytes.Repeat([]byte{0xff}, 200), bytes.Repeat([]byte{0}, 100))
	f.Fuzz(func(t *testing.T, snapshot, journal []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{snapshotName: snapshot, journalName: journal} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(Options{Dir: dir, FS: unsynced{vfs.OS()}, MaxSize: 16 << 20, Classes: []ClassOptions{{Name: "a", Data: true}}})
		if err != nil {
			t.Fatal(err)
		}
		<-s.scanned
		if u := s.Usage(); u.Entries != 0 || u.Classes[0].Bytes != 0 {
			t.Errorf("%+v", u)
		}
		if err := s.Class("a").Put(t.Context(), nthRef(0, 1).key, []byte("x")); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzPartial: whatever stands in the file of a partial, no block is read that was not written.
func FuzzPartial(f *testing.F) {
	const size = 2*BlockSize - 9
	key := nthRef(0, 1).key
	trailer := append(encodeHeader(key, size), encodeRecord(key, size, 1, 7)...)
	f.Add(trailer, uint16(0))
	f.Add(append(trailer, encodeRecord(key, size, 1, 7)...), uint16(8))
	f.Add(trailer[:30], uint16(2))
	f.Fuzz(func(t *testing.T, trailer []byte, cut uint16) {
		file := append(make([]byte, trailerAt(size)), trailer...)
		file = file[:max(0, len(file)-int(cut))]
		name := filepath.Join(t.TempDir(), "partial")
		if err := os.WriteFile(name, file, 0o600); err != nil {
			t.Fatal(err)
		}
		open, err := vfs.OS().OpenRW(name)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		got, err := readHeader(open, key, int64(len(file)))
		if err == nil && got != size {
			t.Errorf("a header of %d bytes was taken for one of %d", got, size)
		}
		if len(trailer) >= headerLen {
			ch, _ := decodeChunk(trailer[headerLen:], key, size, 0)
			if present := ch.count(); present > len(trailer)/recordLen {
				t.Errorf("%d blocks", present)
			}
		}
	})
}
