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
	dirs := []string{s.opts.Dir}
	for i, co := range s.opts.Classes {
		if co.Dir != "" {
			dirs = append(dirs, s.classes[i].dir)
		}
	}
	for _, dir := range dirs {
		f, err := takeLock(s.fs, dir)
		switch {
		case err == nil:
			s.locks = append(s.locks, f)
		case vfs.IsDiskTrouble(err) || errors.Is(err, fs.ErrNotExist): // the folder could not be made
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
	for _, f := range s.locks {
		errs = append(errs, f.Close())
	}
	s.locks = nil
	return errors.Join(errs...)
}

func readPID(f io.ReaderAt) int {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}
