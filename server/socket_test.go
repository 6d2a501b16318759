package server_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/blobd/blobd/server"
)

func skipOnWindows(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("modes and stale sockets are of Unix")
	}
}

func TestListenMakesFolderAndModes(t *testing.T) {
	skipOnWindows(t)
	for _, c := range []struct{ give, want fs.FileMode }{{0, 0o666}, {0o600, 0o600}} {
		path := filepath.Join(t.TempDir(), "a", "b", "s")
		s, err := server.Listen(t.Context(), path, c.give)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]fs.FileMode{
			path: c.want, filepath.Dir(path): 0o755, path + ".lock": 0o600,
		} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: mode %v, %v; want %v", filepath.Base(name), info.Mode(), err, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error("a second Close:", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket stayed: %v", err)
		}
	}
}

func TestListenNeverUnseatsALiveProcess(t *testing.T) {
	skipOnWindows(t)
	inUse := func(name string, err error) {
		t.Helper()
		var e *server.InUseError
		if !errors.As(err, &e) || !errors.Is(err, server.ErrInUse) || e.PID != os.Getpid() {
			t.Errorf("%s: got %v, want that process %d serves it", name, err, os.Getpid())
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	first, err := server.Listen(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.Listen(t.Context(), path, 0)
	inUse("another blobd", err)
	if conn, err := net.Dial("unix", path); err != nil {
		t.Error("the first can't be reached any more:", err)
	} else {
		conn.Close()
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	stranger, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	_, err = server.Listen(t.Context(), path, 0)
	inUse("a process that knows no lock", err)
	if conn, err := net.Dial("unix", path); err != nil {
		t.Error("the stranger can't be reached any more:", err)
	} else {
		conn.Close()
	}
}

func TestListenReplacesWhatADeadProcessLeft(t *testing.T) {
	skipOnWindows(t)
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := os.WriteFile(path+".lock", []byte("999999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := server.Listen(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	skipOnWindows(t)
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := server.Listen(t.Context(), path, 0); err == nil {
		s.Close()
		t.Error("no error")
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("the file is gone: %q, %v", b, err)
	}
}

func TestCloseLeavesAnothersSocket(t *testing.T) {
	skipOnWindows(t)
	path := filepath.Join(t.TempDir(), "s")
	s, err := server.Listen(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error("the other's socket is gone:", err)
	}
}

// Of many that start at once, over a dead process's socket, one wins and stays reachable.
func TestListenAtOnce(t *testing.T) {
	skipOnWindows(t)
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()

	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards won
		won  []*server.Socket
		gate = make(chan struct{})
	)
	for range 16 {
		wg.Go(func() {
			<-gate
			s, err := server.Listen(t.Context(), path, 0)
			if err != nil {
				if !errors.Is(err, server.ErrInUse) {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			won = append(won, s)
		})
	}
	close(gate)
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d won", len(won))
	}
	defer won[0].Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestListenPathTooLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 200))
	if s, err := server.Listen(t.Context(), path, 0); err == nil || !strings.Contains(err.Error(), "103") {
		t.Errorf("got %v, %v; want an error that names the limit", s, err)
	}
}
