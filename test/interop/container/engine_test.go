//go:build linux

package container

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/testneed"
)

const (
	// image is blobd's, as the Dockerfile makes it.
	image = "localhost/blobd:test"
	// version is what that image was told to be.
	version = "v0.0.0-container"
	commit  = "0123456789abcdef0123456789abcdef01234567"
	// within is how long anything may take that is waited for, on a machine that is busy with other tests.
	within = time.Minute
)

// engine is podman with storage of its own.
type engine struct {
	dir    string
	cgroup string
	flags  []string
}

// shared is the engine of all tests, with the image in it.
var shared = sync.OnceValues(newEngine)

// started says that TestMain has something to clear away.
var started bool

func TestMain(m *testing.M) {
	code := m.Run()
	if started {
		if e, err := shared(); e != nil {
			if err := errors.Join(err, e.close()); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// needEngine is the engine, with blobd's image, or the end of the test.
func needEngine(t *testing.T) *engine {
	t.Helper()
	testneed.Root(t)
	testneed.Command(t, "podman", "Debian package podman")
	testneed.Command(t, "runc", "Debian package runc")
	if !static(testneed.Command(t, "busybox", "Debian package busybox-static")) {
		testneed.Missing(t, "it needs a static busybox (Debian package busybox-static)")
	}
	started = true
	e, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// static reports whether a binary needs no libraries.
func static(path string) bool {
	binary, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer binary.Close()
	libraries, err := binary.ImportedLibraries()
	return err == nil && len(libraries) == 0
}

func newEngine() (*engine, error) {
	dir, err := os.MkdirTemp("", "blobd-podman-")
	if err != nil {
		return nil, err
	}
	e := &engine{dir: dir, cgroup: "/" + filepath.Base(dir)}
	e.flags = []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--runtime", "runc", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*within)
	defer cancel()
	if err := e.importBase(ctx); err != nil {
		return e, fmt.Errorf("the base of the build: %w", err)
	}
	return e, e.build(ctx, image)
}

func (e *engine) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, err := e.run(ctx, "rm", "-f", "-a", "-t", "0")
	return errors.Join(err, e.removeCgroups(ctx), os.RemoveAll(e.dir))
}

// removeCgroups removes what podman leaves: the group above those of containers, and its own helper's in it, in each
// controller's tree or in the one of version 2. The helpers may take a moment to be gone.
func (e *engine) removeCgroups(ctx context.Context) error {
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + e.cgroup)
	for _, group := range append(groups, "/sys/fs/cgroup"+e.cgroup) {
		for {
			_ = os.Remove(filepath.Join(group, "conmon"))
			err := os.Remove(group)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return err
			}
		}
	}
	return nil
}

// importBase makes the image that the first stage of the Dockerfile starts from, with what it needs besides Go: a shell, a
// handful of commands, and the certificates of this machine.
func (e *engine) importBase(ctx context.Context) error {
	root := filepath.Join(e.dir, "base")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	err = errors.Join(os.MkdirAll(filepath.Join(root, "bin"), 0o755), os.MkdirAll(filepath.Join(root, "etc/ssl/certs"), 0o755),
		os.Mkdir(filepath.Join(root, "tmp"), 0o1777),
		copyFile(busybox, filepath.Join(root, "bin/busybox"), 0o755),
		copyFile("/etc/ssl/certs/ca-certificates.crt", filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), 0o644))
	for _, name := range []string{"sh", "mkdir", "cp", "echo", "chmod", "find", "touch"} {
		err = errors.Join(err, os.Symlink("busybox", filepath.Join(root, "bin", name)))
	}
	archive := filepath.Join(e.dir, "base.tar")
	if err == nil {
		_, err = output(exec.CommandContext(ctx, "tar", "-c", "-f", archive, "-C", root, "."))
	}
	if err != nil {
		return err
	}
	_, err = e.run(ctx, "import", "--change", "ENV=PATH=/usr/local/go/bin:/bin", "--change", "ENV=GOMODCACHE=/modules",
		"--change", "ENV=GOCACHE=/objects", "--change", "ENV=GOPROXY=off", "--change", "ENV=GOTOOLCHAIN=local",
		archive, "localhost/go:here")
	return err
}

// build runs the Dockerfile. Its build has no network: the modules that it downloads are this machine's.
func (e *engine) build(ctx context.Context, tag string) error {
	download := exec.CommandContext(ctx, "go", "mod", "download")
	download.Dir = "../../.."
	if _, err := output(download); err != nil {
		return err
	}
	flags, err := e.buildFlags(ctx)
	if err != nil {
		return err
	}
	args := append([]string{"build", "--timestamp", "0"}, flags...)
	_, err = e.run(ctx, append(args, "--build-arg", "VERSION="+version, "--build-arg", "COMMIT="+commit, "-t", tag, "../../..")...)
	return err
}

// buildFlags have a build use this machine's Go, and share its caches.
func (e *engine) buildFlags(ctx context.Context) ([]string, error) {
	caches, err := output(exec.CommandContext(ctx, "go", "env", "GOROOT", "GOMODCACHE", "GOCACHE"))
	if err != nil {
		return nil, err
	}
	at := strings.Fields(caches)
	if len(at) != 3 {
		return nil, fmt.Errorf("go env: %q", caches)
	}
	return []string{
		"--isolation", "chroot", "--format", "docker", "--layers=false", "--no-cache", "--build-arg", "GO_IMAGE=localhost/go:here",
		"-v", at[0] + ":/usr/local/go:ro", "-v", at[1] + ":/modules:ro", "-v", at[2] + ":/objects",
	}, nil
}

// run runs podman to its end and returns what it printed; the error holds its stderr.
func (e *engine) run(ctx context.Context, args ...string) (string, error) {
	return output(e.command(ctx, args...))
}

// must is run for what must succeed.
func (e *engine) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := e.run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (e *engine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "podman", slices.Concat(e.flags, args)...)
	// Its own timers would ask for the health of containers that its default storage does not have.
	cmd.Env = append(os.Environ(), "DISABLE_HC_SYSTEMD=true")
	return cmd
}

// limits are for every container: podman would raise them, which takes a right that not every machine gives to root.
func (e *engine) limits() []string {
	return []string{"--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--cgroup-parent", e.cgroup}
}

// output runs a command and returns its stdout; the error holds its stderr.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// eventually waits until ok says yes.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in %v: %s", within, what)
		}
	}
}
