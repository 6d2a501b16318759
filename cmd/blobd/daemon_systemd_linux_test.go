package main

import (
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/blobd/blobd/server"
)

// systemdOf is a stand-in for systemd that watches this process: it returns what the process tells it.
func systemdOf(t *testing.T, limit time.Duration) (told func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(limit.Microseconds(), 10))
	return func() (lines []string) {
		buf := make([]byte, 1<<10)
		_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond)) // what was told is there already
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return lines
			}
			lines = append(lines, string(buf[:n]))
		}
	}
}

// TestWatchdog: systemd hears of the daemon when its gRPC server answers through the socket, and only then.
func TestWatchdog(t *testing.T) {
	const limit = 2 * time.Second // a quarter is what one answer may take
	told := systemdOf(t, limit)
	path := filepath.Join(t.TempDir(), "s")
	socket, err := server.Listen(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	dog := newWatchdog(path, zap.NewNop())
	if dog == nil {
		t.Fatal("no watchdog, though systemd watches")
	}
	defer dog.close()

	dog.ask(t.Context()) // the socket takes connections, but nobody serves them
	if lines := told(); len(lines) > 0 {
		t.Errorf("a daemon that does not answer says %q", lines)
	}
	s, err := server.New(server.Options{}) // not ready: it says so, which is an answer
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(socket) }()
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	defer dog.close()
	deadline := time.Now().Add(30 * time.Second) // the connection that was not served may have to be made anew
	var lines []string
	for len(lines) == 0 && time.Now().Before(deadline) {
		dog.ask(t.Context())
		lines = told()
	}
	if !slices.Equal(lines, []string{"WATCHDOG=1"}) {
		t.Errorf("a daemon that answers says %q", lines)
	}
}

// TestNoWatchdog: without systemd there is nothing to do.
func TestNoWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "")
	dog := newWatchdog("/none", zap.NewNop())
	if dog != nil || dog.tick() != nil {
		t.Errorf("a watchdog: %+v", dog)
	}
	dog.close()
}
