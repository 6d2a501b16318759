package storetest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blobd/blobd/cache/store"
)

// Fault is what a disk does.
type Fault struct {
	Name   string
	Err    error                      // nil: a write takes less than it is given, without an error
	Sticky bool                       // from the first time on
	Match  func(op, name string) bool // nil: any call
}

// FaultWalk plays each scene of a store's life again and again; each time another call to the file system fails, the
// first, the second, and so on until none is left. Whatever fails, nothing panics, no caller sees a wrong byte, no file
// stays open, the budget is right afterwards, and when the disk works again so does the store: in this process, and in the
// next one, which finds no temporary files.
//
// It is the crash harness as well: with a sticky fault nothing reaches the disk from the N-th call on, as after a kill.
func FaultWalk(t *testing.T, fault Fault) {
	if fault.Match == nil {
		fault.Match = func(string, string) bool { return true }
	}
	things := dailies()
	for _, sc := range scenes() {
		t.Run(sc.name, func(t *testing.T) {
			w := &walk{scene: sc, fault: fault, things: things}
			if sc.prepare != nil {
				w.template = fastDir(t)
				opts := w.options(t, w.template)
				synctest.Test(t, func(t *testing.T) { sc.prepare(t, w, opts) })
			}
			for w.n, w.fired = 1, true; w.fired; w.n++ {
				synctest.Test(t, w.play)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d calls", w.n-2)
		})
	}
}

// walk is a FaultWalk through one scene.
type walk struct {
	scene    scene
	fault    Fault
	things   []daily
	template string // a folder that the scene begins with; "": none
	n        int    // the call that fails
	fired    bool   // one did the last time
}

func (w *walk) options(t *testing.T, dir string) store.Options {
	opts := Options(t, w.scene.maxSize)
	opts.Dir, opts.Now = dir, time.Now
	return opts
}

func (w *walk) play(t *testing.T) {
	dir := fastDir(t)
	if w.template != "" {
		if err := os.CopyFS(dir, os.DirFS(w.template)); err != nil {
			t.Fatal(err)
		}
	}
	disk := WithoutSync()
	opts := w.options(t, dir)
	opts.FS = disk
	disk.FailIf(w.fault.Match, w.n, w.fault.Err, w.fault.Sticky)
	w.fired = false
	if s, err := store.Open(opts); err == nil {
		s.StartEviction()
		w.scene.act(t, w, s)
		synctest.Wait()
		if w.fired = disk.Fired() > 0; w.fired {
			disk.Fail(0, nil, false)
			w.recovered(t, s, opts)
		}
		_ = s.Close()
	}
	w.fired = w.fired || disk.Fired() > 0
	if open := disk.OpenFiles(); open != 0 {
		t.Errorf("call %d: %d files are still open", w.n, open)
	}
	disk.Fail(0, nil, false)
	w.nextStart(t, opts)
}

// mostGuessed is how much more than there is may count after a disk did not say how large something is: a block, and the
// pages that come with it, until it is asked again.
const mostGuessed = 2 * store.BlockSize

// counted checks that what is on disk counts, and not much more.
func (w *walk) counted(t *testing.T, s *store.Store, opts store.Options) {
	for i, u := range s.Usage().Classes {
		var disk int64
		for _, f := range Files(t, filepath.Join(opts.Dir, opts.Classes[i].Name)) {
			if filepath.Base(filepath.Dir(f)) != "tmp" {
				disk += Du(t, f)
			}
		}
		if u.Reserved != 0 || u.Bytes < disk || u.Bytes > disk+mostGuessed {
			t.Errorf("call %d: class %s counts %d bytes (%d reserved), the disk %d", w.n, u.Name, u.Bytes, u.Reserved, disk)
		}
	}
}

// recovered checks that the store works again with the disk, and counts right as soon as it has looked at what it could
// not read before.
func (w *walk) recovered(t *testing.T, s *store.Store, opts store.Options) {
	<-s.Scanned()
	time.Sleep(40 * time.Second) // it looks again every 30
	synctest.Wait()
	w.counted(t, s, opts)
	w.putAll(t, s, "once the disk works")
	if p := s.Usage().Problem; p != nil {
		t.Errorf("call %d: the disk works, and the store says %v", w.n, p)
	}
}

// putAll puts the things, as objects and as partials, looking first at what is there.
func (w *walk) putAll(t *testing.T, s *store.Store, when string) {
	for _, d := range w.things {
		c := s.Class(d.class)
		w.look(t, s, d)
		if err := c.Put(t.Context(), d.key, d.data); err != nil || !has(t, c, d.key) {
			t.Errorf("call %d: %s: the object can't be put in %s: %v", w.n, when, d.class, err)
		}
		p, err := s.Class("blocks").OpenPartial(d.key, int64(len(d.data)), true)
		if err != nil {
			t.Errorf("call %d: %s: there can't be a partial: %v", w.n, when, err)
			continue
		}
		for i := range p.Blocks() {
			if err := p.WriteBlock(nil, i, block(d.data, i)); err != nil {
				t.Errorf("call %d: %s: block %d: %v", w.n, when, i, err)
			}
		}
		p.Close()
		w.look(t, s, d)
	}
}

// look fails on a wrong byte of d, as object or as partial.
func (w *walk) look(t *testing.T, s *store.Store, d daily) {
	if got, err := s.Class(d.class).Get(d.key, nil); err == nil && !bytes.Equal(got, d.data) {
		t.Errorf("call %d: the object in %s has wrong bytes", w.n, d.class)
	}
	if p, err := s.Class("blocks").OpenPartial(d.key, int64(len(d.data)), false); err == nil {
		w.lookAtBlocks(t, p, d.data)
		p.Close()
	}
}

func (w *walk) lookAtBlocks(t *testing.T, p *store.Partial, data []byte) {
	buf := make([]byte, store.BlockSize)
	for i := range p.Blocks() {
		got, err := p.ReadBlock(i, buf)
		if err == nil && !bytes.Equal(buf[:got], block(data, i)) {
			t.Errorf("call %d: block %d has wrong bytes", w.n, i)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Errorf("call %d: block %d: %v", w.n, i, err)
		}
	}
}

// nextStart opens the store on a disk without faults and looks at everything.
func (w *walk) nextStart(t *testing.T, opts store.Options) {
	s, err := store.Open(opts)
	if err != nil {
		t.Errorf("call %d: next start: %v", w.n, err)
		return
	}
	defer s.Close()
	s.StartEviction()
	<-s.Scanned()
	for _, c := range opts.Classes {
		if left := Files(t, filepath.Join(opts.Dir, c.Name, "tmp")); len(left) > 0 {
			t.Errorf("call %d: next start: left behind: %v", w.n, left)
		}
	}
	if _, err := os.Lstat(filepath.Join(opts.Dir, "snapshot.tmp")); err == nil {
		t.Errorf("call %d: next start: left behind: snapshot.tmp", w.n)
	}
	synctest.Wait()
	SameAsDisk(t, s, opts)
	w.putAll(t, s, "next start")
	synctest.Wait()
	SameAsDisk(t, s, opts)
}

// fastDir returns a folder for the time of a test, in memory where the system has a place for that: these tests make
// thousands of them.
func fastDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "blobd-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
