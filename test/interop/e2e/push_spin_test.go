package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/registrytest"
)

// shop is the manifest of two components, of which one is downloaded.
const shop = `spin_manifest_version = 2

[application]
name = "shop"
version = "1.0.0"
authors = ["Somebody <somebody@example.com>"]

[variables]
token = { required = true, secret = true }
level = { default = "1" }

[[trigger.http]]
route = "/..."
component = "web"

[[trigger.http]]
route = "/api"
component = "api"

[component.web]
source = "web.wasm"
files = [{ source = "assets", destination = "/" }, "static/**/*"]
exclude_files = ["*.map"]
environment = { LEVEL = "1" }

[component.api]
source = { url = %q, digest = %q }
files = ["static/img/*.png"]
[component.api.variables]
token = "{{ token }}"
`

// aModule builds a real wasm module.
func aModule(t *testing.T) []byte {
	t.Helper()
	dir := site(t, map[string]string{
		"go.mod":  "module example.com/hello\n\ngo 1.26\n",
		"main.go": "package main\n\nimport \"os\"\n\nfunc main() { _, _ = os.Stdout.WriteString(\"Content-Type: text/plain\\n\\nhello\\n\") }\n",
	})
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", "hello.wasm", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "hello.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// holds compares the whole tree of an artifact, but for the locked application, with files.
func (w *world) holds(ref string, files map[string]string) {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "tree")
	w.run("cp", ref, dir)
	seen := 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if name == "locked.json" {
			if !bytes.HasPrefix(raw, []byte(`{"spin_lock_version":0,`)) {
				w.t.Errorf("%s is %.100s", name, raw)
			}
			return err
		}
		seen++
		if want, ok := files[name]; !ok {
			w.t.Errorf("%s is one too many", name)
		} else {
			same(w.t, name, raw, []byte(want))
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if seen != len(files) {
		w.t.Errorf("%d files, not %d", seen, len(files))
	}
}

// TestPushSpin pushes applications as a developer would, and reads every file through the daemon: a layer for each asset of
// a size that matters, a real wasm module, one that is downloaded, and 600 assets in bundles.
func TestPushSpin(t *testing.T) {
	w := newWorld(t, setup{})
	web, api := aModule(t), append([]byte("\x00asm\x01\x00\x00\x00"), noise(5000)...)
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) { _, _ = out.Write(api) }))
	defer server.Close()
	big := string(noise(70 << 10))
	dir := site(t, map[string]string{
		"spin.toml": fmt.Sprintf(shop, server.URL+"/api.wasm", digest.FromBytes(api)), "web.wasm": string(web),
		"assets/empty": "", "assets/one": "1", "assets/css/128.css": strings.Repeat("a", 128), "assets/css/129.css": strings.Repeat("b", 129),
		"assets/css/129.css.map": "left out", "static/img/big.png": big, "static/hello world.txt": "hello",
	})
	want := map[string]string{
		"web.wasm": string(web), "api.wasm": string(api), "api/static/img/big.png": big,
		"web/empty": "", "web/one": "1", "web/css/128.css": strings.Repeat("a", 128), "web/css/129.css": strings.Repeat("b", 129),
		"web/static/img/big.png": big, "web/static/hello world.txt": "hello",
	}
	ref := w.ref("acme/shop:v1")
	manifest := filepath.Join(dir, "spin.toml")
	first := w.run("push", "--spin", "--source-date-epoch", "0", manifest, ref)
	if !bytes.HasPrefix(first, []byte("Pushed with digest sha256:")) {
		t.Errorf("%s", first)
	}
	w.holds(ref, want)
	w.reads([]byte(big), "cat", ref, "api/static/img/big.png")
	w.reads(web, "cat", ref, "web.wasm")
	w.reads(nil, "cat", ref, "web/empty")

	// The config and five layers are asked for; no byte of a blob moves.
	w.reg.Reset()
	if again := w.run("push", "--spin", "--source-date-epoch", "0", dir, ref); !bytes.Equal(again, first) {
		t.Errorf("%s, then %s", first, again)
	}
	costs(t, "a second push", w.reg.Proxy, registrytest.Counts{Blob: 6, Head: 6, Tag: 1})

	t.Run("bundles", func(t *testing.T) {
		files := map[string]string{"a.wasm": "\x00asm\x01\x00\x00\x00", "spin.toml": `spin_manifest_version = 2
application.name = "many"
trigger = {}
component.a = { source = "a.wasm", files = ["many/**/*"] }
component.b = { source = "a.wasm", files = ["many/3/*"] }
`}
		want := map[string]string{"a.wasm": files["a.wasm"], "b.wasm": files["a.wasm"]}
		for i := range 600 {
			name := fmt.Sprintf("many/%d/%03d.txt", i%7, i)
			files[name] = strings.Repeat(fmt.Sprint(i, " "), i)
			want["a/"+name] = files[name]
			if i%7 == 3 {
				want["b/"+name] = files[name]
			}
		}
		ref := w.ref("acme/many:v1")
		w.run("push", "--spin", "--warm", filepath.Join(site(t, files), "spin.toml"), ref)
		w.reg.Reset()
		w.holds(ref, want)
		costs(t, "reading what --warm fetched", w.reg.Proxy, nothing)
	})
}

// TestPushSpinChanges moves a tag to an application of which one asset of 50 is another: the daemon asks for the tag, and
// fetches the manifest, the locked application and the asset.
func TestPushSpinChanges(t *testing.T) {
	w := newWorld(t, setup{})
	files := map[string]string{"a.wasm": "\x00asm\x01\x00\x00\x00", "spin.toml": `spin_manifest_version = 2
application.name = "fifty"
trigger = {}
component.a = { source = "a.wasm", files = ["files/*"] }
`}
	for i := range 50 {
		files[fmt.Sprintf("files/%02d", i)] = strings.Repeat(fmt.Sprint(i, " "), 200)
	}
	dir := site(t, files)
	ref := w.ref("acme/fifty:v1")
	w.run("push", "--spin", "--warm", dir, ref)
	changed := bytes.Repeat([]byte("changed"), 200)
	if err := os.WriteFile(filepath.Join(dir, "files/17"), changed, 0o644); err != nil {
		t.Fatal(err)
	}
	w.run("push", "--spin", dir, ref)
	w.reg.Reset()
	w.run("prefetch", "--max-age", "0", ref)
	costs(t, "a moved tag", w.reg.Proxy, registrytest.Counts{Tag: 1, Head: 1, Manifest: 1, Blob: 2})
	w.reads(changed, "cat", ref, "a/files/17")
	costs(t, "the changed asset", w.reg.Proxy, nothing)
}
