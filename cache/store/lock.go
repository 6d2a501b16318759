package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/vfs"
)

// lockName is the file that says who owns the folder: locked as long as the owner lives, its pid inside.
const lockName = "LOCK"

// takeLock makes this process the owner of dir.
func takeLock(disk vfs.FS, dir string) (vfs.File, error) {
	f, err := disk.Lock(filepath.Join(dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		defer f.Close()
		return nil, &LockedError{Dir: dir, PID: readPID(f)}
	}
	if err != nil {
		return nil, fmt.Errorf("store: can't lock the folder %s: %w", dir, err)
	}
	// Who is refused is told this pid. The lock holds without it, so a full disk is no reason to stop.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// takeLocks makes this process the owner of all the folders, or of none. A disk that can't be written, and has no lock
// file, has nothing to protect.
func (s *Store) takeLocks() error {
	for _, h := range s.homes {
		f, err := takeLock(s.fs, h.dir)
		switch {
		case err == nil:
			h.lock = f
		case vfs.IsDiskTrouble(err) || isAbsent(err): // the folder could not be made
			s.trouble(err)
		default:
			_ = s.giveLocksBack()
			return err
		}
	}
	return nil
}

func (s *Store) giveLocksBack() error {
	var errs []error
	for _, h := range s.homes {
		h.mu.Lock()
		if h.lock != nil {
			errs = append(errs, h.lock.Close())
			h.lock = nil
		}
		h.mu.Unlock()
	}
	return errors.Join(errs...)
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func readPID(f io.ReaderAt) int {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}
