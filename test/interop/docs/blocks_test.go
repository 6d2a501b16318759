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

const root = "../../.."

// page is one Markdown file.
type page struct {
	name   string // below the root of the repository
	text   string
	blocks []block
}

// block is a fenced block.
type block struct {
	kind  string // the first word after the fence
	line  int    // of the fence
	lines []string
}

func (b block) text() string { return strings.Join(b.lines, "\n") + "\n" }

// pages are the README and docs/*.md, whose blocks are tried.
func pages(t *testing.T) []page {
	t.Helper()
	names := []string{"README.md"}
	found, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(found) == 0 {
		t.Fatalf("docs: %d pages, %v", len(found), err)
	}
	for _, name := range found {
		names = append(names, "docs/"+filepath.Base(name))
	}
	return read(t, names)
}

// everyPage are all Markdown files of the repository.
func everyPage(t *testing.T) []page {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-co", "--exclude-standard", "*.md")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return read(t, strings.Fields(string(out)))
}

func read(t *testing.T, names []string) (pages []page) {
	t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, page{name: name, text: string(text), blocks: blocks(string(text))})
	}
	return pages
}

var fence = regexp.MustCompile("^( *)(```+)([^`]*)$")

// blocks are the fenced blocks of a page in order.
func blocks(text string) (found []block) {
	var open *block
	var indent, ticks string
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			kind, _, _ := strings.Cut(strings.TrimSpace(m[3]), " ")
			open, indent, ticks = &block{kind: kind, line: n}, m[1], m[2]
		case open != nil && m != nil && m[2] == ticks && strings.TrimSpace(m[3]) == "":
			found = append(found, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, strings.TrimPrefix(line, indent))
		}
	}
	return found
}

// step is a command of a session and what the page says it prints.
type step struct {
	line    int
	command string
	exit    string
	output  []string
}

var (
	exitNote = regexp.MustCompile(`#.*\bexit code (\d+)`)
	heredoc  = regexp.MustCompile(`<<-?\s*['"]?([A-Z]+)['"]?`)
)

// steps are the commands of a block of kind console.
func (b block) steps(t *testing.T) (found []step) {
	t.Helper()
	for i := 0; i < len(b.lines); i++ {
		command, ok := strings.CutPrefix(b.lines[i], "$ ")
		if !ok {
			if len(found) == 0 {
				t.Errorf("line %d: a block of kind console begins with a command: %q", b.line+1+i, b.lines[i])
				return nil
			}
			last := &found[len(found)-1]
			last.output = append(last.output, b.lines[i])
			continue
		}
		s := step{line: b.line + 1 + i, exit: "0"}
		for strings.HasSuffix(command, `\`) && i+1 < len(b.lines) {
			i++
			command += "\n" + b.lines[i]
		}
		if m := exitNote.FindStringSubmatch(command); m != nil {
			s.exit = m[1]
		}
		if m := heredoc.FindStringSubmatch(command); m != nil {
			end := slices.Index(b.lines[i+1:], m[1])
			if end < 0 {
				t.Errorf("line %d: no line %s", s.line, m[1])
				return nil
			}
			command += "\n" + strings.Join(b.lines[i+1:i+2+end], "\n")
			i += 1 + end
		}
		s.command = command
		found = append(found, s)
	}
	for i := range found { // blank lines between commands are no output
		for n := len(found[i].output); n > 0 && found[i].output[n-1] == ""; n-- {
			found[i].output = found[i].output[:n-1]
		}
	}
	return found
}
