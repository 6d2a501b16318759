package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/testneed"
)

// kinds are the kinds of fenced blocks that pages have, and what is done with each.
var kinds = map[string]string{
	"console": "run, line by line",
	"go":      "compiled",
	"yaml":    "read: by blobd config check, unless it is for another program",
	"json":    "read",
	"":        "nothing: what somebody sees",
	"ini":     "nothing: an excerpt of a unit, which the tests of deploy/systemd hold",
	"promql":  "parsed",
	"mermaid": "nothing: a picture",
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if _, known := kinds[b.kind]; !known {
				t.Errorf("%s:%d: a block of kind %q, of which nobody knows how it is tried", p.name, b.line, b.kind)
			}
			if b.kind == "" && strings.Contains(b.text(), "\n$ ") {
				t.Errorf("%s:%d: commands in a block that is not of kind console", p.name, b.line)
			}
		}
	}
}

// foreign finds, at the top of YAML, keys that are for another program: Kubernetes and Kustomize, whose manifests the tests
// of test/k8s hold, and Prometheus.
var foreign = regexp.MustCompile(`\A\s*(apiVersion|images|env|volumeMounts|configMapGenerator|patches|resources|components|` +
	`scrape_configs|groups|receivers):`)

// onThisHost puts users of this host in the place of those that pages name.
var onThisHost = strings.NewReplacer("admin_users: [deploy]", "admin_users: [root]")

// TestYAML has blobd check every configuration.
func TestYAML(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.kind != "yaml" {
				continue
			}
			if foreign.MatchString(b.text()) {
				continue
			}
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(onThisHost.Replace(b.text())), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), binary, "config", "check", file)
			cmd.Env = []string{"HOME=" + t.TempDir()}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v: %s", p.name, b.line, err, out)
			}
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.kind == "json" && !json.Valid([]byte(b.text())) {
				t.Errorf("%s:%d: no JSON", p.name, b.line)
			}
		}
	}
}

// TestPromQL has Prometheus parse every query; a blank line ends one.
func TestPromQL(t *testing.T) {
	t.Parallel()
	promtool := testneed.Command(t, "promtool", "Debian package prometheus")
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	type group struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}
	var groups []group
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.kind != "promql" {
				continue
			}
			g := group{Name: fmt.Sprintf("%s:%d", p.name, b.line)}
			for query := range strings.SplitSeq(b.text(), "\n\n") {
				g.Rules = append(g.Rules, rule{fmt.Sprintf("query%d", len(g.Rules)), query})
			}
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		t.Skip("no page has a query")
	}
	rules, err := json.Marshal(map[string]any{"groups": groups}) // which is YAML too
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// imports are the packages that examples in Go may use without saying so.
var imports = map[string]string{
	"client": "github.com/blobd/blobd/client", "context": "context", "errors": "errors", "fmt": "fmt", "fs": "io/fs",
	"http": "net/http", "io": "io", "log": "log", "os": "os", "time": "time",
}

// TestGo compiles every example: as it is where it is a whole file, else as the body of a function that has a ctx and
// returns an error.
func TestGo(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	var packages []string
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.kind != "go" {
				continue
			}
			text := b.text()
			if !strings.HasPrefix(text, "package ") && !strings.Contains(text, "\npackage ") {
				text = wrap(text)
			}
			name := fmt.Sprintf("example%d", len(packages))
			file := filepath.Join(t.TempDir(), name+".go")
			if err := os.WriteFile(file, fmt.Appendf(nil, "//line %s:%d\n%s", p.name, b.line, text), 0o600); err != nil {
				t.Fatal(err)
			}
			overlay.Replace[filepath.Join(dir, name, "example.go")] = file
			packages = append(packages, "./"+name)
		}
	}
	if len(packages) == 0 {
		t.Fatal("no example in Go")
	}
	plan, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, plan, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"build", "-overlay", file, "-o", os.DevNull}, packages...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func wrap(body string) string {
	var out strings.Builder
	out.WriteString("package example\n")
	code := regexp.MustCompile(`(?m)\s//.*$`).ReplaceAllString(body, "")
	for name, path := range imports {
		if name == "context" || regexp.MustCompile(`\b`+name+`\.`).MatchString(code) {
			fmt.Fprintf(&out, "import %q\n", path)
		}
	}
	fmt.Fprintf(&out, "func Example(ctx context.Context) error {\n%s\nreturn nil\n}\n", body)
	return out.String()
}
