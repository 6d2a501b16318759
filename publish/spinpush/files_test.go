package spinpush_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blobd/blobd/publish/spinpush"
)

func link(t testing.TB, dir, target, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
		t.Skip(err) // not every user may, on Windows
	}
}

func remove(t testing.TB, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
		t.Fatal(err)
	}
}

// TestFiles has which files a component gets, and as what. Each file holds its own name.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range strings.Fields("a.wasm one.txt two.md .hidden odd[1].txt assets/a.css assets/b.js assets/b.js.map assets/img/x.png assets/img/deep/y.png assets/.git/config other/a.css") {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		text := name
		if name == "a.wasm" {
			text = wasm("")
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link(t, dir, "../one.txt", "assets/link.txt")
	link(t, dir, "img", "assets/images")
	for name, c := range map[string]struct{ files, exclude, want string }{
		"a file":                {`"one.txt"`, ``, `one.txt`},
		"with a detour":         {`"./assets//a.css"`, ``, `assets/a.css`},
		"a pattern at the top":  {`"*.txt"`, ``, `odd[1].txt one.txt`},
		"with a detour too":     {`"./*.txt"`, ``, `odd[1].txt one.txt`},
		"a name like a pattern": {`"odd[1].txt"`, ``, `odd[1].txt`},
		"one letter":            {`"t?o.md"`, ``, `two.md`},
		"a class":               {`"[m-p]ne.[tx]xt"`, ``, `one.txt`},
		"not a class":           {`"[!ato]*"`, `"spin.*"`, `.hidden`},
		"a bracket in a class":  {`"odd[[]1[]].txt"`, ``, `odd[1].txt`},
		"a hyphen in a class":   {`"one[-.]txt"`, ``, `one.txt`},
		"dots are no marks":     {`"*.*"`, `"*.wasm", "odd*", "spin.toml"`, `.hidden one.txt two.md`},
		"one level":             {`"assets/*"`, ``, `assets/a.css assets/b.js assets/b.js.map assets/link.txt=one.txt`},
		"one level of folders":  {`"assets/*/*"`, `"assets/images"`, `assets/.git/config assets/img/x.png`},
		"all levels":            {`"**/*.png"`, `"assets/images"`, `assets/img/deep/y.png assets/img/x.png`},
		"all levels, from here": {`"assets/**/x.png"`, `"assets/images"`, `assets/img/x.png`},
		"none is a level, too":  {`"assets/img/**/*"`, ``, `assets/img/deep/y.png assets/img/x.png`},
		"twice all levels":      {`"**/img/**/*.png"`, `"assets/images"`, `assets/img/deep/y.png assets/img/x.png`},
		"excluded by a star":    {`"assets/**/*"`, `"*.map", "*/.git/*", "assets/images"`, `assets/a.css assets/b.js assets/img/deep/y.png assets/img/x.png assets/link.txt=one.txt`},
		"excluded by levels":    {`"assets/**/*"`, `"assets/**/*"`, ``},
		"excluded by name":      {`"assets/*"`, `"a.css", "assets/b.js*"`, `assets/a.css assets/link.txt=one.txt`},
		"named is not excluded": {`"one.txt", { source = "two.md", destination = "/x" }`, `"*"`, `one.txt x=two.md`},
		"a folder elsewhere":    {`{ source = "assets/img", destination = "/pictures" }`, ``, `pictures/deep/y.png=assets/img/deep/y.png pictures/x.png=assets/img/x.png`},
		"a folder at the top":   {`{ source = "other", destination = "/" }`, ``, `a.css=other/a.css`},
		"without a slash":       {`{ source = "other/", destination = "x/y/" }`, ``, `x/y/a.css=other/a.css`},
		"all there is":          {`{ source = ".", destination = "/all" }`, `"assets/*", "other/**/*", "*.wasm", "spin.toml"`, `all/.hidden=.hidden all/odd[1].txt=odd[1].txt all/one.txt=one.txt all/two.md=two.md`},
		"a link to a folder":    {`{ source = "assets/images/x.png", destination = "/x" }`, ``, `x=assets/img/x.png`},
		"into a link":           {`"assets/images/*"`, ``, `assets/images/x.png=assets/img/x.png`},
		"a folder without some": {`{ source = "assets", destination = "/" }`, `"assets/i*", "*.map", "*git*"`, `a.css=assets/a.css b.js=assets/b.js link.txt=one.txt`},
		"the later one counts":  {`{ source = "assets", destination = "/" }, { source = "other", destination = "/" }`, `"assets/b*", "assets/[i.]*", "assets/link.txt"`, `a.css=other/a.css`},
		"the other way round":   {`{ source = "other", destination = "/" }, { source = "assets", destination = "/" }`, `"assets/b*", "assets/[i.]*", "assets/link.txt"`, `a.css=assets/a.css`},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := none + "[component.a]\nsource = \"a.wasm\"\nfiles = [" + c.files + "]\nexclude_files = [" + c.exclude + "]\n"
			if err := os.WriteFile(filepath.Join(dir, "spin.toml"), []byte(manifest), 0o644); err != nil {
				t.Fatal(err)
			}
			var locked struct {
				Components []struct {
					Files []struct {
						Path   string
						Inline []byte
					}
				}
			}
			// The names are short enough to stand in the document, whose base64 needs its padding for this reader.
			text := pack(t, dir, spinpush.Options{}).locked(t)
			if err := json.Unmarshal([]byte(padded(text)), &locked); err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, f := range locked.Components[0].Files {
				if string(f.Inline) != f.Path {
					f.Path += "=" + string(f.Inline)
				}
				got = append(got, f.Path)
			}
			if want := strings.Fields(c.want); !slices.Equal(got, want) {
				t.Errorf("got %q, not %q", got, want)
			}
		})
	}
}

// padded gives base64 in a locked application its padding.
func padded(locked string) string {
	parts := strings.Split(locked, `"inline":"`)
	for i := range parts[1:] {
		value, rest, _ := strings.Cut(parts[i+1], `"`)
		parts[i+1] = value + strings.Repeat("=", -len(value)&3) + `"` + rest
	}
	return strings.Join(parts, `"inline":"`)
}
