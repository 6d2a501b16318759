//go:build unix

package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blobd/blobd/client"
)

// serveConfigEnv has this test binary run `blobd serve` with that configuration instead of its tests.
const serveConfigEnv = "TEST_SERVE_CONFIG"

func TestServeProcess(t *testing.T) {
	file := os.Getenv(serveConfigEnv)
	if file == "" {
		t.Skip("the process of TestServeSignals")
	}
	os.Args = []string{"blobd", "serve", "--config", file}
	main()
}

// TestServeSignals sends a real process real signals.
func TestServeSignals(t *testing.T) {
	start := func(t *testing.T, dir string) (*exec.Cmd, *logBuffer, <-chan error) {
		t.Helper()
		cmd := exec.Command(os.Args[0], "-test.run=^TestServeProcess$")
		cmd.Env = append(os.Environ(), serveConfigEnv+"="+writeConfig(t, dir, ""))
		log := new(logBuffer)
		cmd.Stderr = log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		log.wait(t, `"msg":"serving"`, 1)
		return cmd, log, ended
	}
	wait := func(t *testing.T, ended <-chan error) error {
		t.Helper()
		select {
		case err := <-ended:
			return err
		case <-time.After(testLimit):
			t.Fatal("the process does not end")
			return nil
		}
	}
	signal := func(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}

	// again repeats the signal, as an impatient person does, for it may come while the first is still being heard.
	again := func(cmd *exec.Cmd, ended <-chan error) <-chan error {
		after := make(chan error, 1)
		go func() {
			for {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				select {
				case err := <-ended:
					after <- err
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		}()
		return after
	}

	t.Run("reload and end", func(t *testing.T) {
		dir := shortDir(t)
		cmd, log, ended := start(t, dir)
		writeConfig(t, dir, "ttl: {default: always}\n")
		signal(t, cmd, syscall.SIGHUP)
		log.wait(t, `"applied":["ttl.default"]`, 1)
		signal(t, cmd, syscall.SIGTERM)
		if err := wait(t, ended); err != nil {
			t.Errorf("%v\n%s", err, log.wait(t, "", 0))
		}
		log.wait(t, `"msg":"stopped"`, 1)
	})
	t.Run("a second signal ends at once", func(t *testing.T) {
		ref, asked, _ := heldRegistry(t)
		dir := shortDir(t)
		cmd, log, ended := start(t, dir)
		c, err := client.Dial(t.Context(), client.WithSocket(filepath.Join(dir, "s")))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() { _, _ = c.Pull(t.Context(), ref) }()
		<-asked
		signal(t, cmd, syscall.SIGTERM)
		log.wait(t, "stopping", 1)
		if err := wait(t, again(cmd, ended)); err == nil {
			t.Error("it ended as if nothing had happened")
		} else if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Errorf("it ended with %v", err)
		}
		// What it leaves behind is in nobody's way.
		_, log, _ = start(t, dir)
		log.wait(t, `"msg":"serving"`, 1)
	})
}

// TestServeNotifies plays systemd.
func TestServeNotifies(t *testing.T) {
	dir := shortDir(t)
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	if err := systemd.SetReadDeadline(time.Now().Add(testLimit)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	expect := func(want string) {
		t.Helper()
		b := make([]byte, 256)
		n, err := systemd.Read(b)
		if got := string(b[:n]); err != nil || !strings.HasPrefix(got, want) {
			t.Fatalf("got %q, %v; want %s", got, err, want)
		}
	}
	td := startTest(t, dir, "")
	expect("READY=1")
	td.reload <- syscall.SIGHUP
	expect("RELOADING=1\n")
	expect("READY=1")
	td.end(t)
	expect("STOPPING=1")
}
