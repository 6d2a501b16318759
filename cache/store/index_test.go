package store

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// bare returns a store that has an index and nothing else.
func bare(t testing.TB) *Store {
	s, err := newStore(Options{Dir: t.TempDir(), MaxSize: 1 << 40, Classes: []ClassOptions{{Name: "a", Data: true}, {Name: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func nthRef(class uint8, n int) ref {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	return ref{Key{Kind: Derived, Sum: sha256.Sum256(b[:])}, class}
}

// A million entries, each of them read since the last flush, cost at most 128 bytes each.
func TestMemoryOfAMillionEntries(t *testing.T) {
	const most = 128
	n := million()
	if size := unsafe.Sizeof(entry{}); size != 64 {
		t.Errorf("an entry is %d bytes", size)
	}
	s := bare(t)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range n {
		s.mu.Lock()
		at := s.x.insert(nthRef(0, i))
		s.touch(at)
		s.mu.Unlock()
	}
	each := float64(heap()-before) / float64(n)
	t.Logf("%.1f bytes an entry", each)
	if each > most {
		t.Errorf("%.1f bytes an entry", each)
	}
	runtime.KeepAlive(s)
}

// A snapshot, and a journal, take what they take until they are written anew, however little there is to say now.
func TestOldHintsCount(t *testing.T) {
	s := bare(t)
	s.maxSize = 1 << 20 // the journal may take a page of it
	for i := range 10_000 {
		s.x.insert(nthRef(0, i))
	}
	if err := s.writeSnapshot(snapshotInfo{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.journal.path(), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		s.x.remove(s.x.find(nthRef(0, i)))
	}
	s.countOverhead()
	if all := s.overhead + snapshotSize(0); s.level() < all { // the next snapshot stands beside the old one
		t.Errorf("%d bytes count, the disk gives up %d", s.level(), all)
	}
	// So does the next catalogue beside the one that is in the folder.
	before := s.level()
	if err := os.WriteFile(filepath.Join(s.opts.Dir, "catalogue"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s.countOverhead()
	if more := s.level() - before; more < 2<<20 {
		t.Errorf("%d bytes more count", more)
	}
}

// TestIndexAndOrder checks index and lists against a map and a slice.
func TestIndexAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := bareRapid(t)
		var now int64
		s.now = func() time.Time { now++; return time.Unix(0, now) }
		known := map[ref]bool{}
		order := [2][]ref{} // the latest last
		out := func(r ref) {
			order[r.class] = slices.DeleteFunc(order[r.class], func(o ref) bool { return o == r })
		}
		t.Repeat(map[string]func(*rapid.T){
			"touch": func(t *rapid.T) {
				r := nthRef(uint8(rapid.IntRange(0, 1).Draw(t, "class")), rapid.IntRange(0, 2000).Draw(t, "n"))
				at := s.x.find(r)
				if (at != 0) != known[r] {
					t.Fatalf("found %v, known %v", at != 0, known[r])
				}
				if at == 0 {
					at = s.x.insert(r)
				}
				s.touch(at)
				known[r] = true
				out(r)
				order[r.class] = append(order[r.class], r)
			},
			"chill": func(t *rapid.T) {
				r := nthRef(0, rapid.IntRange(0, 2000).Draw(t, "n"))
				if at := s.x.find(r); at != 0 {
					s.chill(at)
					out(r)
					order[0] = append([]ref{r}, order[0]...)
				}
			},
			"remove many": func(t *rapid.T) {
				class := uint8(rapid.IntRange(0, 1).Draw(t, "class"))
				for n := rapid.IntRange(0, 20).Draw(t, "n"); n > 0 && len(order[class]) > 0; n-- {
					r := order[class][len(order[class])/2]
					at := s.x.find(r)
					s.unlist(&s.classes[class].list, at)
					s.x.remove(at)
					delete(known, r)
					out(r)
				}
			},
			"grow": func(t *rapid.T) {
				from := rapid.IntRange(3000, 1_000_000).Draw(t, "from")
				for i := range 100 {
					r := nthRef(1, from+i)
					if !known[r] {
						known[r] = true
						s.touch(s.x.insert(r))
						order[1] = append(order[1], r)
					}
				}
			},
			"": func(t *rapid.T) {
				if s.x.count != len(known) {
					t.Fatalf("%d entries, not %d", s.x.count, len(known))
				}
				for r := range known {
					if at := s.x.find(r); at == 0 || s.x.at(at).ref() != r {
						t.Fatalf("%v is not found", r)
					}
				}
				for i, c := range s.classes {
					at := c.list.tail
					for _, r := range order[i] {
						if at == 0 || s.x.at(at).ref() != r {
							t.Fatalf("the order of class %d is wrong", i)
						}
						at = s.x.at(at).prev
					}
					if at != 0 {
						t.Fatalf("class %d has too many entries in its list", i)
					}
				}
			},
		})
	})
}

func bareRapid(t *rapid.T) *Store {
	s, err := newStore(Options{Dir: ".", MaxSize: 1 << 40, Classes: []ClassOptions{{Name: "a", Data: true}, {Name: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
