//go:build linux

package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// kubelet does what the kubelet does for one pod: it makes the volumes, starts containers as the manifest says, probes
// them, restarts one and ends it. Only three things are not as in a cluster: the network is the host's, since the registry
// is on its loopback; HTTP is on a port of loopback for the same reason; and the image's name.
type kubelet struct {
	t       *testing.T
	e       *engine
	dir     string // the volumes
	pod     podSpec
	daemon  container
	client  container // that of the application
	http    string
	name    string
	updates int // of secrets
}

// newKubelet makes the volumes of a pod whose container blobd is the one to run.
func newKubelet(t *testing.T, e *engine, pod podSpec, config map[string]string) *kubelet {
	t.Helper()
	k := &kubelet{t: t, e: e, dir: t.TempDir(), pod: pod, name: "blobd-" + strconv.FormatInt(time.Now().UnixNano(), 36)}
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		switch c.Name {
		case "blobd":
			k.daemon = c
		case "app":
			k.client = c
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.http = l.Addr().String()
	_ = l.Close()
	for _, v := range pod.Volumes {
		dir := k.volume(v.Name)
		var err error
		switch {
		case v.EmptyDir != nil: // open to whatever user a container runs as
			err = errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777))
		case v.HostPath != nil: // DirectoryOrCreate
			err = os.MkdirAll(dir, 0o755)
		case v.ConfigMap != nil:
			err = k.project(dir, config)
		case v.Projected != nil: // its secret is optional
			err = k.project(dir, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(k.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		log := k.log(ctx)
		if t.Failed() || strings.Contains(log, "panic") {
			t.Errorf("the log of blobd:\n%s", log)
		}
		_, _ = e.run(ctx, "rm", "-f", "-t", "0", k.name)
	})
	return k
}

// volume is where a volume is on the host.
func (k *kubelet) volume(name string) string { return filepath.Join(k.dir, name) }

// project writes files into a volume as the kubelet does: into a new folder, to which the link ..data is turned in one
// step. The names that containers open are links through it.
func (k *kubelet) project(dir string, files map[string]string) error {
	k.updates++
	stamp := fmt.Sprintf("..2026_01_02_03_04_05.%09d", k.updates)
	if err := os.MkdirAll(filepath.Join(dir, stamp), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, stamp, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	err := errors.Join(os.Symlink(stamp, filepath.Join(dir, "..data_tmp")),
		os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	for name := range files {
		if _, statErr := os.Lstat(filepath.Join(dir, name)); statErr != nil {
			err = errors.Join(err, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
		}
	}
	if old != "" {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, old)))
	}
	return err
}

// setSecret gives the pod's secret of logins a new value.
func (k *kubelet) setSecret(value string) {
	k.t.Helper()
	for _, v := range k.pod.Volumes {
		if v.Projected == nil {
			continue
		}
		item := v.Projected.Sources[0].Secret.Items[0]
		if item.Key != ".dockerconfigjson" {
			k.t.Fatalf("the volume %s wants the key %s", v.Name, item.Key)
		}
		if err := k.project(k.volume(v.Name), map[string]string{item.Path: value}); err != nil {
			k.t.Fatal(err)
		}
		return
	}
	k.t.Fatal("the pod has no secret")
}

// flags are those of podman that make a container what the manifest says.
func (k *kubelet) flags(c container, network string) []string {
	s := c.SecurityContext
	flags := append(k.e.limits(), "--network", network, "--user", fmt.Sprintf("%d:%d", s.User, s.Group), "--read-only-tmpfs=false",
		"--memory", strconv.FormatInt(bytesOf(k.t, c.Resources.Limits.Memory), 10))
	if s.ReadOnly {
		flags = append(flags, "--read-only")
	}
	if !s.Escalate {
		flags = append(flags, "--security-opt", "no-new-privileges")
	}
	for _, name := range s.Caps.Drop {
		flags = append(flags, "--cap-drop", strings.ToLower(name))
	}
	for _, e := range c.Env {
		flags = append(flags, "-e", e.Name+"="+e.Value)
	}
	for _, m := range c.Mounts {
		mount := k.volume(m.Name) + ":" + m.Path
		if m.ReadOnly {
			mount += ":ro"
		}
		flags = append(flags, "-v", mount)
	}
	return flags
}

// launch starts blobd's container, with more flags for podman, and does not wait.
func (k *kubelet) launch(more ...string) {
	k.t.Helper()
	args := append([]string{"run", "-d", "--name", k.name}, k.flags(k.daemon, "host")...)
	args = append(append(args, more...), "-e", "BLOBD_HTTP_ADDR="+k.http)
	k.e.must(k.t, append(append(args, image), k.daemon.Args...)...)
}

// await is what holds the application back: the startup probe, as often as the manifest says.
func (k *kubelet) await() {
	k.t.Helper()
	p := k.daemon.Startup
	for range p.Failure {
		if k.probe(p) == nil {
			return
		}
		select {
		case <-time.After(time.Duration(p.Period) * time.Second):
		case <-k.t.Context().Done():
		}
	}
	k.t.Fatalf("blobd has not started:\n%s", k.log(k.t.Context()))
}

// probe runs a probe's command in blobd's container.
func (k *kubelet) probe(p probe) error {
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Duration(p.Timeout)*time.Second+within) // podman takes time of its own
	defer cancel()
	_, err := k.e.run(ctx, append([]string{"exec", k.name}, p.Exec.Command...)...)
	return err
}

