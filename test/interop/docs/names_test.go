package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNames: a test that a page names is one that there is, or begins the name of one, as for go test -run.
func TestNames(t *testing.T) {
	t.Parallel()
	var there []string
	defined := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-co", "--exclude-standard", "*_test.go")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(out)) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // removed, and not committed yet
		}
		for _, m := range defined.FindAllStringSubmatch(string(text), -1) {
			there = append(there, m[1])
		}
	}
	named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`)
	n := 0
	for _, p := range pages(t) {
		for _, name := range named.FindAllString(p.text, -1) {
			n++
			if !slices.ContainsFunc(there, func(test string) bool { return strings.HasPrefix(test, name) }) {
				t.Errorf("%s names %s, which is no test", p.name, name)
			}
		}
	}
	for _, c := range notRun {
		for _, name := range named.FindAllString(c.tried, -1) {
			if !slices.Contains(there, name) {
				t.Errorf("the list of what is not run names %s, which is no test", name)
			}
		}
	}
	if n < 50 {
		t.Errorf("%d names of tests found", n)
	}
}

// TestFiles: a source file that a page names, with its folder, is there.
func TestFiles(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile("`((?:[a-z0-9_.-]+/)+[a-z0-9_.-]+\\.(?:go|sh|proto|svg|service|socket))`")
	n := 0
	for _, p := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(p.text, -1) {
			n++
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names %s: %v", p.name, m[1], err)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d names of files found", n)
	}
}

// TestMetricNames: every metric of ours that a page names is one that a daemon exports from the start, or that a recording
// rule makes.
func TestMetricNames(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	golden, err := os.ReadFile(filepath.Join(root, "metrics", "testdata", "series.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		name, _, _ := strings.Cut(line, "{")
		there[name] = true
		there[name+"_bucket"] = true // of a histogram
	}
	rules, err := os.ReadFile(filepath.Join(root, "deploy", "prometheus", "recording.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`record: (\S+)`).FindAllStringSubmatch(string(rules), -1) {
		there[m[1]] = true
	}
	named := regexp.MustCompile(`\b(?:[a-z_]+:)?blobd_[a-z0-9_]+(?::[a-z0-9_]+)?`)
	n := 0
	for _, p := range pages(t) {
		for _, name := range named.FindAllString(p.text, -1) {
			n++
			if !there[name] {
				t.Errorf("%s names %s, which nobody exports", p.name, name)
			}
		}
	}
	if n < 50 {
		t.Errorf("%d names of metrics found", n)
	}
}
