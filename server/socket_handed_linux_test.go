package server_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/blobd/blobd/access"
	"github.com/blobd/blobd/server"
)

// handedOver is the descriptor of a socket of this test, as systemd hands it over.
func handedOver(t *testing.T, socket interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTakeOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	theirs, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	s, err := server.TakeOver(handedOver(t, theirs))
	if err != nil {
		t.Fatal(err)
	}
	if s.Path() != path || !s.Handed() {
		t.Errorf("path %q, handed %v", s.Path(), s.Handed())
	}
	caller, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	conn, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p, err := access.FromConn(conn); err != nil || int(p.PID) != os.Getpid() || int(p.UID) != os.Getuid() {
		t.Errorf("the caller is %+v, %v; want this process", p, err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	waiting, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal("who made the socket can't be reached any more:", err)
	}
	waiting.Close()
	if _, err := os.Stat(path + ".lock"); !os.IsNotExist(err) {
		t.Errorf("a lock beside a socket that is another's: %v", err)
	}
}

func TestTakeOverRefuses(t *testing.T) {
	dir := t.TempDir()
	listen := func(network, address string) *os.File {
		t.Helper()
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return handedOver(t, l.(interface{ File() (*os.File, error) }))
	}
	connected := func() *os.File {
		t.Helper()
		path := filepath.Join(dir, "c")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		client, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		conn, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return handedOver(t, conn)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	file, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file *os.File
		says string
	}{
		"TCP":                    {listen("tcp", "127.0.0.1:0"), "not a unix stream socket"},
		"packets":                {listen("unixpacket", filepath.Join(dir, "p")), "not a unix stream socket"},
		"an abstract address":    {listen("unix", "@blobd-test-"+filepath.Base(dir)), "no path"},
		"a connection":           {connected(), "does not listen"},
		"a pair without a name":  {os.NewFile(uintptr(pair[0]), "pair"), "no path"},
		"a folder, not a socket": {file, "handed over"},
		"what is closed already": {os.NewFile(1<<20, "gone"), "handed over"},
	} {
		s, err := server.TakeOver(c.file)
		if err == nil {
			s.Close()
			t.Errorf("%s: taken", name)
		} else if !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q, want it to say %q", name, err, c.says)
		}
	}
}
