package docs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCommandsPage: docs/commands.md has every command, every one in it exists, and so do the flags that it names.
func TestCommandsPage(t *testing.T) {
	t.Parallel()
	page := read(t, []string{"docs/commands.md"})[0].text
	there := commands(t)
	if len(there) < 25 {
		t.Fatalf("commands: %q", there)
	}
	for _, command := range there {
		if command != "cache" && command != "config" && command != "completion" && !strings.Contains(page, "`blobd "+command) {
			t.Errorf("docs/commands.md lacks blobd %s", command)
		}
	}
	rows := regexp.MustCompile("(?m)^\\| (`blobd .*?) \\| (.*) \\|$").FindAllStringSubmatch(page, -1)
	for _, row := range rows {
		var help strings.Builder // of all commands of the row
		for _, m := range regexp.MustCompile("`blobd ([a-z]+(?: [a-z]+)?)").FindAllStringSubmatch(row[1], -1) {
			command := commandIn(m[1], there)
			if command == "" {
				t.Errorf("docs/commands.md has blobd %s, which there is not", m[1])
				continue
			}
			help.WriteString(helpOf(t, command))
		}
		for _, f := range flag.FindAllStringSubmatch(row[0], -1) {
			if !strings.Contains(help.String(), "--"+f[1]+" ") {
				t.Errorf("docs/commands.md: there is no --%s: %s", f[1], row[1])
			}
		}
	}
}

// TestInline: commands of blobd that stand in the text are such as there are, with flags that they have; and so are targets
// of make.
func TestInline(t *testing.T) {
	t.Parallel()
	there := commands(t)
	targets := ""
	for _, name := range []string{"Makefile", "deploy/install.mk"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		targets += string(text)
	}
	helps := map[string]string{}
	n := 0
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile("`(?:sudo )?(blobd|make) ([a-z][^`\n]*)`").FindAllStringSubmatch(prose(p.text), -1) {
			n++
			if m[1] == "make" {
				target := strings.Fields(m[2])[0]
				if !regexp.MustCompile(`(?m)^` + target + `:`).MatchString(targets) {
					t.Errorf("%s: %s: no such target", p.name, m[0])
				}
				continue
			}
			command := commandIn(m[2], there)
			if command == "" {
				t.Errorf("%s: %s: no such command", p.name, m[0])
				continue
			}
			if helps[command] == "" {
				helps[command] = helpOf(t, command)
			}
			for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(helps[command], "--"+f[1]+" ") {
					t.Errorf("%s: %s: no such flag", p.name, m[0])
				}
			}
		}
	}
	if n < 50 {
		t.Errorf("%d commands found", n)
	}
}

// flag finds the long flags in a text.
var flag = regexp.MustCompile("--([a-z][a-z-]*)")

// commands are the names of all commands, such as "cache ls", that people are shown.
func commands(t *testing.T) (names []string) {
	t.Helper()
	var walk func(above ...string)
	walk = func(above ...string) {
		for _, name := range completions(t, append(above, "")) {
			command := append(slices.Clone(above), name)
			if name == "help" || strings.HasPrefix(name, "-") {
				continue
			}
			names = append(names, strings.Join(command, " "))
			if len(command) == 1 && (name == "cache" || name == "config") {
				walk(command...)
			}
		}
	}
	walk()
	return names
}

// commandIn is the command with whose name words begin; "" where there is none.
func commandIn(words string, names []string) string {
	fields := strings.Fields(words)
	for n := min(2, len(fields)); n > 0; n-- {
		if name := strings.Join(fields[:n], " "); slices.Contains(names, name) {
			return name
		}
	}
	return ""
}

// helpOf is what a command says with --help.
func helpOf(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, append(strings.Fields(command), "--help")...).CombinedOutput()
	if err != nil {
		t.Errorf("blobd %s --help: %v", command, err)
	}
	return string(out)
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
