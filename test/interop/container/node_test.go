//go:build linux

package container

import (
	"bytes"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
)

// TestNode runs blobd as deploy/k8s/daemonset does, for a whole node: on folders of the host that are root's, as a root
// without any right of root's. Processes of the host and other pods read through it, and only the host's root looks after
// the cache. A new version finds what the old one kept.
func TestNode(t *testing.T) {
	e := needEngine(t)
	reg := registrytest.New(t, registrytest.Options{})
	f := archivetest.File{Path: "f", Content: archivetest.Random(1, 300_000)}
	want := archivetest.Bytes(f.Content)
	if _, err := archivetest.PushFiles(t.Context(), reg.PushHost(), "team/assets:v1", []archivetest.File{f}, archivetest.Options{Zstd: true}); err != nil {
		t.Fatal(err)
	}
	ref := reg.Host() + "/team/assets:v1"

	pod, config := readManifest(t, "daemonset", "DaemonSet")
	k := newKubelet(t, e, pod, config)
	k.client = otherPod("socket")
	k.launch("--cpus", "1")
	k.await()
	k.alive()
	if _, err := e.run(t.Context(), "healthcheck", "run", k.name); err != nil { // the image's own
		t.Error(err)
	}
	hasNoRights(t, k, k.state())
	keepsToItsLimits(t, k, min(runtime.NumCPU(), 2)) // Go takes no less than two

	host := filepath.Join(t.TempDir(), "blobd")
	e.must(t, "cp", k.name+":/usr/bin/blobd", host)
	socket := filepath.Join(k.volume("socket"), "blobd.sock")
	onHost := func(args ...string) string {
		t.Helper()
		out, err := output(exec.CommandContext(t.Context(), host, append([]string{"--socket", socket}, args...)...))
		if err != nil {
			t.Error(err)
		}
		return out
	}
	k.reads(want, ref, "f")
	if got := onHost("cat", ref, "f"); !bytes.Equal([]byte(got), want) {
		t.Errorf("a process of the host reads %d bytes of %d", len(got), len(want))
	}
	onHost("cache", "status")
	k.fails(4, "cache", "path") // of another pod's user

	err := filepath.WalkDir(k.volume("cache"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == k.volume("cache") {
			return err
		}
		if info, err := d.Info(); err != nil || d.IsDir() && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: other users of the host may look: %v (%v)", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}

	if exit := k.stop(); exit != "0" {
		t.Errorf("blobd ended with %s", exit)
	}
	k.remove()
	reg.Reset()
	k.launch()
	k.await()
	k.reads(want, ref, "f")
	if n := reg.Counts().Total(); n != 0 {
		t.Errorf("after an update, what was cached costs %d requests", n)
	}
}

// otherPod is an application somewhere on the node, which mounts the folder of the socket.
func otherPod(socket string) (c container) {
	c.Env = append(c.Env, struct{ Name, Value string }{"BLOBD_SOCKET", "/run/blobd/blobd.sock"})
	c.SecurityContext.User, c.SecurityContext.Group, c.SecurityContext.ReadOnly = 20000, 20000, true
	c.SecurityContext.Caps.Drop = []string{"ALL"}
	c.Resources.Limits.Memory = "128Mi"
	c.Mounts = append(c.Mounts, struct {
		Name     string
		Path     string `yaml:"mountPath"`
		ReadOnly bool   `yaml:"readOnly"`
	}{socket, "/run/blobd", true})
	return c
}
