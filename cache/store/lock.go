package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/blobd/blobd/internal/vfs"
)

// lockName is the file that says who owns the folder: locked as long as the owner lives, its pid inside.
const lockName = "LOCK"

// takeLock makes this process the owner of dir.
func takeLock(fs vfs.FS, dir string) (vfs.File, error) {
	f, err := fs.Lock(filepath.Join(dir, lockName))
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

func readPID(f io.ReaderAt) int {
	var b [32]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}
