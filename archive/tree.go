package archive

import (
	"cmp"
	"io/fs"
	"iter"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/blobd/blobd/internal/fault"
)

// Tree is the files of an archive and the folders that follow from their paths. It never changes after NewTree, so any
// number of goroutines may use it. What it returns shares no memory with it: an Entry that is kept does not keep the tree.
//
// It is a table of files and the order of their paths, with "/" before every other byte. That is the order of fs.WalkDir:
// a folder's files stand together, its children come sorted by name, and a folder is nothing but a range of the order.
// (Plain byte order would put foo-bar.txt between a file foo and the content of a folder foo.)
type Tree struct {
	table Table
	order []uint32 // the table's files, sorted
	size  int64    // sum of the files' sizes
}

// MaxPath is how long a path may be, in bytes: Linux's PATH_MAX, so a longer one could be extracted nowhere. Without a
// limit one path of a few megabytes would stand for a million folders, each listed by its own whole path.
const MaxPath = 4096

// NewTree makes a Tree of table, which holds fewer than 2³² files. It fails with fault.IndexInvalid, naming the path,
// where a path is not a file's (fs.ValidPath, not ".", at most MaxPath), stands twice, or is another file's folder; and
// where a size is negative or the sizes together pass 2⁶³-1.
func NewTree(table Table) (*Tree, error) {
	t := &Tree{table: table, order: make([]uint32, table.Len())}
	for i := range t.order {
		t.order[i] = uint32(i)
		path, size := table.Path(i), table.Size(i)
		if len(path) > MaxPath {
			return nil, fault.New(fault.IndexInvalid, "entry %q…: its path has %d bytes, more than %d",
				path[:64], len(path), MaxPath)
		}
		if !fs.ValidPath(path) || path == "." {
			return nil, fault.New(fault.IndexInvalid, "entry %q: not a valid path of a file", path)
		}
		if size < 0 || size > math.MaxInt64-t.size {
			return nil, fault.New(fault.IndexInvalid, "entry %q: its size %d is impossible", path, size)
		}
		t.size += size
	}
	t.sort()
	for i := 1; i < len(t.order); i++ {
		last, next := t.path(i-1), t.path(i)
		if last == next {
			return nil, fault.New(fault.IndexInvalid, "entry %q: it stands twice in the index", next)
		}
		if isBelow(next, last) {
			return nil, fault.New(fault.IndexInvalid, "entry %q: it is a file and the folder of %q", last, next)
		}
	}
	return t, nil
}

// sort puts the order right. Most writers have it right already; else it costs 24 bytes a file for a moment, and a
// quarter of the time that asking the table for each comparison would take.
func (t *Tree) sort() {
	if slices.IsSortedFunc(t.order, func(a, b uint32) int { return comparePaths(t.table.Path(int(a)), t.table.Path(int(b))) }) {
		return
	}
	type file struct {
		path string
		i    uint32
	}
	files := make([]file, len(t.order))
	for i := range files {
		files[i] = file{t.table.Path(i), uint32(i)}
	}
	slices.SortFunc(files, func(a, b file) int { return comparePaths(a.path, b.path) })
	for place, f := range files {
		t.order[place] = f.i
	}
}

// path and entry are those of the file at place i of the order.
func (t *Tree) path(i int) string  { return t.table.Path(int(t.order[i])) }
func (t *Tree) entry(i int) *Entry { return t.table.Entry(int(t.order[i])) }

// Len is the number of files.
func (t *Tree) Len() int { return len(t.order) }

// Size is the sum of the files' sizes, uncompressed, in bytes.
func (t *Tree) Size() int64 { return t.size }

// MemoryBytes is what the tree holds in memory, to within allocation overhead.
func (t *Tree) MemoryBytes() int64 { return t.table.MemoryBytes() + 4*int64(len(t.order)) }

// Node is a file or a folder of a Tree.
type Node struct {
	Path  string // from the root, which is "."
	Dir   bool
	Entry *Entry // nil for folders
}

// Name is the last element of the node's path.
func (n Node) Name() string { return n.Path[strings.LastIndexByte(n.Path, '/')+1:] }

// Lookup finds the file at path. It fails with fault.InvalidPath, fault.FileUnknown or fault.IsDirectory.
func (t *Tree) Lookup(path string) (*Entry, error) {
	n, err := t.Stat(path)
	if err != nil {
		return nil, err
	}
	if n.Dir {
		return nil, fault.New(fault.IsDirectory, "%q is a folder, not a file", path).
			Try("`blobd ls` lists what is in it, `blobd cp` copies it")
	}
	return n.Entry, nil
}

