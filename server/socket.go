package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/blobd/blobd/access"
)

const (
	// DefaultSocketMode lets every user of the host in; who may do what is decided by who they are.
	DefaultSocketMode fs.FileMode = 0o666
	// folderOfSocket is the mode of the socket's folder when it has to be made: all may reach the socket, only the
	// daemon's user may put something else in its place.
	folderOfSocket fs.FileMode = 0o755
	// lockMode keeps others from opening the lock file: whoever can open it can hold it.
	lockMode fs.FileMode = 0o600
	// dialLimit is how long a process that holds the socket may take to accept. One that is alive but does not answer
	// counts as alive.
	dialLimit = 2 * time.Second
	// longestPath is what fits a unix socket's address on every platform, in bytes (macOS has the least).
	longestPath = 103
)

// ErrInUse matches the error of Listen when another process serves the socket.
var ErrInUse = errors.New("socket in use")

// InUseError says who has the socket.
type InUseError struct {
	Path string
	PID  int // 0 where it can't be told
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("socket %s is served by another process", e.Path)
	}
	return fmt.Sprintf("socket %s is served by process %d", e.Path, e.PID)
}

// Is reports whether target is ErrInUse.
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

// Socket is a unix socket that this process alone serves, from Listen to Close: a lock beside it (path + ".lock", which
// holds our pid and stays behind) is held for as long. One that was Handed over has no lock: who made it sees to that.
type Socket struct {
	*net.UnixListener
	path   string
	handed bool
	file   fs.FileInfo // the socket file that we made
	lock   *flock.Flock
	close  func() error
}

// Path is where the socket is.
func (s *Socket) Path() string { return s.path }

// Handed reports whether another process made the socket, and goes on having it after Close.
func (s *Socket) Handed() bool { return s.handed }

// Listen takes the socket at path with the given mode (0: DefaultSocketMode) and makes its folder when there is none.
//
// A socket is dialled before it is removed: one that a process serves is left alone, and the error is an *InUseError.
// What is left of a dead daemon is replaced. A file that is no socket is never removed.
func Listen(ctx context.Context, path string, mode fs.FileMode) (*Socket, error) {
	if mode == 0 {
		mode = DefaultSocketMode
	}
	if len(path) > longestPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes, %d is the most", path, len(path), longestPath)
	}
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	lock, err := lockSocket(path)
	if err != nil {
		return nil, err
	}
	s, err := listenLocked(ctx, path, mode)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	s.close = sync.OnceValue(s.release)
	return s, nil
}

// Close stops listening and removes the socket, unless it was handed over or somebody has put another in its place.
// Connections stay open. A second call does nothing.
func (s *Socket) Close() error { return s.close() }

func (s *Socket) release() error {
	err := s.UnixListener.Close()
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.file) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return errors.Join(err, s.lock.Close())
}

// listenLocked is Listen for who holds the lock.
func listenLocked(ctx context.Context, path string, mode fs.FileMode) (*Socket, error) {
	if err := clearWay(ctx, path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // release removes it, and only if it is ours
	file, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), l.Close())
	}
	return &Socket{UnixListener: l, path: path, file: file}, nil
}

// clearWay removes a socket that nobody serves.
func clearWay(ctx context.Context, path string) error {
	file, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("socket: %w", err)
	case !isSocket(file):
		return fmt.Errorf("socket %s: there is something else that is no socket", path)
	}
	conn, err := (&net.Dialer{Timeout: dialLimit}).DialContext(ctx, "unix", path)
	if err == nil {
		defer conn.Close()
		p, _ := access.FromConn(conn)
		return &InUseError{Path: path, PID: int(p.PID)}
	}
	if !refused(err) { // a full accept queue, or a process that is slow to accept, is a live one
		return fmt.Errorf("socket %s: can't tell whether a process serves it: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("socket %s: left by a daemon that is gone: %w", path, err)
	}
	return nil
}

// makeFolder makes the folder and those above it. One that exists stays as it is.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, folderOfSocket); err != nil {
		return err
	}
	return os.Chmod(dir, folderOfSocket) // whatever the umask
}

// lockSocket takes the lock beside the socket and writes our pid into it: of two daemons that start at once one loses.
func lockSocket(path string) (*flock.Flock, error) {
	lock := flock.New(path+".lock", flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(lockMode))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("socket %s: its lock: %w", path, err)
	}
	if !ok {
		return nil, errors.Join(&InUseError{Path: path, PID: pidIn(lock.Path())}, lock.Close())
	}
	// The pid is for the message that the loser gets; a full disk, or Windows, where a locked file can't be written
	// through another handle, only costs that.
	_ = os.WriteFile(lock.Path(), []byte(strconv.Itoa(os.Getpid())+"\n"), lockMode)
	return lock, nil
}

// pidIn reads the pid that the holder of a lock wrote; 0 where there is none.
func pidIn(lock string) int {
	b, err := os.ReadFile(lock)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}
