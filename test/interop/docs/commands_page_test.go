package docs

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCommandsPage: docs/commands.md has every command, every one in it exists, and so do the flags that it names.
func TestCommandsPage(t *testing.T) {
	t.Parallel()
	page := read(t, []string{"docs/commands.md"})[0].text
	var there []string
	var walk func(above ...string)
	walk = func(above ...string) {
		for _, name := range completions(t, append(above, "")) {
			command := append(slices.Clone(above), name)
			if name == "help" || name == "completion" || strings.HasPrefix(name, "-") {
				continue
			}
			there = append(there, strings.Join(command, " "))
			if len(command) == 1 && (name == "cache" || name == "config") {
				walk(command...)
			}
		}
	}
	walk()
	if len(there) < 25 {
		t.Fatalf("commands: %q", there)
	}
	for _, command := range there {
		if command != "cache" && command != "config" && !strings.Contains(page, "`blobd "+command) {
			t.Errorf("docs/commands.md lacks blobd %s", command)
		}
	}
	rows := regexp.MustCompile("(?m)^\\| (`blobd .*?) \\| (.*) \\|$").FindAllStringSubmatch(page, -1)
	flag := regexp.MustCompile("`?--([a-z][a-z-]*)")
	for _, row := range rows {
		var help strings.Builder // of all commands of the row
		for _, m := range regexp.MustCompile("`blobd ([a-z]+(?: [a-z]+)?)").FindAllStringSubmatch(row[1], -1) {
			command := m[1]
			if !slices.Contains(there, command) {
				command, _, _ = strings.Cut(command, " ")
			}
			if command != "completion" && !slices.Contains(there, command) {
				t.Errorf("docs/commands.md has blobd %s, which there is not", command)
				continue
			}
			out, err := exec.CommandContext(t.Context(), binary, append(strings.Fields(command), "--help")...).CombinedOutput()
			if err != nil {
				t.Errorf("blobd %s --help: %v", command, err)
			}
			help.Write(out)
		}
		for _, f := range flag.FindAllStringSubmatch(row[0], -1) {
			if !strings.Contains(help.String(), "--"+f[1]+" ") {
				t.Errorf("docs/commands.md: there is no --%s: %s", f[1], row[1])
			}
		}
	}
}

// completions are what a shell would offer after these words.
func completions(t *testing.T, words []string) (offered []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"__complete"}, words...)...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, _, described := strings.Cut(strings.TrimSpace(line), "\t")
		if described {
			offered = append(offered, name)
		}
	}
	return offered
}
