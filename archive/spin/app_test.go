package spin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/archive/spin"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name    string
		bundles []string
		members []bundle.Member
		want    string
	}{
		{"layers", nil, nil, `
api/same.png 71680 blob 70k
api.wasm 308 blob api.wasm
locked.json %d inline
web/css/128.css 128 inline
web/css/129.css 129 blob 129
web/css/one.css 1 inline
web/empty 0 inline
web/img/big ünï.png 71680 blob 70k
web.wasm 11 inline
`},
		{"bundles", []string{"assets.gz", "more.gz"}, slices.Concat(members("more.gz", "other", "128", "70k"), members("assets.gz", "one", "129", "70k")), `
api/128 128 more.gz+1536 128
api/same.png 71680 more.gz+2560 70k
api.wasm 308 blob api.wasm
locked.json %d inline
web/big.png 71680 more.gz+2560 70k
web/css/129.css 129 assets.gz+1536 129
web/one 1 inline
web.wasm 11 blob web.wasm
`},
		{"config", nil, nil, `
locked.json %d inline
web/129.css 129 blob 129
web.wasm 11 blob web.wasm
`},
		{"dependencies", nil, nil, `
api.deps/acme:log/sink@1.0.0.wasm 11 blob dep.wasm
api.deps/plain.wasm 11 inline
api.wasm 308 blob api.wasm
locked.json %d inline
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, locked := application(t, c.name)
			d, certain, ok := spin.Locked(m)
			if !ok || !certain || d.Digest != digest.FromString(locked) || !spin.IsLocked([]byte(locked)) {
				t.Errorf("Locked: %v %v %v; IsLocked: %v", d, certain, ok, spin.IsLocked([]byte(locked)))
			}
			app, err := spin.Decode(m, []byte(locked), spin.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			var bundles []string
			for _, b := range app.Bundles() {
				i := slices.IndexFunc(m.Layers, func(l oci.Descriptor) bool { return l.Digest == b.Digest && l.Size == b.Size })
				bundles = append(bundles, map[digest.Digest]string{
					digest.FromString(contents["assets.gz"]): "assets.gz", digest.FromString(contents["more.gz"]): "more.gz",
				}[m.Layers[i].Digest])
			}
			if !slices.Equal(bundles, c.bundles) {
				t.Errorf("bundles %q, not %q", bundles, c.bundles)
			}
			for range 2 { // an App can be asked again
				tree, err := app.Tree(c.members)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := show(t, tree), fmt.Sprintf(c.want, len(locked))[1:]; got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			}
		})
	}
}

// document is a locked application of one component; what is in it is filled in by the tests.
func document(components string) string {
	return `{"spin_lock_version":0,"triggers":[],"components":[` + components + `]}`
}

// component is a component with the files.
func component(id, files string) string {
	return `{"id":"` + id + `","source":{"content_type":"application/wasm","digest":"{{digest "web.wasm"}}"},"files":[` + files + `]}`
}

// layersOf are layers of a manifest that have these contents.
func layersOf(names ...string) (m oci.Manifest) {
	m.MediaType = oci.MediaTypeImageManifest
	for _, n := range names {
		mediaType := spin.MediaTypeData
		switch {
		case strings.HasSuffix(n, ".wasm"):
			mediaType = spin.MediaTypeWasm
		case strings.HasSuffix(n, ".gz"):
			mediaType = spin.MediaTypeBundle
		}
		m.Layers = append(m.Layers, oci.Descriptor{MediaType: mediaType, Digest: digest.FromString(contents[n]), Size: int64(len(contents[n]))})
	}
	return m
}

func TestDecodeAccepts(t *testing.T) {
	large := base64.RawStdEncoding.EncodeToString([]byte(contents["70k"]))
	for _, c := range []struct {
		name, locked, want string
	}{
		{"no components", document(""), ""},
		{"an id that is a name", document(component("a.b c-ü_1", "")), "a.b c-ü_1.wasm 11 blob web.wasm\n"},
		{"padded", document(component("a", `{"inline":"MQ==","path":"x"}`)), "a/x 1 inline\na.wasm 11 blob web.wasm\n"},
		{"inline and large", document(component("a", `{"inline":"`+large+`","path":"x"}`)), "a/x 71680 inline\na.wasm 11 blob web.wasm\n"},
		{"inline without a digest", document(component("a", `{"inline":"","path":"x"}`)), "a/x 0 inline\na.wasm 11 blob web.wasm\n"},
		{"inline is null", document(component("a", `{"inline":null,"digest":"{{digest "129"}}","path":"x"}`)), "a/x 129 blob 129\na.wasm 11 blob web.wasm\n"},
		{"inline though there is a layer", document(component("a", `{"inline":"{{inline "129"}}","digest":"{{digest "129"}}","path":"x"}`)), "a/x 129 inline\na.wasm 11 blob web.wasm\n"},
		{"inline digest is null", document(component("a", `{"inline":"MQ","digest":null,"path":"x"}`)), "a/x 1 inline\na.wasm 11 blob web.wasm\n"},
		{"a blob without bytes", document(component("a", `{"digest":"{{digest "empty"}}","path":"x"}`)), "a/x 0 blob empty\na.wasm 11 blob web.wasm\n"},
		{"files are null", strings.Replace(document(component("a", "")), `"files":[]`, `"files":null,"dependencies":null`, 1), "a.wasm 11 blob web.wasm\n"},
		{"escapes", document(component("\\u0061", `{"path":"\u0078\/y","inline":"MQ"}`)), "a/x/y 1 inline\na.wasm 11 blob web.wasm\n"},
		{"unknown keys, also twice", `{"x":1,"x":{"files":5},"Components":3,"spin_lock_version":1,"components":[{"id":"a","files":[{"inline":"","path":"p","mode":7,"mode":8}],"source":{"digest":"{{digest "web.wasm"}}","source":"https://example.com/x"},"config":{"files":[1]}}]}`,
			"a/p 0 inline\na.wasm 11 blob web.wasm\n"},
		{"all names of host requirements", `{"spin_lock_version":1,"must_understand":["what","ever"],"host_requirements":{"moon":"required"},"triggers":[],"components":[]}`, ""},
		{"names that are only like others", document(component("a.deps", "") + "," + component("a", `{"inline":"","path":"wasm"}`) + "," + component("locked", `{"inline":"","path":"json"}`)),
			"a/wasm 0 inline\na.deps.wasm 11 blob web.wasm\na.wasm 11 blob web.wasm\nlocked/json 0 inline\nlocked.wasm 11 blob web.wasm\n"},
		{"a dependency whose namespace is one letter", document(`{"id":"a","source":{"inline":""},"dependencies":{"b:c/d":{"source":{"inline":""}}}}`),
			"a.deps/b:c/d.wasm 0 inline\na.wasm 0 inline\n"},
		{"a component without assets may have the name of another's dependencies", document(component("a.deps", "") + `,{"id":"a","source":{"inline":""},"dependencies":{"d":{"source":{"inline":""}}}}`),
			"a.deps/d.wasm 0 inline\na.deps.wasm 11 blob web.wasm\na.wasm 0 inline\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			locked := expand(t, c.locked, nil)
			app, err := spin.Decode(layersOf("empty", "129", "web.wasm", "129", "assets.gz"), []byte(locked), spin.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			tree, err := app.Tree(nil)
			if err != nil || app.Bundles() != nil {
				t.Fatal(app.Bundles(), err)
			}
			got := strings.Replace(show(t, tree), fmt.Sprintf("locked.json %d inline\n", len(locked)), "", 1)
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			e, err := tree.Lookup("locked.json")
			if err != nil || string(e.Locator.(archive.Inline).Data) != locked {
				t.Error("locked.json is not what was pushed")
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	file := func(f string) string { return document(component("web", f)) }
	path := func(p string) string { return file(`{"inline":"","path":"` + p + `"}`) }
	sha := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		name, locked string
		says         []string
	}{
		{"empty", "", []string{"not JSON"}},
		{"cut", `{"spin_lock_version":0,"components":[`, []string{"not JSON"}},
		{"two documents", document("") + document(""), []string{"not JSON"}},
		{"not UTF-8", path("\xff"), []string{"not JSON"}},
		{"a list", `[]`, []string{"not an object"}},
		{"null", `null`, []string{"spin_lock_version"}},
		{"deep", `{"spin_lock_version":0,"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, []string{"not JSON"}},
		{"version 2", `{"spin_lock_version":2,"components":[{"id":{}}]}`, []string{"spin_lock_version 2"}},
		{"version -1", `{"spin_lock_version":-1,"components":[]}`, []string{"spin_lock_version -1"}},
		{"version 0.5", `{"spin_lock_version":0.5,"components":[]}`, []string{"spin_lock_version 0.5"}},
		{"version is text", `{"spin_lock_version":"0","components":[]}`, []string{"spin_lock_version", "not a number"}},
		{"version is null", `{"spin_lock_version":null,"components":[]}`, []string{"spin_lock_version", "not a number"}},
		{"no version", `{"components":[]}`, []string{"no spin_lock_version"}},
		{"version twice", `{"spin_lock_version":0,"spin_lock_version":1,"components":[]}`, []string{"twice"}},
		{"no components", `{"spin_lock_version":0}`, []string{"no components"}},
		{"components twice", `{"spin_lock_version":0,"components":[],"components":[]}`, []string{`"components" twice`}},
		{"components are an object", `{"spin_lock_version":0,"components":{}}`, []string{`"components"`, "not a list"}},
		{"a component is text", document(`"web"`), []string{"components[0]", "not an object"}},
		{"an id is a number", document(component("a", "") + `,{"id":7}`), []string{"components[1].id", "not a string"}},
		{"a path is a number", file(`{"path":7}`), []string{"components[0].files[0].path", "not a string"}},
		{"a path twice", file(`{"inline":"","path":"a","path":"b"}`), []string{"components[0].files[0]", `"path" twice`}},
		{"inline is a list", file(`{"inline":[1],"path":"a"}`), []string{"components[0].files[0].inline", "not a string"}},

		{"no id", document(`{"source":{"inline":""}}`), []string{`component ""`}},
		{"id is a path", document(component("a/b", "")), []string{`component "a/b"`, "slash"}},
		{"id leaves", document(component("..", "")), []string{`component ".."`}},
		{"id is here", document(component(".", "")), []string{`component "."`}},
		{"id with a backslash", document(component(`a\\b`, "")), []string{`component "a\\b"`, "backslash"}},
		{"id with a drive", document(component(`c:a`, "")), []string{`component "c:a"`, "drive"}},
		{"no source", document(`{"id":"web"}`), []string{`component "web"`, "neither"}},
		{"source is elsewhere", document(`{"id":"web","source":{"source":"file:///x.wasm"}}`), []string{`component "web"`, "neither"}},
		{"source is no layer", document(`{"id":"web","source":{"digest":"` + sha + `"}}`), []string{`component "web"`, sha, "no layer"}},

		{"path leaves", path("../x"), []string{`component "web"`, `file "../x"`}},
		{"path leaves midway", path("a/../../x"), []string{`component "web"`, `file "a/../../x"`}},
		{"path is absolute", path("/etc/passwd"), []string{`component "web"`, `file "/etc/passwd"`}},
		{"path with dots", path("./x"), []string{`component "web"`, `file "./x"`}},
		{"path is here", path("."), []string{`component "web"`, `file "."`}},
		{"path with two slashes", path("a//b"), []string{`component "web"`, `file "a//b"`}},
		{"path with a backslash", path(`a\\b`), []string{`component "web"`, `file "a\\b"`, "backslash"}},
		{"path with a zero byte", path(`a\u0000b`), []string{`component "web"`, `file "a\x00b"`, "zero"}},
		{"path with a drive", path(`C:/a`), []string{`component "web"`, `file "C:/a"`, "drive"}},
		{"no path", file(`{"inline":""}`), []string{`component "web"`, `file ""`}},
		{"a long path", path(strings.Repeat("a", 5000)), []string{`component "web"`, "5000 bytes"}},
		{"a long path with the component's name", path(strings.Repeat("a", 4095)), []string{"4099 bytes"}},

		{"neither digest nor inline", file(`{"path":"a"}`), []string{`component "web"`, `file "a"`, "neither"}},
		{"digest is no layer", file(`{"digest":"` + sha + `","path":"a/b"}`), []string{`component "web"`, `file "a/b"`, sha, "no layer"}},
		{"digest is none", file(`{"digest":"sha256:00","path":"a"}`), []string{`file "a"`, `"sha256:00"`}},
		{"digest is upper case", file(`{"digest":"` + strings.ToUpper("sha256:"+strings.Repeat("a", 64)) + `","path":"a"}`), []string{`file "a"`, "not a sha256"}},
		{"digest is a sha512", file(`{"digest":"sha512:` + strings.Repeat("0", 128) + `","path":"a"}`), []string{`file "a"`, "not a sha256"}},
		{"no base64", file(`{"inline":"M","path":"a"}`), []string{`file "a"`, "base64"}},
		{"not base64", file(`{"inline":"!!!!","path":"a"}`), []string{`file "a"`, "base64"}},
		{"base64 for URLs", file(`{"inline":"-_-_","path":"a"}`), []string{`file "a"`, "base64"}},
		{"base64 in lines", file(`{"inline":"MT\nEx","path":"a"}`), []string{`file "a"`, "lines"}},
		{"half a padding", file(`{"inline":"MQ=","path":"a"}`), []string{`file "a"`, "base64"}},
		{"bits too many", file(`{"inline":"MR","path":"a"}`), []string{`file "a"`, "base64"}},
		{"inline digest lies", file(`{"inline":"MQ","digest":"{{digest "129"}}","path":"a"}`), []string{`file "a"`, "inline", "not sha256:"}},
		{"source's inline digest lies", document(`{"id":"web","source":{"inline":"MQ","digest":"{{digest "129"}}"}}`), []string{`component "web"`, "inline"}},

		{"a path twice in a component", file(`{"inline":"","path":"a"},{"inline":"","path":"b"},{"inline":"MQ","path":"a"}`), []string{`"web/a"`, "twice"}},
		{"file and folder", file(`{"inline":"","path":"a"},{"inline":"","path":"a/b"}`), []string{`"web/a"`, `"web/a/b"`}},
		{"a component twice", document(component("a", "") + "," + component("a", "")), []string{`component "a" and component "a"`, `"a.wasm"`}},
		{"assets and a component", document(component("a", "") + "," + component("a.wasm", `{"inline":"","path":"x"}`)), []string{`component "a" and the assets of component "a.wasm"`, `"a.wasm"`}},
		{"assets and the locked application", document(component("locked.json", `{"inline":"","path":"x"}`)), []string{"the locked application", `component "locked.json"`}},
		{"assets and dependencies", document(component("a.deps", `{"inline":"","path":"x"}`) + `,{"id":"a","source":{"inline":""},"dependencies":{"d":{"source":{"inline":""}}}}`),
			[]string{`the assets of component "a.deps" and the dependencies of component "a"`}},
		{"a dependency leaves", document(`{"id":"a","source":{"inline":""},"dependencies":{"../d":{"source":{"inline":""}}}}`), []string{`component "a"`, `dependency "../d"`}},
		{"a dependency has no content", document(`{"id":"a","source":{"inline":""},"dependencies":{"d":{}}}`), []string{`component "a"`, `dependency "d"`, "neither"}},
		{"a dependency is no layer", document(`{"id":"a","source":{"inline":""},"dependencies":{"d":{"source":{"digest":"` + sha + `"}}}}`), []string{`component "a"`, `dependency "d"`, "no layer"}},
		{"a dependency twice", document(`{"id":"a","source":{"inline":""},"dependencies":{"d":{"source":{"inline":""}},"d":{"source":{"inline":""}}}}`), []string{"components[0].dependencies", `"d" twice`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			app, err := spin.Decode(layersOf("129", "web.wasm"), []byte(expand(t, c.locked, nil)), spin.Limits{})
			if err == nil { // the tree is what finds out about paths
				_, err = app.Tree(nil)
			}
			refused(t, err, c.says...)
		})
	}
}

func refused(t *testing.T, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, fault.IndexInvalid) {
		t.Fatalf("got %v", err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%v: does not say %s", err, s)
		}
	}
	if len(err.Error()) > 1500 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

// TestLayersContradict has one digest with two sizes.
func TestLayersContradict(t *testing.T) {
	m := layersOf("129", "129")
	m.Layers[1].Size++
	_, err := spin.Decode(m, []byte(document("")), spin.Limits{})
	refused(t, err, "129 and with 130 bytes")
}

func TestDecodeLimits(t *testing.T) {
	m, locked := application(t, "dependencies") // one component, two dependencies
	for _, c := range []struct {
		limits spin.Limits
		says   string
	}{
		{spin.Limits{LockedBytes: int64(len(locked)) - 1}, "more than the"},
		{spin.Limits{Files: 2}, "one file more than allowed"},
		{spin.Limits{Files: 3, LockedBytes: int64(len(locked))}, ""},
	} {
		_, err := spin.Decode(m, []byte(locked), c.limits)
		if c.says == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		refused(t, err, c.says)
	}
	_, err := spin.Decode(layersOf("web.wasm"), []byte(expand(t, document(component("a", `{"inline":"","path":"x"},{"inline":"","path":"y"}`)), nil)), spin.Limits{Files: 2})
	refused(t, err, "components[0]", "one file more")
}

// TestMembers has what Tree makes of members.
func TestMembers(t *testing.T) {
	m, locked := application(t, "bundles")
	app, err := spin.Decode(m, []byte(locked), spin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = app.Tree(members("assets.gz", "129", "70k"))
	refused(t, err, `component "api"`, `file "128"`, fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(contents["128"]))), "neither a layer nor in a bundle")
	_, err = app.Tree(nil)
	refused(t, err, `component "web"`, `file "css/129.css"`)

	// One tree does not change another.
	first, err := app.Tree(members("more.gz", "128", "129", "70k"))
	if err != nil {
		t.Fatal(err)
	}
	before := show(t, first)
	if second, err := app.Tree(members("assets.gz", "70k", "129", "128")); err != nil || show(t, second) == before || show(t, first) != before {
		t.Errorf("%v; the first tree is now\n%s\nand was\n%s", err, show(t, first), before)
	}

	// A wasm is never in a bundle.
	_, err = spin.Decode(layersOf("assets.gz"), []byte(expand(t, document(component("a", "")), nil)), spin.Limits{})
	refused(t, err, `component "a"`, "no layer")
}
