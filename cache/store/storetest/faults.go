package storetest

import (
	"io/fs"
	"maps"
	"os"
	"sync"

	"github.com/blobd/blobd/internal/vfs"
)

// Faults is a file system over another one. It counts calls and open files, and fails the calls that it is told to. The
// zero value is not ready; see NewFaults. All methods are safe for concurrent use.
type Faults struct {
	under vfs.FS

	noSync bool

	gate sync.RWMutex // held for reading during each call: Freeze takes it for writing

	mu     sync.Mutex // guards what follows
	calls  map[string]int
	count  int
	open   int
	from   int // the call that fails; 0: none
	sticky bool
	err    error
	fired  int
	match  func(op, name string) bool
	disk   *vfs.Disk
}

// NewFaults returns a file system over under that does what under does.
func NewFaults(under vfs.FS) *Faults { return &Faults{under: under, calls: map[string]int{}} }

// WithoutSync returns a file system over the operating system's that counts syncs but does not wait for the disk: for
// tests of all but power cuts, in a tenth of the time.
func WithoutSync() *Faults {
	f := NewFaults(vfs.OS())
	f.noSync = true
	return f
}

// Fail makes the n-th call from now on (the first is 1) fail with err, and with sticky all after it. n = 0: none. A write
// that fails takes half of what it is given; with a nil error that is all that happens, and calls that don't write go on.
func (f *Faults) Fail(n int, err error, sticky bool) {
	f.FailIf(func(string, string) bool { return true }, n, err, sticky)
}

// FailIf is Fail for the calls that match. op is the name of the method of vfs.FS, or "File." and that of vfs.File.
func (f *Faults) FailIf(match func(op, name string) bool, n int, err error, sticky bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count, f.from, f.err, f.sticky, f.match, f.fired = 0, n, err, sticky, match, 0
}

// Fired returns how many calls failed since the last Fail.
func (f *Faults) Fired() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Calls returns how often each method was called, by the names that FailIf uses.
func (f *Faults) Calls() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.calls)
}

// OpenFiles returns how many files are open.
func (f *Faults) OpenFiles() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// SetDisk makes the disk look like this one.
func (f *Faults) SetDisk(d vfs.Disk) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disk = &d
}

// Freeze calls do while no other call is under way: what it sees was so at one moment.
func (f *Faults) Freeze(do func()) {
	f.gate.Lock()
	defer f.gate.Unlock()
	do()
}

// enter counts a call and says whether it fails, and with what; leave ends it.
func (f *Faults) enter(op, name string) (leave func(), fails bool, err error) {
	f.gate.RLock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	if f.match == nil || !f.match(op, name) {
		return f.gate.RUnlock, false, nil
	}
	f.count++
	if f.from == 0 || f.count < f.from || (f.count > f.from && !f.sticky) {
		return f.gate.RUnlock, false, nil
	}
	f.fired++
	if f.err == nil {
		return f.gate.RUnlock, true, nil
	}
	return f.gate.RUnlock, true, &fs.PathError{Op: op, Path: name, Err: f.err}
}

func (f *Faults) opened(name string, file vfs.File, err error) (vfs.File, error) {
	if file == nil {
		return nil, err
	}
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	return &faultFile{f, name, file}, err
}

func (f *Faults) openAs(op, name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	leave, _, err := f.enter(op, name)
	defer leave()
	if err != nil {
		return nil, err
	}
	file, err := open(name)
	return f.opened(name, file, err)
}

func (f *Faults) do(op, name string, call func() error) error {
	leave, _, err := f.enter(op, name)
	defer leave()
	if err != nil {
		return err
	}
	return call()
}

// Open implements vfs.FS, as do the methods that follow.
func (f *Faults) Open(name string) (vfs.File, error) { return f.openAs("Open", name, f.under.Open) }

func (f *Faults) OpenRW(name string) (vfs.File, error) {
	return f.openAs("OpenRW", name, f.under.OpenRW)
}

