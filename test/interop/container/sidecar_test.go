//go:build linux

package container

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/rig"
)

const mib = 1 << 20

// TestSidecar is the whole story of a pod with a sidecar, as deploy/k8s/example has it: start, wait, read, a credential
// that rotates, a registry that dies, a disk that fills, a crash, and the end of the pod while somebody reads.
func TestSidecar(t *testing.T) {
	e := needEngine(t)
	reg := registrytest.New(t, registrytest.Options{})
	g := &guard{host: reg.Host(), password: "first"}
	reg.Fault(g.check)
	files := map[string][]byte{}
	var list []archivetest.File
	for i, size := range []int64{100_000, 200_000, 300_000, 400_000, 500_000, 600_000, 4 * mib, 8 * mib, 8 * mib} {
		f := archivetest.File{Path: "f" + strconv.Itoa(i), Content: archivetest.Random(uint64(i), size)}
		files[f.Path] = archivetest.Bytes(f.Content)
		list = append(list, f)
	}
	if _, err := archivetest.PushFiles(t.Context(), reg.PushHost(), "team/assets:v1", list, archivetest.Options{}); err != nil {
		t.Fatal(err)
	}
	ref := reg.Host() + "/team/assets:v1"

	pod, config := readManifest(t, "example", "Deployment")
	k := newKubelet(t, e, pod, config)
	disk := smallDisk(t, k.volume("blobd-cache"))
	read := func(path string) { k.reads(files[path], ref, path) }

	step(t, "before the start", func() {
		k.fails(6, "cat", ref, "f0")
	})
	step(t, "start, wait, read", func() {
		k.launch()
		k.await()
		k.fails(4, "cat", ref, "f0")
		k.setSecret(dockerConfig(reg.Host(), "first")) // which is optional, and may come late
		read("f0")
		if err := k.probe(k.daemon.Readiness); err != nil {
			t.Error(err)
		}
	})
	running := k.state()
	step(t, "what it may and has", func() {
		hasNoRights(t, k, running)
		keepsToItsLimits(t, k, runtime.NumCPU())
	})
	step(t, "what the application may", func() {
		k.fails(4, "cache", "path") // it is not an admin
		if r := k.app("serve", "--socket", "/run/blobd/other.sock", "--cache-dir", "/dev/shm/c", "--http-addr", "off"); r.exit == 0 ||
			!strings.Contains(r.stderr, "read-only file system") {
			t.Errorf("the application puts a socket beside blobd's: %+v", r)
		}
	})

	for i, way := range []struct {
		name, password string
		basic          bool
		window, after  string
	}{{"a token's login", "second", false, "f1", "f2"}, {"a basic login", "third", true, "f3", "f4"}} {
		step(t, way.name+" rotates", func() {
			g.rotate(way.password, way.basic) // the old one is revoked at once: the worst order
			k.fails(4, "cat", ref, way.window)
			read("f0") // cached, and granted
			refused := g.refusals()
			if refused == 0 {
				t.Error("the old login was never refused: this shows nothing")
			}
			k.setSecret(dockerConfig(reg.Host(), way.password))
			read(way.window) // at once
			read(way.after)
			if now := g.refusals(); now != refused {
				t.Errorf("%d: the old login was used again %d times", i, now-refused)
			}
			if now := k.state(); now != running {
				t.Errorf("the container was restarted: %+v, then %+v", running, now)
			}
		})
	}

	step(t, "the registry is dead", func() {
		reg.Stop()
		defer func() {
			if err := reg.Start(); err != nil {
				t.Fatal(err)
			}
		}()
		read("f0")
		k.fails(7, "cat", ref, "f5")
		k.alive()
	})
	step(t, "a crash", func() {
		k.restart()
		reg.Reset()
		read("f0")
		if n := reg.Counts().Total(); n != 0 {
			t.Errorf("what was cached costs %d requests after a crash: %+v", n, reg.Requests())
		}
	})
	running = k.state()
	step(t, "the disk is full", func() {
		disk.fill(t)
		defer disk.free(t)
		read("f7") // passed on, and not kept
		read("f0")
		k.alive()
	})
	if now := k.state(); now != running {
		t.Errorf("the container was restarted: %+v, then %+v", running, now)
	}
	step(t, "drain: a read that ends in time", func() {
		reg.Throttle(2 * mib)
		r := k.readWhile(reg, ref, "f6", func() {
			if exit := k.stop(); exit != "0" {
				t.Errorf("blobd ended with %s", exit)
			}
		})
		if r.exit != 0 || !bytes.Equal(r.stdout, files["f6"]) {
			t.Errorf("exit code %d, %d bytes of %d: %s", r.exit, len(r.stdout), len(files["f6"]), r.stderr)
		}
		reg.Throttle(0)
	})
	step(t, "drain: a read that does not", func() {
		k.remove()
		k.launch("-e", "BLOBD_DRAIN_TIMEOUT=2s")
		k.await()
		reg.HoldAfter(mib)
		defer reg.Release()
		r := k.readWhile(reg, ref, "f8", func() {
			if exit := k.stop(); exit != "0" {
				t.Errorf("blobd ended with %s", exit)
			}
		})
		if r.exit != 6 || !strings.HasPrefix(lastLine(r.stderr), "blobd: ") || len(r.stdout) >= len(files["f8"]) ||
			!bytes.HasPrefix(files["f8"], r.stdout) {
			t.Errorf("exit code %d, %d bytes of %d: %q", r.exit, len(r.stdout), len(files["f8"]), r.stderr)
		}
		t.Logf("cut after %d bytes: %s", len(r.stdout), lastLine(r.stderr))
	})
}

// step runs a part of a story, which ends with the first part that fails.
func step(t *testing.T, name string, run func()) {
	t.Helper()
	began := time.Now()
	run()
	if t.Failed() {
		t.Fatalf("so it went until: %s", name)
	}
	t.Logf("%s: %v", name, time.Since(began).Round(10*time.Millisecond))
}

// alive: nothing would take the pod out of service, or restart blobd.
func (k *kubelet) alive() {
	k.t.Helper()
	for name, p := range map[string]probe{"readiness": k.daemon.Readiness, "liveness": k.daemon.Liveness} {
		if err := k.probe(p); err != nil {
			k.t.Errorf("the %s probe: %v", name, err)
		}
	}
}

// readWhile has the application read a file, and runs then once bytes of it are on their way.
func (k *kubelet) readWhile(reg *registrytest.Registry, ref, path string, then func()) result {
	k.t.Helper()
	reg.Reset()
	var stdout, stderr bytes.Buffer
	cmd := k.appCommand("cat", ref, path)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	eventually(k.t, "bytes are on their way", func() bool { return reg.Counts().Bytes > mib/2 })
	then()
	return finished(cmd, cmd.Wait(), &stdout, &stderr)
}

// disk is a small file system for a cache.
type disk struct{ dir string }

func smallDisk(t *testing.T, dir string) disk {
	t.Helper()
	m, err := rig.Tmpfs(dir, "size=64m")
	if err == nil {
		err = m.Mount(t.Context())
	}
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return disk{dir}
}

func (d disk) ballast() string { return filepath.Join(d.dir, "ballast") }

func (d disk) fill(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(d.ballast(), make([]byte, 64*mib), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
}

func (d disk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		t.Error(err)
	}
}
