package docs

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
	"github.com/blobd/blobd/test/interop/rig"
)

// binary is blobd, which TestMain builds.
var binary string

func TestMain(m *testing.M) {
	code, err := func() (int, error) {
		dir, err := os.MkdirTemp("", "blobd-docs-")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(dir)
		if binary, err = rig.Build(context.Background(), dir, false); err != nil {
			return 0, err
		}
		return m.Run(), nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// world is where a page's commands run: a home, a registry with what pages read from, a web site, and a shell.
type world struct {
	*shell
	dir  string
	log  string            // of daemons
	subs *strings.Replacer // what stands for the names in pages
}

// siteFile is what the web site of the pages has, at every address.
var siteFile = []byte("\x00asm\x01\x00\x00\x00")

// sudo runs blobd as whoever runs the test, and nothing else: a page must not change this machine.
const sudo = `#!/bin/sh
[ "$1" = blobd ] && exec "$@"
echo "only blobd is run with sudo here: put this command on the list notRun" >&2
exit 126
`

// wasm is a module of WebAssembly without anything in it.
const wasm = "\x00asm\x01\x00\x00\x00"

func newWorld(t *testing.T) *world {
	t.Helper()
	if runtime.GOOS == "windows" {
		testneed.Missing(t, "it needs the shell of a unix")
	}
	bash := testneed.Command(t, "bash", "Debian package bash")
	testneed.Command(t, "curl", "Debian package curl")
	dir, err := os.MkdirTemp("", "blobd-") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	reg := registrytest.New(t, registrytest.Options{})
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(siteFile) }))
	t.Cleanup(site.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	http := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w := &world{dir: dir, log: filepath.Join(dir, "log")}

	// substitutions: pages say the left, the commands here take the right.
	w.subs = strings.NewReplacer(
		"registry.example", reg.Host(), // plain HTTP, since it is loopback
		"https://example.com/", site.URL+"/",
		"sha256:2c26…e7ae", digest.FromBytes(siteFile).String(), // of what is at example.com
		"127.0.0.1:9465", http,
		"localhost:9465", http,
		"/run/blobd/blobd.sock", filepath.Join(dir, "run/blobd.sock"),
		"/run/blobd", filepath.Join(dir, "run"),
		"/var/cache/blobd", filepath.Join(dir, "cache"),
		"/etc/blobd", filepath.Join(dir, "etc"),
	)
	w.files(t, map[string]string{
		"bin/sudo":             sudo,
		"bin/pass":             "#!/bin/sh\necho secret\n",
		"work/token":           "secret\n",
		"work/site/index.html": "<h1>one warm cache per host</h1>\n",
		"work/site/css/a.css":  "body { margin: 0 }\n",
		"work/app.wasm":        wasm,
		"work/spin.toml": "spin_manifest_version = 2\n[application]\nname = \"app\"\nversion = \"1.0.0\"\n" +
			"[[trigger.http]]\nroute = \"/...\"\ncomponent = \"app\"\n[component.app]\nsource = \"app.wasm\"\n",
		"etc/config.yaml": "max_size: 1GiB\n",
		"run/keep":        "",
	})
	if err := os.Symlink(binary, filepath.Join(dir, "bin/blobd")); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"HOME=" + dir, "PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "LANG=C.UTF-8",
		"BLOBD_SOCKET=" + filepath.Join(dir, "run/blobd.sock"), "BLOBD_CACHE_DIR=" + filepath.Join(dir, "cache"),
		"BLOBD_HTTP_ADDR=" + http, "BLOBD_URLS_ALLOW_HTTP=[" + strings.TrimPrefix(site.URL, "http://") + "]",
		"BLOBD_AUTH_FILE=" + filepath.Join(dir, "auth.json"),
	}
	// What pages that push nothing themselves read.
	for _, args := range [][]string{
		{"push", "work/site", reg.Host() + "/team/assets:v1"},
		{"push", "--spin", "work/spin.toml", reg.Host() + "/team/app:v1"},
	} {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Dir, cmd.Env = dir, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
	}
	w.shell = newShell(t, bash, filepath.Join(dir, "work"), env)
	return w
}

// files writes files below the world's folder, those in bin so that they can be run.
func (w *world) files(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(w.dir, filepath.FromSlash(name))
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// do runs a command of a page, and waits until a daemon that it starts serves.
func (w *world) do(command string) (printed, exit string, err error) {
	command = w.subs.Replace(command)
	printed, exit, err = w.run(serving(command, w.log))
	if err == nil && exit == "0" && startsDaemon(command) {
		const await = "for i in $(seq 600); do blobd healthcheck >/dev/null 2>&1 && break; sleep 0.05; done; blobd healthcheck"
		if said, code, err := w.run(await); err != nil || code != "0" {
			log, _ := os.ReadFile(w.log)
			return printed, code, fmt.Errorf("the daemon does not serve: %v: %s: %s", err, said, log)
		}
	}
	return printed, exit, err
}

// startsDaemon reports whether a command leaves a daemon behind.
func startsDaemon(command string) bool { return serving(command, "x") != command }
