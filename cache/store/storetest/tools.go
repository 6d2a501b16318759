package storetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/vfs"
)

// Data returns n bytes that depend on seed and don't compress.
func Data(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// KeyFor returns the key that data has by its digest.
func KeyFor(data []byte) store.Key { return store.Key{Kind: store.SHA256, Sum: sha256.Sum256(data)} }

var errDigest = errors.New("digest mismatch")

// CheckSum returns the check that an entry's bytes have the digest that its key is.
func CheckSum(k store.Key) store.Check {
	return func(r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		if !bytes.Equal(h.Sum(nil), k.Sum[:]) {
			return errDigest
		}
		return nil
	}
}

// Du returns the disk space that everything under the folders takes, the folders too.
func Du(t testing.TB, dirs ...string) int64 {
	t.Helper()
	var total int64
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			in, err := vfs.OS().Lstat(path)
			if err == nil {
				total += in.Allocated
			}
			return nil
		})
		if err != nil {
			t.Errorf("du %s: %v", dir, err)
		}
	}
	return total
}

// Files returns the paths of all regular files below a folder.
func Files(t testing.TB, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // also a folder that could not be made
		}
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// CopyDir copies a folder, as a crash would leave it.
func CopyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// Clock is a clock that goes on by one millisecond each time it is read, and by as much as it is told. Safe for
// concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that begins at some time in 2026.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Observer remembers what the store told it. Safe for concurrent use.
type Observer struct {
	mu        sync.Mutex
	evicted   map[string]int // by class and reason: "content size"
	corrupted map[string]int
	problems  []error
}

// Evicted implements store.Observer.
func (o *Observer) Evicted(class, reason string, _ int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.evicted == nil {
		o.evicted = map[string]int{}
	}
	o.evicted[class+" "+reason]++
}

// Corrupted implements store.Observer.
func (o *Observer) Corrupted(class string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.corrupted == nil {
		o.corrupted = map[string]int{}
	}
	o.corrupted[class]++
}

// Problem implements store.Observer.
func (o *Observer) Problem(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problems = append(o.problems, err)
}

// Evictions returns how many entries of a class went for a reason.
func (o *Observer) Evictions(class, reason string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.evicted[class+" "+reason]
}

// Corruptions returns how many entries or blocks of a class were found bad.
func (o *Observer) Corruptions(class string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.corrupted[class]
}

// Problems returns all that Problem was called with.
func (o *Observer) Problems() []error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]error(nil), o.problems...)
}