func (f *Faults) Create(name string) (vfs.File, error) {
	return f.openAs("Create", name, f.under.Create)
}

func (f *Faults) Lock(name string) (vfs.File, error) { return f.openAs("Lock", name, f.under.Lock) }

func (f *Faults) Rename(from, to string) error {
	return f.do("Rename", to, func() error { return f.under.Rename(from, to) })
}

func (f *Faults) Remove(name string) error {
	return f.do("Remove", name, func() error { return f.under.Remove(name) })
}

func (f *Faults) MkdirAll(name string) error {
	return f.do("MkdirAll", name, func() error { return f.under.MkdirAll(name) })
}

func (f *Faults) SyncDir(name string) error {
	return f.do("SyncDir", name, func() error {
		if f.noSync {
			return nil
		}
		return f.under.SyncDir(name)
	})
}

func (f *Faults) Lstat(name string) (in vfs.Info, err error) {
	err = f.do("Lstat", name, func() (err error) { in, err = f.under.Lstat(name); return err })
	return in, err
}

func (f *Faults) ReadDir(name string, visit func(string) error) error {
	var names []string
	err := f.do("ReadDir", name, func() error {
		return f.under.ReadDir(name, func(n string) error { names = append(names, n); return nil })
	})
	for _, n := range names {
		if err := visit(n); err != nil {
			return err
		}
	}
	return err
}

func (f *Faults) Disk(name string) (d vfs.Disk, err error) {
	err = f.do("Disk", name, func() (err error) { d, err = f.under.Disk(name); return err })
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil && f.disk != nil {
		d = *f.disk
	}
	return d, err
}

type faultFile struct {
	fs   *Faults
	name string
	f    vfs.File
}

func (f *faultFile) rw(op string, p []byte, call func([]byte) (int, error)) (n int, err error) {
	leave, fails, err := f.fs.enter(op, f.name)
	defer leave()
	switch {
	case fails && Writes(op, f.name):
		n, _ = call(p[:len(p)/2]) // a disk that gets full takes a part
		return n, err
	case err != nil:
		return 0, err
	}
	return call(p)
}

// Writes reports whether a call writes bytes, for FailIf.
func Writes(op, _ string) bool { return op == "File.Write" || op == "File.WriteAt" }

func (f *faultFile) Read(p []byte) (int, error)  { return f.rw("File.Read", p, f.f.Read) }
func (f *faultFile) Write(p []byte) (int, error) { return f.rw("File.Write", p, f.f.Write) }

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	return f.rw("File.ReadAt", p, func(p []byte) (int, error) { return f.f.ReadAt(p, off) })
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	return f.rw("File.WriteAt", p, func(p []byte) (int, error) { return f.f.WriteAt(p, off) })
}

func (f *faultFile) Stat() (in vfs.Info, err error) {
	err = f.fs.do("File.Stat", f.name, func() (err error) { in, err = f.f.Stat(); return err })
	return in, err
}

func (f *faultFile) Truncate(size int64) error {
	return f.fs.do("File.Truncate", f.name, func() error { return f.f.Truncate(size) })
}

func (f *faultFile) Sync() error {
	return f.fs.do("File.Sync", f.name, func() error {
		if f.fs.noSync {
			return nil
		}
		return f.f.Sync()
	})
}

func (f *faultFile) ReadOnly() error { return f.fs.do("File.ReadOnly", f.name, f.f.ReadOnly) }

// Close closes the file even when it fails, as the operating system does.
func (f *faultFile) Close() error {
	leave, _, ferr := f.fs.enter("File.Close", f.name)
	defer leave()
	f.fs.mu.Lock()
	f.fs.open--
	f.fs.mu.Unlock()
	err := f.f.Close()
	if ferr != nil {
		return ferr
	}
	return err
}

func (f *faultFile) OS() *os.File { return f.f.OS() }
