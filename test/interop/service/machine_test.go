//go:build linux

package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/testneed"
)

// machine is a systemd that runs as the first process of namespaces of its own, on a copy of this host's files that goes with
// it: it has no network but loopback, and can write in nothing that is this host's.
type machine struct {
	t   *testing.T
	pid int // of its systemd, here
	log *bytes.Buffer
}

// boot boots a machine whose files are those below layer, before those of this host.
func boot(t *testing.T, layer string) *machine {
	t.Helper()
	testneed.Root(t)
	testneed.Command(t, "unshare", "Debian package util-linux")
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		testneed.Missing(t, "it needs systemd ("+fromSystemd+")")
	}
	group := newGroup(t)
	m := &machine{t: t, log: new(bytes.Buffer)}
	// Not the context of the test: what ends it must be over before the group goes.
	cmd := exec.Command("bash", "testdata/boot.sh", group, layer, t.TempDir())
	cmd.Stdout, cmd.Stderr = m.log, m.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // unshare takes its systemd along, and that everything else
		<-exited
	})
	m.eventually("systemd has booted", func() error {
		select {
		case <-exited:
			t.Fatalf("the machine ended: %s", m.log)
		default:
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			return err
		}
		if m.pid, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			return err
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", m.pid)); err != nil || filepath.Base(exe) != "systemd" {
			return errors.Join(fmt.Errorf("it is %s", exe), err)
		}
		_, err = m.try("systemctl", "is-active", "basic.target")
		return err
	})
	return m
}

// newGroup is the cgroup in which a machine makes its own.
func newGroup(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			dir, err := os.MkdirTemp(f[1], "blobd-test-")
			if err != nil {
				break
			}
			t.Cleanup(func() { removeGroup(t, dir) })
			return dir
		}
	}
	testneed.Missing(t, "it needs cgroups of version 2")
	return ""
}

// removeGroup removes a group with those in it, from which the processes have just gone.
func removeGroup(t *testing.T, dir string) {
	var err error
	for range 1000 {
		var dirs []string
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			err = os.Remove(dirs[i])
		}
		if len(dirs) == 0 || err == nil {
			return
		}
		<-time.After(pollEvery)
	}
	t.Errorf("the cgroup stays: %v", err)
}

// command is a command in the machine, of root there.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	enter := []string{"-t", strconv.Itoa(m.pid), "-m", "-u", "-i", "-n", "-p", "-C", "--", "env", "-i",
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER=cat"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.WaitDelay = time.Second // nsenter's child outlives it
	return cmd
}

// try runs a command in the machine; an error has what it wrote to stderr.
func (m *machine) try(args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), within)
	defer cancel()
	cmd := m.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s%s", strings.Join(args, " "), err, &errs, &out)
	}
	return out.String(), nil
}

// run is try for what must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%v\njournal:\n%s", err, m.journal())
	}
	return out
}

// as runs a command as another user.
func (m *machine) as(user string, args ...string) (stdout string, err error) {
	return m.try(append([]string{"runuser", "-u", user, "--"}, args...)...)
}

// write writes a file.
func (m *machine) write(name, mode, text string) {
	m.t.Helper()
	cmd := m.command(m.t.Context(), "install", "-D", "-m", mode, "/dev/stdin", name)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// start starts a process that goes with the machine.
func (m *machine) start(args ...string) {
	m.t.Helper()
	cmd := m.command(context.Background(), args...)
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// property is one of blobd.service.
func (m *machine) property(name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "blobd.service", "--value", "-p", name))
}

func (m *machine) journal() string {
	out, _ := m.try("journalctl", "-b", "--no-pager", "-o", "cat", "-u", "blobd.service", "-u", "blobd.socket")
	return out
}

func (m *machine) eventually(what string, works func() error) {
	m.t.Helper()
	deadline := time.After(within)
	for {
		err := works()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			m.t.Fatalf("not so: %s: %v\nsystemd: %s", what, err, m.log)
		case <-time.After(20 * pollEvery):
		}
	}
}

// exitCode is how a command that try ran ended.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
