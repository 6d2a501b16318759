package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The five caches' folders.
var folders = []string{"refs", "manifests", "indexes", "content", "blocks"}

// cached lists the entries of a cache's folder: what its shards hold.
func cached(t *testing.T, cacheDir, folder string) (names []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(cacheDir, folder, "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// everyFile lists all regular files of a cache folder.
func everyFile(t *testing.T, cacheDir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(cacheDir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// tempFiles lists the files that lie in no shard of a cache and are not the store's own, which stand at the top.
func tempFiles(t *testing.T, cacheDir string) (names []string) {
	t.Helper()
	for _, name := range everyFile(t, cacheDir) {
		relative, err := filepath.Rel(cacheDir, name)
		if err != nil {
			t.Fatal(err)
		}
		if parts := strings.Split(relative, string(filepath.Separator)); len(parts) > 1 && len(parts[1]) != 2 {
			names = append(names, relative)
		}
	}
	return names
}

// damage is a way for a file to go bad.
type damage struct {
	name string
	do   func(path string) error
}

var damages = []damage{
	{"cut", func(path string) error {
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, fi.Size()/2)
	}},
	{"emptied", func(path string) error { return os.Truncate(path, 0) }},
	{"flipped at the start", func(path string) error { return flip(path, 0) }},
	{"flipped in the middle", func(path string) error { return flip(path, .5) }},
	{"flipped at the end", func(path string) error { return flip(path, 1) }},
}

// flip changes one bit of a file at a share of its length, or of the next byte that is not zero: nobody ever looks into
// the holes of a sparse file.
func flip(path string, where float64) error {
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		return err
	}
	at := min(int(where*float64(len(data))), len(data)-1)
	for range data {
		if data[at] != 0 {
			break
		}
		at = (at + 1) % len(data)
	}
	if err := os.Chmod(path, 0o600); err != nil { // it may be read-only
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{data[at] ^ 0x10}, int64(at))
	return errors.Join(err, f.Close())
}
