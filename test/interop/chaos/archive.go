package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/archivetest"
)

// archive is one that was pushed, or is about to be.
type archive struct {
	repository string
	digest     digest.Digest // of its manifest
	manifest   []byte
	index      digest.Digest // of the blobs
	data       digest.Digest
	files      []file // sorted by path
}

// file is one file of an archive, and where it stands in the archive's data.
type file struct {
	path           string
	content        *io.SectionReader
	zstd           bool
	offset, stored int64
}

func (f *file) size() int64 { return f.content.Size() }

func (a *archive) String() string { return a.repository + "@" + short(a.digest) }

// file is nil for a path that the archive does not have.
func (a *archive) file(path string) *file {
	i, ok := slices.BinarySearchFunc(a.files, path, func(f file, path string) int { return strings.Compare(f.path, path) })
	if !ok {
		return nil
	}
	return &a.files[i]
}

// size is that of all files together.
func (a *archive) size() (n int64) {
	for i := range a.files {
		n += a.files[i].size()
	}
	return n
}

// recipe is how a file's content is made: equal ones make equal bytes.
type recipe struct {
	seed         uint64
	size         int64
	compressible bool
}

func (r recipe) content() *io.SectionReader {
	if r.compressible {
		return archivetest.Compressible(r.seed, r.size)
	}
	return archivetest.Random(r.seed, r.size)
}

// paths are where files of archives are. The same ones in all archives, so that bytes of another version would show.
var paths = [...]string{
	"index.html", "robots.txt", "css/site.css", "css/print.css", "js/app.js", "js/vendor/lib.js", "img/logo.png",
	"img/photos/1.jpg", "img/photos/2.jpg", "data.bin", "docs/a.md", "docs/b.md", "docs-old/a.md", "über/uns.html",
}

const (
	// freshFiles of an archive are its own for certain, so that no two archives are the same.
	freshFiles = 1
	// block is the unit in which the daemon fetches parts of blobs, and small what it reads in one piece at most: sizes
	// around them are where mistakes would be.
	block = 64 << 10
	small = 256 << 10
)

// author makes archives. It is for one goroutine.
type author struct {
	rng    *rand.Rand
	pool   []recipe // of files that several archives have
	serial uint64
}

func newAuthor(rng *rand.Rand) *author {
	w := &author{rng: rng, serial: rng.Uint64() >> 16}
	for range 40 {
		w.pool = append(w.pool, w.recipe())
	}
	return w
}

func (w *author) recipe() recipe {
	w.serial++
	return recipe{seed: w.serial, size: w.size(), compressible: w.rng.IntN(2) == 0}
}

// size is mostly small; a megabyte or more is one in fifteen.
func (w *author) size() int64 {
	switch n := w.rng.IntN(30); {
	case n < 1:
		return 0
	case n < 9:
		return 1 + w.rng.Int64N(1000)
	case n < 18:
		return w.rng.Int64N(block)
	case n < 22:
		return block - 1 + w.rng.Int64N(3)
	case n < 24:
		return small - 1 + w.rng.Int64N(3)
	case n < 28:
		return small + w.rng.Int64N(1<<20-small)
	default:
		return 1<<20 + w.rng.Int64N(3<<20)
	}
}

// write makes an archive of a repository, and the bytes of its blobs.
func (w *author) write(repository string) (a *archive, index, data []byte) {
	var files []archivetest.File
	content := map[string]*io.SectionReader{}
	for i, p := range w.rng.Perm(len(paths))[:4+w.rng.IntN(len(paths)-4)] {
		r := w.recipe()
		if i >= freshFiles && w.rng.IntN(3) > 0 {
			r = w.pool[w.rng.IntN(len(w.pool))]
		} else if w.rng.IntN(8) == 0 {
			w.pool[w.rng.IntN(len(w.pool))] = r
		}
		content[paths[p]] = r.content()
		files = append(files, archivetest.File{Path: paths[p], Content: r.content(), ModTime: int64(w.serial)})
	}
	o := archivetest.Options{Zstd: w.rng.IntN(2) == 0, Sorted: w.rng.IntN(2) == 0}
	if w.rng.IntN(2) == 0 {
		o.Stored = func(f archivetest.File) bool { return len(f.Path)%3 == 0 } // of a compressed archive, some are not
	}
	a = &archive{repository: repository}
	o.Alter = func(index *archivetest.Index) {
		for _, e := range index.Entries {
			a.files = append(a.files, file{
				path: e.Path, content: content[e.Path], zstd: e.Compression == 1,
				offset: int64(e.DataOffset), stored: int64(e.DataSize),
			})
		}
	}
	index, data = archivetest.Build(files, o)
	slices.SortFunc(a.files, func(x, y file) int { return strings.Compare(x.path, y.path) })
	indexLayer, dataLayer := archivetest.Layers(index, data)
	a.index, a.data = indexLayer.Digest, dataLayer.Digest
	a.manifest = archivetest.Manifest(indexLayer, dataLayer)
	a.digest = digest.FromBytes(a.manifest)
	return a, index, data
}

// listing is what `ls -R` prints: the tree in the order of fs.WalkDir, folders with a slash.
func (a *archive) listing() string {
	tree := map[string][]string{} // folder → names; of folders with a slash
	for _, f := range a.files {
		for dir, rest := "", f.path; ; {
			name, below, deeper := strings.Cut(rest, "/")
			if deeper {
				name += "/"
			}
			if !slices.Contains(tree[dir], name) {
				tree[dir] = append(tree[dir], name)
			}
			if !deeper {
				break
			}
			dir, rest = dir+name, below
		}
	}
	var out strings.Builder
	var walk func(dir string)
	walk = func(dir string) {
		names := tree[dir]
		slices.SortFunc(names, func(x, y string) int {
			return strings.Compare(strings.TrimSuffix(x, "/"), strings.TrimSuffix(y, "/"))
		})
		for _, name := range names {
			fmt.Fprintln(&out, dir+name)
			if strings.HasSuffix(name, "/") {
				walk(dir + name)
			}
		}
	}
	walk("")
	return out.String()
}
