//go:build linux

package service

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
)

const (
	// within is how long a process may take to do what it does in a fraction of a second.
	within    = 60 * time.Second
	pollEvery = 5 * time.Millisecond
)

// activated is systemd-socket-activate with blobd behind it.
type activated struct {
	t      *testing.T
	dir    string
	log    *bytes.Buffer
	exited chan error
	cmd    *exec.Cmd
}

// activate listens on addresses, for a daemon that starts with the first connection.
func activate(t *testing.T, config string, addresses ...string) *activated {
	t.Helper()
	tool := testneed.Command(t, "systemd-socket-activate", fromSystemd)
	dir, err := os.MkdirTemp("", "blobd-") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, a := range addresses {
		args = append(args, "--listen="+strings.ReplaceAll(a, "DIR", dir))
	}
	args = append(args, filepath.Join(made.dist, "blobd"), "serve", "--config", file, "--cache-dir", filepath.Join(dir, "cache"),
		"--http-addr", "off")
	a := &activated{t: t, dir: dir, log: new(bytes.Buffer), exited: make(chan error, 1), cmd: exec.Command(tool, args...)}
	a.cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	a.cmd.Stdout, a.cmd.Stderr = a.log, a.log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { a.exited <- a.cmd.Wait() }()
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill()
		a.exited <- a.end() // for whoever looks again
	})
	return a
}

// end waits for the daemon's end.
func (a *activated) end() error {
	select {
	case err := <-a.exited:
		return err
	case <-time.After(within):
		return errors.New("it still runs")
	}
}

// blobd runs a client command; the first waits until the socket is there.
func (a *activated) blobd(args ...string) (stdout, stderr string, exit int) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), within)
	defer cancel()
	for {
		if _, err := os.Stat(a.socket()); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			a.t.Fatalf("no socket: %s", a.log)
		case <-time.After(pollEvery):
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(made.dist, "blobd"), args...)
	cmd.Env = []string{"HOME=" + a.dir, "BLOBD_SOCKET=" + a.socket()}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), e.ExitCode()
	} else if err != nil {
		a.t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

func (a *activated) socket() string { return filepath.Join(a.dir, "s") }

// TestActivation: the daemon starts with its first caller, on the socket that systemd made. It knows who calls, and leaves the
// socket where it is.
func TestActivation(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	a := activate(t, "socket: /nowhere/s\n", "DIR/s")
	push(t, reg.PushHost()+"/acme/app:v1", map[string]string{"hello": "world\n"})

	if out, errs, exit := a.blobd("cat", reg.Host()+"/acme/app:v1", "hello"); exit != 0 || out != "world\n" {
		t.Fatalf("cat: %d, %q, %s; the daemon: %s", exit, out, errs, a.log)
	}
	out, errs, exit := a.blobd("status", "-o", "json") // which only the daemon's own user may ask
	if exit != 0 || !strings.Contains(out, `"`+a.socket()+`"`) {
		t.Errorf("status: %d, %s, %s", exit, out, errs)
	}
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := a.end()
	a.exited <- err
	if err != nil {
		t.Errorf("the daemon's end: %v: %s", err, a.log)
	}
	if _, err := os.Stat(a.socket()); err != nil {
		t.Errorf("the socket is gone with the daemon: %v", err)
	}
	if _, err := os.Stat(a.socket() + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a lock beside systemd's socket: %v", err)
	}
}

// TestActivationRefuses: what is not one unix stream socket with a path ends the daemon, with one line that says what to do.
func TestActivationRefuses(t *testing.T) {
	port := freePort(t)
	for name, c := range map[string]struct {
		addresses []string
		network   string
		address   string
		says      string
	}{
		"two sockets": {[]string{"DIR/s", "DIR/2"}, "unix", "DIR/s", "2 sockets were handed over"},
		"TCP":         {[]string{"127.0.0.1:" + port}, "tcp", "127.0.0.1:" + port, "not a unix stream socket"},
	} {
		t.Run(name, func(t *testing.T) {
			a := activate(t, "", c.addresses...)
			address := strings.ReplaceAll(c.address, "DIR", a.dir)
			deadline := time.After(within)
			for {
				conn, err := net.Dial(c.network, address)
				if err == nil {
					defer conn.Close()
					break
				}
				select {
				case <-deadline:
					t.Fatalf("%v: %s", err, a.log)
				case <-time.After(pollEvery):
				}
			}
			err := a.end()
			a.exited <- err
			if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 2 {
				t.Errorf("it ends with %v, want exit code 2", err)
			}
			if log := a.log.String(); !strings.Contains(log, c.says) || !strings.Contains(log, "ListenStream=") {
				t.Errorf("it says %q", log)
			}
		})
	}
}

// push publishes files as an archive.
func push(t *testing.T, ref string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(made.dist, "blobd"), "push", dir, ref)
	cmd.Env = []string{"HOME=" + dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("push: %v: %s", err, out)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
