package store

import (
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/vfs"
)

// filed counts anew what entries take, and compares.
func checkFiled(t *testing.T, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	bytes := make([]int64, len(s.classes))
	for at := slot(1); at <= s.x.used; at++ {
		if e := s.x.at(at); e.has(flagLive) {
			bytes[e.class] += e.bytes()
		}
	}
	for i, c := range s.classes {
		if c.filed != bytes[i] || c.used < c.filed {
			t.Errorf("class %s: %d bytes of entries are counted, of %d used; there are %d", c.name, c.filed, c.used, bytes[i])
		}
	}
}

// stubborn is a file system that removes no entries while it refuses; meanwhile is called then.
type stubborn struct {
	vfs.FS
	refuse    bool
	meanwhile func()
}

func (f *stubborn) Remove(name string) error {
	if !f.refuse {
		return f.FS.Remove(name)
	}
	f.meanwhile()
	return syscall.EIO
}

// An entry that can't be removed counts for what it takes, also when it grew, or was let go of, in that moment.
func TestRefusedRemoval(t *testing.T) {
	disk := &stubborn{FS: unsynced{vfs.OS()}}
	s, err := Open(Options{Dir: t.TempDir(), FS: disk, MaxSize: 16 << 20, Classes: []ClassOptions{{Name: "a", Data: true}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.StartEviction()
	c, key := s.Class("a"), nthRef(0, 1).key
	p, err := c.OpenPartial(key, 10*BlockSize, true)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, BlockSize)
	if err := p.WriteBlock(nil, 0, block); err != nil {
		t.Fatal(err)
	}
	disk.refuse, disk.meanwhile = true, func() {
		if err := p.WriteBlock(nil, 1, block); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Remove(key, ReasonCorrupt); err == nil {
		t.Error("it was removed")
	}
	checkFiled(t, s)
	disk.refuse = false
	if err := p.WriteBlock(nil, 2, block); err != nil {
		t.Fatal(err)
	}
	checkFiled(t, s)
	p.Close()
	if got, want := s.Usage().Classes[0].Bytes, c.Size(key); got != want || want < 3*BlockSize {
		t.Errorf("%d bytes count, the entry takes %d", got, want)
	}

	if err := c.Put(t.Context(), nthRef(0, 2).key, block); err != nil {
		t.Fatal(err)
	}
	o, err := c.Open(nthRef(0, 2).key, nil)
	if err != nil {
		t.Fatal(err)
	}
	disk.refuse, disk.meanwhile = true, func() { o.Close() }
	if _, err := c.Remove(nthRef(0, 2).key, ReasonCorrupt); err == nil {
		t.Error("it was removed")
	}
	disk.refuse = false
	checkFiled(t, s)
	for n := range 2 {
		if _, err := c.Remove(nthRef(0, n+1).key, ReasonRemoved); err != nil {
			t.Error(err)
		}
	}
	if got := s.Usage().Classes[0].Bytes; got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}

// reporter remembers problems; meanwhile is called when it hears of the first.
type reporter struct {
	noObserver
	meanwhile func()

	mu       sync.Mutex
	problems []error
}

func (r *reporter) Problem(err error) {
	if err != nil {
		r.meanwhile()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, err)
}

// What the observer hears last is how it is, also when a problem ends while the observer hears of it.
func TestProblemsInOrder(t *testing.T) {
	s := bare(t)
	ended := make(chan struct{})
	obs := &reporter{meanwhile: func() {
		go func() { s.works(); close(ended) }()
		for range 1000 { // it may have to wait for us
			runtime.Gosched()
		}
	}}
	s.obs = obs
	s.trouble(syscall.ENOSPC)
	<-ended
	if want := []error{syscall.ENOSPC, nil}; !slices.Equal(obs.problems, want) {
		t.Errorf("the observer heard %v", obs.problems)
	}
}

// A reservation that was larger than is allowed since the limits were changed lets nothing go.
func TestDemandBeyondTheLimit(t *testing.T) {
	s := bare(t)
	c := s.Class("a")
	g := s.newGoals([]*demand{{c: c, n: 2 * c.limit}, {c: c, n: 1000}})
	if least := c.limit / 2; g.total < least || g.classes[c.id] < least {
		t.Errorf("%d bytes may stay, %d of the class", g.total, g.classes[c.id])
	}
}

// Reading counts also when the clock was set back.
func TestClockSetBack(t *testing.T) {
	now := time.Now()
	s, err := Open(Options{Dir: t.TempDir(), FS: unsynced{vfs.OS()}, MaxSize: 16 << 20, Now: func() time.Time { return now },
		Classes: []ClassOptions{{Name: "a", Data: true}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, key := s.Class("a"), nthRef(0, 1)
	p, err := c.OpenPartial(key.key, BlockSize, true)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	block := make([]byte, BlockSize)
	if err := p.WriteBlock(nil, 0, block); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := p.ReadBlock(0, block); err != nil {
			t.Fatal(err)
		}
		if err := c.Put(t.Context(), nthRef(0, 2).key, block); err != nil {
			t.Fatal(err)
		}
		now = now.Add(-time.Hour)
	}
	if _, err := p.ReadBlock(0, block); err != nil {
		t.Fatal(err)
	}
	if s.x.at(c.list.head).ref() != key {
		t.Error("what was read last is not the latest")
	}
}
