package archive

import (
	"cmp"
	"io/fs"
	"iter"
	"math"
	"slices"
	"sort"
	"strings"
	"unsafe"

	"github.com/blobd/blobd/internal/fault"
)

// Tree is the files of an archive and the folders that follow from their paths. It never changes after NewTree, so any
// number of goroutines may use it. What it returns points into it.
//
// It is one slice, sorted by path with "/" before every other byte. That is the order of fs.WalkDir: a folder's files
// stand together, its children come sorted by name, and a folder is nothing but a range of the slice. (Plain byte order
// would put foo-bar.txt between a file foo and the content of a folder foo.)
type Tree struct {
	entries []Entry
	size    int64 // sum of the entries' sizes
	memory  int64
}

// MaxPath is how long a path may be, in bytes: Linux's PATH_MAX, so a longer one could be extracted nowhere. Without a
// limit one path of a few megabytes would stand for a million folders, each listed by its own whole path.
const MaxPath = 4096

// NewTree sorts entries into a Tree, which owns the slice from then on. It fails with fault.IndexInvalid, naming the path,
// where a path is not a file's (fs.ValidPath, not ".", at most MaxPath), stands twice, or is another file's folder; and
// where a size is negative or the sizes together pass 2⁶³-1.
func NewTree(entries []Entry) (*Tree, error) {
	t := &Tree{entries: entries, memory: int64(cap(entries)) * int64(unsafe.Sizeof(Entry{}))}
	for i := range entries {
		e := &entries[i]
		if len(e.Path) > MaxPath {
			return nil, fault.New(fault.IndexInvalid, "entry %q…: its path has %d bytes, more than %d",
				e.Path[:64], len(e.Path), MaxPath)
		}
		if !fs.ValidPath(e.Path) || e.Path == "." {
			return nil, fault.New(fault.IndexInvalid, "entry %q: not a valid path of a file", e.Path)
		}
		if e.Size < 0 || e.Size > math.MaxInt64-t.size {
			return nil, fault.New(fault.IndexInvalid, "entry %q: its size %d is impossible", e.Path, e.Size)
		}
		t.size += e.Size
		t.memory += int64(len(e.Path)) + locatorBytes(e.Locator)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return comparePaths(a.Path, b.Path) })
	for i := 1; i < len(entries); i++ {
		last, next := entries[i-1].Path, entries[i].Path
		if last == next {
			return nil, fault.New(fault.IndexInvalid, "entry %q: it stands twice in the index", next)
		}
		if isBelow(next, last) {
			return nil, fault.New(fault.IndexInvalid, "entry %q: it is a file and the folder of %q", last, next)
		}
	}
	return t, nil
}

// Len is the number of files.
func (t *Tree) Len() int { return len(t.entries) }

// Size is the sum of the files' sizes, uncompressed, in bytes.
func (t *Tree) Size() int64 { return t.size }

// MemoryBytes is what the tree holds in memory, to within allocation overhead.
func (t *Tree) MemoryBytes() int64 { return t.memory }

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
	case i < len(t.entries) && t.entries[i].Path == path:
		return Node{Path: path, Entry: &t.entries[i]}, nil
	case i < len(t.entries) && isBelow(t.entries[i].Path, path):
		return Node{Path: path, Dir: true}, nil
	}
	return Node{}, fault.New(fault.FileUnknown, "the archive holds no %q", path).Try("`blobd ls` lists what it holds")
}

// ReadDir returns the children of the folder at path, sorted by name. It looks at the children only, not at what is
// below them. It fails with fault.InvalidPath, fault.FileUnknown or fault.NotDirectory.
func (t *Tree) ReadDir(path string) ([]Node, error) {
	n, err := t.Stat(path)
	if err != nil {
		return nil, err
	}
	if !n.Dir {
		return nil, fault.New(fault.NotDirectory, "%q is a file, not a folder", path).
			Try("`blobd stat` describes it, `blobd cat` writes it out")
	}
	var nodes []Node
	rest, skip := t.below(path)
	for len(rest) > 0 {
		p := rest[0].Path
		slash := strings.IndexByte(p[skip:], '/')
		if slash < 0 {
			nodes = append(nodes, Node{Path: p, Entry: &rest[0]})
			rest = rest[1:]
			continue
		}
		dir := p[:skip+slash]
		nodes = append(nodes, Node{Path: dir, Dir: true})
		rest = rest[prefixLen(rest, dir):]
	}
	return nodes, nil
}

// Walk visits what is below the folder at path in the order of fs.WalkDir: by name, each folder before its content. The
// folder itself is left out, and where there is no such folder nothing is visited. It allocates nothing.
func (t *Tree) Walk(path string) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		entries, start := t.below(path)
		var dir string // the folder that the last file was in, with its slash; "" stands for path
		for i := range entries {
			p := entries[i].Path
			known := strings.LastIndexByte(p[:commonLen(dir, p)], '/') + 1
			for from := max(start, known); ; {
				slash := strings.IndexByte(p[from:], '/')
				if slash < 0 {
					dir = p[:from]
					break
				}
				if !yield(Node{Path: p[:from+slash], Dir: true}) {
					return
				}
				from += slash + 1
			}
			if !yield(Node{Path: p, Entry: &entries[i]}) {
				return
			}
		}
	}
}

// All visits the files in the order of Walk.
func (t *Tree) All() iter.Seq[*Entry] {
	return func(yield func(*Entry) bool) {
		for i := range t.entries {
			if !yield(&t.entries[i]) {
				return
			}
		}
	}
}

// find returns the index of the first entry that does not come before path: the file itself, or the first file below it.
func (t *Tree) find(path string) int {
	i, _ := slices.BinarySearchFunc(t.entries, path, func(e Entry, path string) int { return comparePaths(e.Path, path) })
	return i
}

// below returns the files below the folder at path, and how many bytes of their paths name that folder and its slash.
func (t *Tree) below(path string) (files []Entry, skip int) {
	if path == "." {
		return t.entries, 0
	}
	rest := t.entries[t.find(path):]
	return rest[:prefixLen(rest, path)], len(path) + 1
}

// prefixLen is the number of entries, from the first, that are below the folder dir. All that are stand together.
func prefixLen(entries []Entry, dir string) int {
	return sort.Search(len(entries), func(i int) bool { return !isBelow(entries[i].Path, dir) })
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

// locatorBytes is what a locator holds outside its entry. The blob of a Range is shared by all entries.
func locatorBytes(l Locator) int64 {
	switch l := l.(type) {
	case Inline:
		return int64(unsafe.Sizeof(l)) + int64(len(l.Data))
	case Range:
		return int64(unsafe.Sizeof(l))
	}
	return 0
}
