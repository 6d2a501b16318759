package access_test

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/blobd/blobd/access"
)

func TestFromConn(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("this platform does not tell who connects")
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()

	for side, conn := range map[string]net.Conn{"who dialled": far, "who listens": near} {
		p, err := access.FromConn(conn)
		if err != nil {
			t.Fatalf("%s: %v", side, err)
		}
		want := access.Principal{
			Known: true, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), PID: int32(os.Getpid()),
		}
		if p != want {
			t.Errorf("%s: got %+v, want %+v", side, p, want)
		}
	}
}

// Linux answers for a TCP connection too: uid -1.
func TestFromConnOfOtherKinds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	pipe, end := net.Pipe()
	defer pipe.Close()
	defer end.Close()
	for _, conn := range []net.Conn{tcp, pipe} {
		p, err := access.FromConn(conn)
		if err == nil || p != (access.Principal{}) {
			t.Errorf("%T: got %+v, %v; want the unknown principal and an error", conn, p, err)
		}
	}
}

func TestPolicy(t *testing.T) {
	self := uint32(os.Geteuid())
	cases := []struct {
		name   string
		admins []uint32
		who    access.Principal
		want   bool
	}{
		{"root", nil, access.Principal{Known: true}, true},
		{"the daemon's own user", nil, access.Principal{Known: true, UID: self}, runtime.GOOS != "windows"},
		{"a user", nil, access.Principal{Known: true, UID: 4_000_001}, false},
		{"a configured user", []uint32{7, 4_000_001}, access.Principal{Known: true, UID: 4_000_001}, true},
		{"another user", []uint32{7}, access.Principal{Known: true, UID: 4_000_001}, false},
		{"unknown, though its uid reads 0", nil, access.Principal{}, false},
		{"nobody, though configured", []uint32{65534}, access.Principal{UID: 65534}, false},
	}
	for _, c := range cases {
		if got := (access.Policy{Admins: c.admins}).Admin(c.who); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestKey(t *testing.T) {
	for want, p := range map[string]access.Principal{
		"unknown":        {UID: 65534},
		"uid:0":          {Known: true},
		"uid:4294967295": {Known: true, UID: 1<<32 - 1},
	} {
		if got := p.Key(); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}
