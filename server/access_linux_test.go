package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/access"
	"github.com/blobd/blobd/server"
)

func TestAdminServiceIsForAdmins(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("", "blobd") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(t.Context(), filepath.Join(dir, "run", "s"), 0)
	if err != nil {
		t.Fatal(err)
	}
	r := startOn(t, newDomain(t, nil), l, "unix:"+l.Addr().String(), func(o *server.Options) {
		o.Policy = access.Policy{Admins: []uint32{4_000_001, 65534}}
	})
	for uid, want := range map[uint32]codes.Code{
		0: codes.OK, 4_000_001: codes.OK, 4_000_002: codes.PermissionDenied, 65534: codes.PermissionDenied,
	} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), callAdminAt+"="+r.socket)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		err := cmd.Run()
		if cmd.ProcessState == nil {
			t.Skip("can't run the test binary as another user: ", err)
		}
		if got := cmd.ProcessState.ExitCode(); got != int(want) {
			t.Errorf("uid %d: exit %d, want %d (%s)", uid, got, want, want)
		}
	}
}