// restart ends blobd at once, and starts its container again, as after a crash.
func (k *kubelet) restart() {
	k.t.Helper()
	k.e.must(k.t, "kill", "--signal", "KILL", k.name)
	k.e.must(k.t, "wait", k.name)
	k.e.must(k.t, "start", k.name)
	k.await()
}

// stop ends blobd as the end of a pod does, and returns its exit code.
func (k *kubelet) stop() string {
	k.t.Helper()
	k.e.must(k.t, "stop", "-t", strconv.Itoa(k.pod.TerminationSeconds), k.name)
	return strings.TrimSpace(k.e.must(k.t, "inspect", "--format", "{{.State.ExitCode}}", k.name))
}

// remove forgets the ended container; the volumes stay.
func (k *kubelet) remove() { k.e.must(k.t, "rm", k.name) }

// state is what does not change while a container runs.
type state struct {
	Pid       int
	StartedAt string
}

func (k *kubelet) state() (s state) {
	k.t.Helper()
	if err := json.Unmarshal([]byte(k.e.must(k.t, "inspect", "--format", "{{json .State}}", k.name)), &s); err != nil {
		k.t.Fatal(err)
	}
	return s
}

func (k *kubelet) log(ctx context.Context) string {
	var both bytes.Buffer
	cmd := k.e.command(ctx, "logs", k.name)
	cmd.Stdout, cmd.Stderr = &both, &both
	_ = cmd.Run()
	return both.String()
}

// result is what a container of the application did.
type result struct {
	stdout []byte
	stderr string
	exit   int
}

// app runs blobd's client in a container of the application: the application's user, mounts and rights, and no network at
// all. What it reads came through the socket.
func (k *kubelet) app(args ...string) result {
	k.t.Helper()
	cmd := k.appCommand(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return finished(cmd, cmd.Run(), &stdout, &stderr)
}

func (k *kubelet) appCommand(args ...string) *exec.Cmd {
	run := append([]string{"run", "--rm"}, k.flags(k.client, "none")...)
	return k.e.command(k.t.Context(), append(append(run, image), args...)...)
}

func finished(cmd *exec.Cmd, err error, stdout, stderr *bytes.Buffer) result {
	r := result{stdout: stdout.Bytes(), stderr: stderr.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.exit = exit.ExitCode()
	} else if err != nil {
		r.exit, r.stderr = -1, err.Error()
	}
	return r
}

// reads has the application read a file, and compares.
func (k *kubelet) reads(want []byte, ref, path string) {
	k.t.Helper()
	if r := k.app("cat", ref, path); r.exit != 0 || !bytes.Equal(r.stdout, want) {
		k.t.Errorf("cat %s: exit code %d, %d bytes of %d: %s", path, r.exit, len(r.stdout), len(want), r.stderr)
	}
}

// fails has the application read a file, which must fail with this exit code and one line that says why.
func (k *kubelet) fails(exit int, args ...string) {
	k.t.Helper()
	if r := k.app(args...); r.exit != exit || !strings.HasPrefix(lastLine(r.stderr), "blobd: ") {
		k.t.Errorf("%q: exit code %d, not %d: %q", args, r.exit, exit, r.stderr)
	}
}

// lastLine leaves out what podman itself may have to say before.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
