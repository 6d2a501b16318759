package spin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/internal/oci"
)

// manifest is an image manifest of a config and layers, each "<media type> <name of contents> [<title>]".
func manifest(t testing.TB, config string, layers ...string) oci.Manifest {
	t.Helper()
	descriptor := func(s string) string {
		f := strings.Fields(s)
		annotations := ""
		if len(f) > 2 {
			annotations = fmt.Sprintf(`,"annotations":{"org.opencontainers.image.title":%q}`, f[2])
		}
		return fmt.Sprintf(`{"mediaType":%q,"digest":"{{digest %q}}","size":{{size %q}}%s}`, f[0], f[1], f[1], annotations)
	}
	for i := range layers {
		layers[i] = descriptor(layers[i])
	}
	return parse(t, expand(t, `{"schemaVersion":2,"config":`+descriptor(config)+`,"layers":[`+strings.Join(layers, ",")+`]}`, nil))
}

const (
	imageConfig = "application/vnd.oci.image.config.v1+json config"
	emptyConfig = "application/vnd.oci.empty.v1+json empty{}"
	wasm        = "application/vnd.wasm.content.layer.v1+wasm web.wasm"
	plainWasm   = "application/wasm web.wasm"
	locked      = "application/vnd.fermyon.spin.application.v1+config other"
	asset       = "application/vnd.wasm.content.layer.v1+data 129"
)

func TestLocked(t *testing.T) {
	for _, c := range []struct {
		name        string
		m           oci.Manifest
		want        string // the content
		certain, ok bool
	}{
		{"last layer", manifest(t, imageConfig, wasm, asset, locked), "other", true, true},
		{"first layer", manifest(t, imageConfig, locked, wasm), "other", true, true},
		{"only layer", manifest(t, emptyConfig, locked), "other", true, true},
		{"two", manifest(t, imageConfig, wasm, strings.Replace(locked, "other", "one", 1), locked), "one", true, true},
		{"layer and config", manifest(t, strings.Replace(locked, "other", "one", 1), wasm, locked), "other", true, true},
		{"config", manifest(t, locked, wasm, asset), "other", true, true},
		{"config and no layers", manifest(t, locked), "other", true, true},
		{"ordinary config", manifest(t, imageConfig, wasm), "config", false, true},
		{"ordinary config, as wkg's layers", manifest(t, imageConfig, plainWasm), "config", false, true},
		{"some config", manifest(t, "application/json config", asset, wasm), "config", false, true},
		{"empty config", manifest(t, emptyConfig, wasm), "", false, false},
		{"wkg's config", manifest(t, "application/vnd.wasm.config.v0+json config", plainWasm), "", false, false},
		{"no wasm", manifest(t, imageConfig, "application/vnd.oci.image.layer.v1.tar+gzip other"), "", false, false},
		{"nothing", manifest(t, imageConfig), "", false, false},
		{"an index", oci.Manifest{MediaType: oci.MediaTypeImageIndex, Layers: manifest(t, imageConfig, locked).Layers}, "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, certain, ok := spin.Locked(c.m)
			want := oci.Descriptor{}
			if c.ok {
				want.Digest = digest.FromString(contents[c.want])
			}
			if d.Digest != want.Digest || certain != c.certain || ok != c.ok {
				t.Errorf("got %v %v %v", d, certain, ok)
			}
		})
	}
	huge := manifest(t, imageConfig, wasm)
	huge.Config.Size = 1 << 40
	if d, _, ok := spin.Locked(huge); ok {
		t.Errorf("a config of a terabyte: %v", d)
	}
}

func TestIsLocked(t *testing.T) {
	for raw, want := range map[string]bool{
		`{"spin_lock_version":0}`:                                 true,
		` {"x":{"spin_lock_version":"x"},"spin_lock_version":99}`: true, // Decode is who refuses the version
		`{"spin_lock_version":"0"}`:                               false,
		`{"Spin_Lock_Version":0}`:                                 false,
		`{"x":{"spin_lock_version":0}}`:                           false,
		`[{"spin_lock_version":0}]`:                               false,
		`{"spin_lock_version":0`:                                  false,
		`{}`:                                                      false,
		``:                                                        false,
		contents["config"]:                                        false,
	} {
		if got := spin.IsLocked([]byte(raw)); got != want {
			t.Errorf("%s: %v", raw, got)
		}
	}
}

func TestComponent(t *testing.T) {
	for _, c := range []struct {
		name string
		m    oci.Manifest
		want string
	}{
		{"Spin's type", manifest(t, imageConfig, wasm), "component.wasm"},
		{"wkg's type", manifest(t, emptyConfig, plainWasm), "component.wasm"},
		{"the same layer twice", manifest(t, emptyConfig, wasm, plainWasm), "component.wasm"},
		{"a title", manifest(t, imageConfig, wasm+" dir/hello.wasm"), "dir/hello.wasm"},
		{"a title that leaves", manifest(t, imageConfig, wasm+" ../hello.wasm"), "component.wasm"},
		{"a title that is absolute", manifest(t, imageConfig, wasm+" /hello.wasm"), "component.wasm"},
		{"a title with a backslash", manifest(t, imageConfig, wasm+` a\b.wasm`), "component.wasm"},
		{"two", manifest(t, imageConfig, wasm, "application/wasm api.wasm"), ""},
		{"more than wasm", manifest(t, imageConfig, wasm, asset), ""},
		{"no wasm", manifest(t, imageConfig, asset), ""},
		{"nothing", manifest(t, imageConfig), ""},
		{"an index", oci.Manifest{MediaType: oci.MediaTypeImageIndex, Layers: manifest(t, imageConfig, wasm).Layers}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree, ok, err := spin.Component(c.m)
			if err != nil || ok != (c.want != "") {
				t.Fatal(tree, ok, err)
			}
			if ok && show(t, tree) != c.want+" 11 blob web.wasm\n" {
				t.Error(show(t, tree))
			}
		})
	}
	// A component whose blob has another digest than a sha256 has no sum.
	m := manifest(t, imageConfig, wasm)
	m.Layers[0].Digest = digest.SHA512.FromString(contents["web.wasm"])
	tree, ok, err := spin.Component(m)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if e := tree.At(0); e.HasSum || !e.Locator.(archive.Range).Whole {
		t.Errorf("%+v", e)
	}
}