// Stat finds the file or folder at path; "." is the root, which every tree has. It fails with fault.InvalidPath or
// fault.FileUnknown.
func (t *Tree) Stat(path string) (Node, error) {
	if !fs.ValidPath(path) {
		return Node{}, fault.New(fault.InvalidPath, "%q is not a valid path inside an archive", path).
			Try("write it without a leading or trailing slash and without . and .. in it")
	}
	if path == "." {
		return Node{Path: path, Dir: true}, nil
	}
	i := t.find(path)
	switch {
	case i < len(t.order) && t.path(i) == path:
		return Node{Path: path, Entry: t.entry(i)}, nil
	case i < len(t.order) && isBelow(t.path(i), path):
		return Node{Path: path, Dir: true}, nil
	}
	return Node{}, fault.New(fault.FileUnknown, "the archive holds no %q", path).Try("`blobd ls` lists what it holds")
}

// ReadDir visits the children of the folder at path, sorted by name. It looks at the children only, not at what is
// below them, and holds none of them. It fails with fault.InvalidPath, fault.FileUnknown or fault.NotDirectory.
func (t *Tree) ReadDir(path string) (iter.Seq[Node], error) {
	n, err := t.Stat(path)
	if err != nil {
		return nil, err
	}
	if !n.Dir {
		return nil, fault.New(fault.NotDirectory, "%q is a file, not a folder", path).
			Try("`blobd stat` describes it, `blobd cat` writes it out")
	}
	return func(yield func(Node) bool) {
		for i, end, skip := t.below(path); i < end; {
			p := t.path(i)
			slash := strings.IndexByte(p[skip:], '/')
			if slash < 0 {
				e := t.entry(i)
				if !yield(Node{Path: e.Path, Entry: e}) {
					return
				}
				i++
				continue
			}
			dir := strings.Clone(p[:skip+slash])
			if !yield(Node{Path: dir, Dir: true}) {
				return
			}
			i = t.endOf(i, end, dir)
		}
	}, nil
}

// Walk visits what is below the folder at path in the order of fs.WalkDir: by name, each folder before its content. The
// folder itself is left out, and where there is no such folder nothing is visited. It holds nothing but the node it is at.
func (t *Tree) Walk(path string) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		var dir string // the folder that the last file was in, with its slash; "" stands for path
		for i, end, start := t.below(path); i < end; i++ {
			p := t.path(i)
			known := strings.LastIndexByte(p[:commonLen(dir, p)], '/') + 1
			for from := max(start, known); ; {
				slash := strings.IndexByte(p[from:], '/')
				if slash < 0 {
					dir = p[:from]
					break
				}
				if !yield(Node{Path: strings.Clone(p[:from+slash]), Dir: true}) {
					return
				}
				from += slash + 1
			}
			e := t.entry(i)
			if !yield(Node{Path: e.Path, Entry: e}) {
				return
			}
		}
	}
}

// All visits the files in the order of Walk.
func (t *Tree) All() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for i := range t.order {
			if !yield(t.entry(i)) {
				return
			}
		}
	}
}

// At is file i of All.
func (t *Tree) At(i int) *Entry { return t.entry(i) }

// find returns the place of the first file that does not come before path: the file itself, or the first file below it.
func (t *Tree) find(path string) int {
	return sort.Search(len(t.order), func(i int) bool { return comparePaths(t.path(i), path) >= 0 })
}

// below returns the places [first, end) of the files below the folder at path, and how many bytes of their paths name
// that folder and its slash.
func (t *Tree) below(path string) (first, end, skip int) {
	if path == "." {
		return 0, len(t.order), 0
	}
	first = t.find(path)
	return first, t.endOf(first, len(t.order), path), len(path) + 1
}

// endOf is the place behind the last of the files from first on that are below the folder dir. All that are stand together.
func (t *Tree) endOf(first, end int, dir string) int {
	return first + sort.Search(end-first, func(i int) bool { return !isBelow(t.path(first+i), dir) })
}

// isBelow reports whether path is inside the folder dir, which is not the root.
func isBelow(path, dir string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// comparePaths orders paths element by element, as fs.WalkDir does: byte by byte, with "/" before every other byte.
func comparePaths(a, b string) int {
	n := commonLen(a, b)
	switch {
	case n == len(a) || n == len(b):
		return cmp.Compare(len(a), len(b))
	case a[n] == '/':
		return -1
	case b[n] == '/':
		return +1
	}
	return cmp.Compare(a[n], b[n])
}

// commonLen is the number of bytes that a and b begin with alike.
func commonLen(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
