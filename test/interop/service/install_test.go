//go:build linux

package service

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/testneed"
)

// TestInstall: uninstall removes what install put, and nothing else; a configuration that somebody has changed stays.
func TestInstall(t *testing.T) {
	dest := t.TempDir()
	theirs := filepath.Join(dest, "usr/share/man/man1/other.1")
	if err := os.MkdirAll(filepath.Dir(theirs), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(theirs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	uninstall := func() {
		t.Helper()
		if out, err := makeTarget(t.Context(), "uninstall", "DESTDIR="+dest, "PREFIX=/usr"); err != nil || out != "" {
			t.Fatalf("make uninstall: %v: %s", err, out)
		}
	}

	install(t, dest, "/usr")
	there := files(t, dest)
	for _, name := range []string{
		"/usr/bin/blobd", "/usr/lib/systemd/system/blobd.service", "/usr/lib/systemd/system/blobd.socket",
		"/usr/lib/sysusers.d/blobd.conf", "/usr/lib/tmpfiles.d/blobd.conf", "/etc/blobd/config.yaml",
		"/usr/share/man/man1/blobd.1", "/usr/share/man/man1/blobd-serve.1", "/usr/share/man/man1/blobd-cache-ls.1",
		"/usr/share/bash-completion/completions/blobd", "/usr/share/zsh/site-functions/_blobd",
		"/usr/share/fish/vendor_completions.d/blobd.fish", "/usr/share/doc/blobd/blobd.cdx.json",
	} {
		if !slices.Contains(there, name) {
			t.Errorf("%s is not installed", name)
		}
		if info, err := os.Stat(dest + name); err == nil && (info.Mode().Perm()&0o111 != 0) != strings.HasPrefix(name, "/usr/bin/") {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	uninstall()
	if left := files(t, dest); !slices.Equal(left, []string{"/usr/share/man/man1/other.1"}) {
		t.Errorf("uninstall leaves, or takes too much: %q", left)
	}

	config := filepath.Join(dest, "etc/blobd/config.yaml")
	install(t, dest, "/usr")
	changed := []byte("max_size: 1GiB\n")
	if err := os.WriteFile(config, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	install(t, dest, "/usr")
	uninstall()
	if now, err := os.ReadFile(config); err != nil || !bytes.Equal(now, changed) {
		t.Errorf("a configuration that was changed: %q, %v", now, err)
	}
}

// TestExampleConfig: the configuration that is installed is right as it is, and right with every line taken for meant.
func TestExampleConfig(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(made.root, "deploy/systemd/config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	meant := regexp.MustCompile(`(?m)^#(\S|  )`).ReplaceAll(text, []byte("$1"))
	meant = bytes.ReplaceAll(meant, []byte(", ca_file: /etc/blobd/ca.pem"), nil) // it would have to be there
	if bytes.Equal(meant, text) {
		t.Fatal("no line was taken for meant")
	}
	for name, text := range map[string][]byte{"as it is": text, "all lines": meant} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(made.dist, "blobd"), "config", "check", "--cache-dir", t.TempDir(), file)
		cmd.Env = []string{"HOME=" + t.TempDir(), "BLOBD_SOCKET=/tmp/s"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// TestManPages: every command has a page that mandoc finds nothing wrong with.
func TestManPages(t *testing.T) {
	mandoc := testneed.Command(t, "mandoc", "Debian package mandoc")
	pages, err := filepath.Glob(filepath.Join(made.dist, "man", "*.1"))
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	out, err := exec.CommandContext(t.Context(), mandoc, append([]string{"-Tlint", "-W", "warning"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("mandoc: %v\n%s", err, out)
	}
}

// TestCompletions: bash takes the file, and completes with it.
func TestCompletions(t *testing.T) {
	bash := testneed.Command(t, "bash", "Debian package bash")
	cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", `
		source "$1" && complete -p blobd && words=$(blobd __complete 'he' 2>/dev/null) && grep -w healthcheck <<<"$words"`,
		"bash", filepath.Join(made.dist, "completions", "bash"))
	cmd.Env = []string{"PATH=" + made.dist + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("bash: %v\n%s", err, out)
	}
	for _, shell := range []string{"zsh", "fish"} {
		if text, err := os.ReadFile(filepath.Join(made.dist, "completions", shell)); err != nil || !strings.Contains(string(text), "blobd") {
			t.Errorf("%s: %v: %s", shell, err, text)
		}
	}
}

// TestVersion: a binary of `make` names its version, commit, Go and platform, for people and for programs.
func TestVersion(t *testing.T) {
	commit, err := exec.CommandContext(t.Context(), "git", "-C", made.root, "rev-parse", "HEAD").Output()
	if err != nil {
		testneed.Missing(t, "it needs a checkout of git: "+err.Error())
	}
	binary := filepath.Join(made.dist, "blobd")
	out, err := exec.CommandContext(t.Context(), binary, "version", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Version, Commit, Go, Platform string }
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	if v.Version == "" || v.Version == "devel" || v.Version == "unknown" || v.Commit != strings.TrimSpace(string(commit)) ||
		!strings.HasPrefix(v.Go, "go1.") || !strings.HasPrefix(v.Platform, "linux/") {
		t.Errorf("version: %s", out)
	}
	line, err := exec.CommandContext(t.Context(), binary, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{v.Version, v.Commit, v.Go, v.Platform} {
		if !strings.Contains(string(line), part) {
			t.Errorf("%q does not tell %s", line, part)
		}
	}
}

// TestSBOM: it names the binary by its hash and every module that is in it, none that is not, and is the same each time.
func TestSBOM(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(made.dist, "blobd.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BomFormat, SpecVersion, SerialNumber string
		Metadata                             struct {
			Timestamp string
			Component struct {
				Name   string
				Hashes []struct{ Alg, Content string }
			}
		}
		Components []struct{ Name, Version, Purl string }
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BomFormat != "CycloneDX" || bom.SpecVersion != "1.6" || bom.Metadata.Timestamp == "" ||
		bom.Metadata.Component.Name != "github.com/blobd/blobd" {
		t.Errorf("%+v", bom.Metadata)
	}
	binary := filepath.Join(made.dist, "blobd")
	sum, err := exec.CommandContext(t.Context(), "sha256sum", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	if h := bom.Metadata.Component.Hashes; len(h) != 1 || h[0].Alg != "SHA-256" || !strings.HasPrefix(string(sum), h[0].Content) {
		t.Errorf("hashes %v, the binary's is %s", h, sum)
	}
	has := map[string]string{}
	for _, c := range bom.Components {
		has[c.Name] = c.Version
	}
	out, err := exec.CommandContext(t.Context(), "go", "version", "-m", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "dep" {
			modules++
			if has[f[1]] != f[2] {
				t.Errorf("module %s %s is %q in the SBOM", f[1], f[2], has[f[1]])
			}
		}
	}
	if modules == 0 || len(has) != modules+1 || has["std"] == "" {
		t.Errorf("%d modules in the binary, %d components", modules, len(has))
	}
	again := exec.CommandContext(t.Context(), "make", "-s", "sbom", "DIST="+made.dist, "TRIMPATH=")
	again.Dir = made.root
	if out, err := again.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if now, err := os.ReadFile(filepath.Join(made.dist, "blobd.cdx.json")); err != nil || !bytes.Equal(now, text) {
		t.Errorf("made again it differs (%v)", err)
	}
}
