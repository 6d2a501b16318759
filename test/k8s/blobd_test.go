package k8s

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// built is where TestMain put the binary.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "blobd-k8s-")
	if err != nil {
		panic(err)
	}
	built = filepath.Join(dir, "blobd")
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var build = sync.OnceValues(func() ([]byte, error) {
	cmd := exec.Command("go", "build", "-o", built, "./cmd/blobd")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	return cmd.CombinedOutput()
})

// blobd runs the binary in the environment of a container.
func blobd(t *testing.T, c corev1.Container, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	if out, err := build(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(built, args...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	for _, e := range c.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// TestConfig has blobd check the configuration that a pod mounts, in the environment that the pod gives it, and compares
// what is in force with the rest of the pod.
func TestConfig(t *testing.T) {
	for _, dir := range everything() {
		objects, _ := render(t, dir)
		for _, p := range daemons(t, objects) {
			c := p.blobd()
			if got := strings.Join(c.Args, " "); got != "serve --config /etc/blobd/config.yaml" || len(c.Command) > 0 {
				t.Errorf("%s: pod %s starts %q %q", dir, p.name, c.Command, got)
			}
			p.volume(t, "/etc/blobd")
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(p.config), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, errs, err := blobd(t, c, "config", "check", file); err != nil || errs != "" {
				t.Errorf("%s: pod %s: config check: %v: %s%s", dir, p.name, err, out, errs)
			}
			in := p.inForce(t, file)
			socket, cache := p.volume(t, filepath.Dir(in.Socket)), p.volumeAbove(t, in.CacheDir)
			if socket.EmptyDir == nil && socket.HostPath == nil || cache.EmptyDir == nil && cache.HostPath == nil {
				t.Errorf("%s: pod %s: the socket is in %+v, the cache in %+v", dir, p.name, socket, cache)
			}
			if cache.EmptyDir != nil && p.mounted(in.CacheDir) {
				t.Errorf("%s: pod %s: the cache folder is the volume itself, in which everybody may write", dir, p.name)
			}
			if port := c.Ports[0]; port.Name != "blobd-metrics" || !strings.HasSuffix(in.HTTPAddr, ":9465") || port.ContainerPort != 9465 {
				t.Errorf("%s: pod %s: port %+v, and http_addr %s", dir, p.name, port, in.HTTPAddr)
			}
			if v := p.volume(t, filepath.Dir(in.Credentials.DockerConfig)); v.Projected == nil ||
				v.Projected.Sources[0].Secret.Items[0].Key != corev1.DockerConfigJsonKey ||
				v.Projected.Sources[0].Secret.Items[0].Path != filepath.Base(in.Credentials.DockerConfig) {
				t.Errorf("%s: pod %s: logins are read from %s, and mounted by %+v", dir, p.name, in.Credentials.DockerConfig, v)
			}
			for _, other := range p.containers() {
				if other.Name == "blobd" {
					continue
				}
				for _, e := range other.Env {
					if e.Name == "BLOBD_SOCKET" && e.Value != in.Socket {
						t.Errorf("%s: pod %s: container %s looks for the socket at %s", dir, p.name, other.Name, e.Value)
					}
				}
				for _, m := range other.VolumeMounts {
					if strings.HasPrefix(m.Name, "blobd-") && (m.Name != socket.Name || !m.ReadOnly) {
						t.Errorf("%s: pod %s: container %s mounts %+v", dir, p.name, other.Name, m)
					}
				}
			}
		}
	}
}

// settings are those of the configuration in force that a pod's other fields must fit.
type settings struct {
	Socket       string `json:"socket"`
	CacheDir     string `json:"cache_dir"`
	HTTPAddr     string `json:"http_addr"`
	MaxSize      string `json:"max_size"`
	DrainTimeout string `json:"drain_timeout"`
	Credentials  struct {
		DockerConfig string `json:"docker_config"`
	} `json:"credentials"`
}

func (p pod) inForce(t *testing.T, file string) (s settings) {
	t.Helper()
	out, errs, err := blobd(t, p.blobd(), "-o", "json", "config", "show", "--config", file)
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	if err != nil {
		t.Fatalf("config show: %v: %s%s", err, out, errs)
	}
	return s
}

func (p pod) mounted(path string) bool {
	for _, m := range p.blobd().VolumeMounts {
		if m.MountPath == path {
			return true
		}
	}
	return false
}

// volumeAbove is the volume that holds path.
func (p pod) volumeAbove(t *testing.T, path string) corev1.Volume {
	for ; path != "/"; path = filepath.Dir(path) {
		if p.mounted(path) {
			break
		}
	}
	return p.volume(t, path)
}

// TestProbes: a probe's command is one that blobd has, with flags that it takes, and it is given longer than it takes
// itself to say that no answer came. What restarts a container asks for life alone.
func TestProbes(t *testing.T) {
	for _, dir := range everything() {
		objects, _ := render(t, dir)
		for _, p := range daemons(t, objects) {
			c := p.blobd()
			for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
				if probe == nil || probe.Exec == nil || probe.Exec.Command[0] != "blobd" {
					t.Errorf("%s: pod %s: the %s probe is %+v", dir, p.name, name, probe)
					continue
				}
				args := probe.Exec.Command[1:]
				if out, errs, err := blobd(t, c, append(args, "--help")...); err != nil || !strings.Contains(out, "blobd healthcheck") {
					t.Errorf("%s: pod %s: the %s probe: %v: %s", dir, p.name, name, err, errs)
				}
				own, live := 5*time.Second, false // --timeout's default
				for i, a := range args {
					live = live || a == "--live"
					if a == "--timeout" {
						var err error
						if own, err = time.ParseDuration(args[i+1]); err != nil {
							t.Error(err)
						}
					}
				}
				if given := time.Duration(probe.TimeoutSeconds) * time.Second; given <= own {
					t.Errorf("%s: pod %s: the %s probe is given %v, and takes up to %v", dir, p.name, name, given, own)
				}
				if live != (name == "liveness") {
					t.Errorf("%s: pod %s: the %s probe asks for %q", dir, p.name, name, args)
				}
			}
		}
	}
}
