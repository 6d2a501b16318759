//go:build linux

package service

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/testneed"
)

const fromSystemd = "Debian package systemd"

// TestUnitsAreRight: systemd knows every key and value of the units, and finds the binary and the man pages they name. It
// only warns of what it does not know, so nothing at all may be said.
func TestUnitsAreRight(t *testing.T) {
	analyze := testneed.Command(t, "systemd-analyze", fromSystemd)
	prefix := t.TempDir() // unlike a DESTDIR it is where the units say
	install(t, t.TempDir(), prefix)
	if out, err := makeTarget(t.Context(), "install", "SYSCONFDIR="+t.TempDir(), "PREFIX="+prefix); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	units := filepath.Join(prefix, "lib/systemd/system")
	verify := func(dir string) string {
		t.Helper()
		args := []string{"verify", filepath.Join(dir, "blobd.service"), filepath.Join(dir, "blobd.socket")}
		if _, err := exec.LookPath("man"); err != nil {
			args = append(args, "--man=no")
		}
		cmd := exec.CommandContext(t.Context(), analyze, args...)
		cmd.Env = append(os.Environ(), "MANPATH="+filepath.Join(prefix, "share/man"))
		out, err := cmd.CombinedOutput()
		if err != nil && len(out) == 0 {
			return err.Error()
		}
		return string(out)
	}
	if said := verify(units); said != "" {
		t.Errorf("systemd-analyze verify says:\n%s", said)
	}

	// It would say so if something were wrong.
	wrong := t.TempDir()
	for _, name := range []string{"blobd.service", "blobd.socket"} {
		text, err := os.ReadFile(filepath.Join(units, name))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte("NoNewPrivileges="), []byte("NoNewPrivilege="), 1)
		if err := os.WriteFile(filepath.Join(wrong, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if said := verify(wrong); !strings.Contains(said, "NoNewPrivilege") {
		t.Errorf("of a wrong key systemd-analyze verify says %q", said)
	}
}

// TestHardening: by systemd's own measure the service is exposed at most 1.3, of 10.
func TestHardening(t *testing.T) {
	analyze := testneed.Command(t, "systemd-analyze", fromSystemd)
	const most = 1.3
	cmd := exec.CommandContext(t.Context(), analyze, "security", "--offline=yes", "--no-pager", "blobd.service")
	cmd.Dir = filepath.Join(made.root, "deploy/systemd")
	cmd.Args[len(cmd.Args)-1] = filepath.Join(cmd.Dir, "blobd.service")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	found := regexp.MustCompile(`Overall exposure level for blobd.service: ([\d.]+)`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("no level: %s", out)
	}
	if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level > most {
		t.Errorf("the exposure is %s, %v is the most:\n%s", found[1], most, out)
	}
}

// TestUserAndFolder: what systemd makes of sysusers.d and tmpfiles.d on a host that has neither user nor folder.
func TestUserAndFolder(t *testing.T) {
	testneed.Root(t)
	users := testneed.Command(t, "systemd-sysusers", fromSystemd)
	folders := testneed.Command(t, "systemd-tmpfiles", fromSystemd)
	host := t.TempDir()
	install(t, host, "/usr")
	for _, cmd := range []*exec.Cmd{
		exec.CommandContext(t.Context(), users, "--root="+host, "blobd.conf"),
		exec.CommandContext(t.Context(), folders, "--root="+host, "--create", "blobd.conf"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", cmd.Path, err, out)
		}
	}
	is := func(file, want string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(host, file))
		if err != nil || !regexp.MustCompile(want).Match(text) {
			t.Errorf("%s: %v: %s", file, err, text)
		}
	}
	is("etc/passwd", `(?m)^blobd:x:\d+:\d+:[^:]+:/var/lib/blobd:/usr/sbin/nologin$`)
	is("etc/group", `(?m)^blobd:x:\d+:$`)
	if info, err := os.Stat(filepath.Join(host, "run/blobd")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("run/blobd: %v, %v", info, err)
	}
}
