package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// startWithin is how long a daemon may take to be ready, on a machine that is busy with other tests.
	startWithin = 30 * time.Second
	// stopWithin is above the daemon's own drain limit, 25 s.
	stopWithin = 40 * time.Second
	pollEvery  = 5 * time.Millisecond
)

// Host is a folder that stands for a host: the socket, the cache and the configuration of its daemon are there. Its
// methods are for one goroutine, but for Command and Run.
type Host struct {
	Binary string // of commands
	Daemon string // the binary of daemons
	Dir    string
	// CacheDir is the cache folder of daemons that start from now on; "" is one in Dir.
	CacheDir string
	// Config is the text of the configuration file of daemons that start from now on, beside what the rig sets itself:
	// the socket, the cache folder, the address for HTTP.
	Config string
	Flags  []string // more flags of serve
	Env    []string // more environment, of the daemon and of commands

	daemon *process
	http   string
}

// process is a daemon that was started.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	err    error         // of Wait, once it has
}

// NewHost returns a host without a running daemon, in a new folder whose path is short enough for a socket. Close
// removes it.
func NewHost(binary string) (*Host, error) {
	dir, err := os.MkdirTemp("", "blobd-")
	if err != nil {
		return nil, err
	}
	return &Host{Binary: binary, Daemon: binary, Dir: dir}, nil
}

// Close kills the daemon, if one is running, and removes the folder.
func (h *Host) Close() error {
	return errors.Join(h.Kill(), os.RemoveAll(h.Dir))
}

// Socket is the daemon's socket.
func (h *Host) Socket() string { return filepath.Join(h.Dir, "s") }

// Cache is the daemon's cache folder.
func (h *Host) Cache() string {
	if h.CacheDir != "" {
		return h.CacheDir
	}
	return filepath.Join(h.Dir, "cache")
}

// LogFile is where the daemons' stderr goes, one after another.
func (h *Host) LogFile() string { return filepath.Join(h.Dir, "log") }

// Log is what the daemons have written to stderr.
func (h *Host) Log() string {
	text, err := os.ReadFile(h.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// PID is the running daemon's process.
func (h *Host) PID() int { return h.daemon.cmd.Process.Pid }

// Start starts a daemon and returns when it is ready.
func (h *Host) Start(ctx context.Context) error {
	if err := h.Launch(); err != nil {
		return err
	}
	return h.AwaitReady(ctx)
}

// Launch starts a daemon and does not wait.
func (h *Host) Launch() error {
	if h.daemon != nil {
		return errors.New("rig: a daemon is running")
	}
	if err := os.WriteFile(h.ConfigFile(), []byte(h.Config), 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(h.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the daemon has its own
	if h.http, err = freeAddress(); err != nil {
		return err
	}
	args := append([]string{
		"serve", "--config", h.ConfigFile(), "--socket", h.Socket(), "--cache-dir", h.Cache(), "--http-addr", h.http,
	}, h.Flags...)
	p := &process{cmd: exec.Command(h.Daemon, args...), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = h.environ()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	h.daemon = p
	return nil
}

// ConfigFile is the configuration file, written at each start.
func (h *Host) ConfigFile() string { return filepath.Join(h.Dir, "config.yaml") }

// AwaitReady waits until /readyz says yes and the socket is there.
func (h *Host) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	p := h.daemon
	for {
		status, _, err := h.Get(ctx, "/readyz")
		if err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-p.exited:
			h.daemon = nil
			return fmt.Errorf("rig: the daemon ended: %w: %s", p.err, h.Log())
		case <-ctx.Done():
			return fmt.Errorf("rig: the daemon is not ready: %w: %s", ctx.Err(), h.Log())
		case <-time.After(pollEvery):
		}
	}
}

// Signal sends the daemon a signal.
func (h *Host) Signal(s os.Signal) error { return h.daemon.cmd.Process.Signal(s) }

// Ended is closed when the daemon that was started last has ended.
func (h *Host) Ended() <-chan struct{} { return h.daemon.exited }

// Stop ends the daemon as a service manager does. It returns how the process ended: nil is exit code 0.
func (h *Host) Stop() error {
	if h.daemon == nil {
		return nil
	}
	if err := h.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return h.AwaitExit(stopWithin)
}

// AwaitExit waits for the daemon's end.
func (h *Host) AwaitExit(limit time.Duration) error {
	p := h.daemon
	select {
	case <-p.exited:
		h.daemon = nil
		return p.err
	case <-time.After(limit):
		return fmt.Errorf("rig: the daemon still runs after %v: %s", limit, h.Log())
	}
}

// Kill ends the daemon as kill -9 does, and waits until it is gone.
func (h *Host) Kill() error {
	if h.daemon == nil {
		return nil
	}
	if err := h.daemon.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-h.daemon.exited
	h.daemon = nil
	return nil
}

// HTTPAddr is where the daemon serves metrics, probes and the status page.
func (h *Host) HTTPAddr() string { return h.http }

// Get asks the daemon's HTTP address for a path.
func (h *Host) Get(ctx context.Context, path string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.http+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Close = true // no connection outlives the daemon
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// environ is the environment of daemons and commands: that of this process without what would configure blobd or have
// it find somebody's logins.
func (h *Host) environ() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case strings.HasPrefix(name, "BLOBD_"), strings.HasPrefix(name, "DOCKER_"), strings.HasPrefix(name, "XDG_"),
			name == "HOME", name == "NOTIFY_SOCKET", name == "CACHE_DIRECTORY":
		default:
			env = append(env, kv)
		}
	}
	return append(append(env, "HOME="+h.Dir), h.Env...)
}

// freeAddress is one that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
