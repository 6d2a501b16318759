package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/registrytest"
)

// aShop makes the folder of a Spin application and returns its manifest.
func aShop(t *testing.T) (manifest string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.wasm": "\x00asm\x01\x00\x00\x00" + strings.Repeat("a", 200), "small": "s", "large": strings.Repeat("l", 200), "spin.toml": `spin_manifest_version = 2
application.name = "shop"
component.a = { source = "a.wasm", files = ["small", "large"] }
[[trigger.http]]
route = "/..."
component = "a"
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "spin.toml")
}

// What is pushed twice is sent once; the folder stands for its manifest; a change of one asset sends that, the locked
// application and the config.
func TestPushSpinCommand(t *testing.T) {
	aUser(t)
	reg := registrytest.New(t, registrytest.Options{})
	manifest := aShop(t)
	at := reg.Host() + "/acme/shop"
	push := func(args ...string) (report pushReport) {
		t.Helper()
		got := typed(t, "", append([]string{"push", "-o", "json", "--source-date-epoch", "0", "--spin"}, args...)...)
		if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
			t.Fatalf("%+v %v", got, err)
		}
		return report
	}
	first := push("--tag", "latest", manifest, at+":v1")
	if first.Files != 3 || first.Size != 208+1+200 || first.Sent != 4 || first.Present != 0 {
		t.Errorf("%+v", first)
	}
	reg.Reset()
	if again := push(filepath.Dir(manifest), at+":latest"); again.Digest != first.Digest || again.Sent != 0 || again.Present != 4 || again.Transferred != 0 {
		t.Errorf("%+v, then %+v", first, again)
	}
	if got, want := reg.Counts(), (registrytest.Counts{Blob: 4, Head: 4, Tag: 1}); got.Blob != want.Blob || got.Head != want.Head || got.Tag != want.Tag || got.Bytes != 0 {
		t.Errorf("a second push: %+v, not %+v", got, want)
	}
	if mounted := push("--mount-from", "acme/shop", manifest, reg.Host()+"/acme/copy:v1"); mounted.Digest != first.Digest || mounted.Mounted != 4 {
		t.Errorf("elsewhere: %+v", mounted)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(manifest), "large"), []byte(strings.Repeat("x", 300)), 0o644); err != nil {
		t.Fatal(err)
	}
	if changed := push(manifest, at+":v2"); changed.Digest == first.Digest || changed.Sent != 3 || changed.Present != 1 {
		t.Errorf("after a change: %+v", changed)
	}
	if annotated := push("--annotation", "k=v", manifest, at+":v3"); annotated.Sent != 0 {
		t.Errorf("with an annotation: %+v", annotated)
	}
	if got := typed(t, "", "push", "--spin", manifest, at+":v4"); got.code != 0 || !strings.HasPrefix(got.stdout, "Pushed with digest sha256:") || got.stderr != "" {
		t.Errorf("%+v", got)
	}
}

func TestPushSpinRefuses(t *testing.T) {
	aUser(t)
	reg := registrytest.New(t, registrytest.Options{})
	manifest := aShop(t)
	old := filepath.Join(t.TempDir(), "old.toml")
	if err := os.WriteFile(old, []byte(`spin_manifest_version = "1"`), 0o644); err != nil {
		t.Fatal(err)
	}
	at := reg.Host() + "/acme/shop:v1"
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"version 1":      {[]string{"--spin", old, at}, "version 1"},
		"no manifest":    {[]string{"--spin", t.TempDir(), at}, "spin.toml"},
		"two manifests":  {[]string{"--spin", manifest, manifest, at}, "takes DIR REF"},
		"files, too":     {[]string{"--spin", "--files", manifest, at}, "--spin and --files exclude each other"},
		"a type":         {[]string{"--spin", "--artifact-type", "a/b", manifest, at}, "--files"},
		"sources of DIR": {[]string{"--http-sources", filepath.Dir(manifest), at}, "--spin"},
	} {
		got := typed(t, "", append([]string{"push"}, row.args...)...)
		if got.code != 2 || !strings.Contains(got.stderr, row.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if n := reg.Counts().Total(); n != 0 {
		t.Errorf("the registry was asked %d times", n)
	}
}
