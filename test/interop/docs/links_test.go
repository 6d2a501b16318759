package docs

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link     = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)\)`)
	codeSpan = regexp.MustCompile("`[^`\n]*`")
	heading  = regexp.MustCompile(`^#{1,6} +(.*)$`)
	// What a code host leaves out of a heading's anchor.
	punctuation = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// TestLinks follows every relative link of every Markdown file to a file or folder of the repository, and to a heading
// there.
func TestLinks(t *testing.T) {
	t.Parallel()
	all := everyPage(t)
	anchors := map[string]map[string]bool{}
	for _, p := range all {
		anchors[p.name] = anchorsOf(prose(p.text))
	}
	for _, p := range all {
		n := 0
		for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(prose(p.text), "`"), -1) {
			u, err := url.Parse(m[1])
			if err != nil || u.Scheme != "" {
				continue
			}
			n++
			target := p.name
			if u.Path != "" {
				target = path.Join(path.Dir(p.name), u.Path)
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(target))); err != nil || strings.HasPrefix(target, "..") {
				t.Errorf("%s: %s leads nowhere", p.name, m[0])
			} else if u.Fragment != "" && !anchors[target][u.Fragment] {
				t.Errorf("%s: %s: no such heading", p.name, m[0])
			}
		}
		if p.name == "README.md" && n < 5 {
			t.Errorf("%d links found in the README", n)
		}
	}
}

// TestIndex: docs/README.md leads to every page.
func TestIndex(t *testing.T) {
	t.Parallel()
	index := read(t, []string{"docs/README.md"})[0].text
	for _, p := range pages(t) {
		if name, ok := strings.CutPrefix(p.name, "docs/"); ok && name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md does not lead to %s", name)
		}
	}
}

// prose is a page without its fenced blocks.
func prose(text string) string {
	var out strings.Builder
	inside := ""
	for line := range strings.Lines(text) {
		m := fence.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case inside == "" && m != nil:
			inside = m[2]
		case inside != "":
			if m != nil && m[2] == inside {
				inside = ""
			}
		default:
			out.WriteString(line)
		}
	}
	return out.String()
}

// anchorsOf are the anchors that a code host gives the headings: small letters, without punctuation, a dash for a space; a
// second one of a name has a number.
func anchorsOf(text string) map[string]bool {
	found, times := map[string]bool{}, map[string]int{}
	for line := range strings.Lines(text) {
		m := heading.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		words := link.ReplaceAllStringFunc(m[1], func(s string) string { return s[1:strings.Index(s, "]")] })
		anchor := strings.ReplaceAll(strings.ToLower(punctuation.ReplaceAllString(words, "")), " ", "-")
		times[anchor]++
		if n := times[anchor]; n > 1 {
			anchor = fmt.Sprintf("%s-%d", anchor, n-1)
		}
		found[anchor] = true
	}
	return found
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	got := anchorsOf("# Files: `blobd push --files FILE[:TYPE]… REF`\n## A\n## A\n### [A link](x.md), and more\n")
	for _, want := range []string{"files-blobd-push---files-filetype-ref", "a", "a-1", "a-link-and-more"} {
		if !got[want] {
			t.Errorf("no %q in %v", want, got)
		}
	}
}

// TestRunbooks: addresses of pages in rules, dashboards, units and code lead to a heading that there is.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "git", "grep", "--untracked", "-hoE", `blob/main/[A-Za-z0-9_/.-]+\.md(#[a-z0-9-]+)?`)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	addresses := strings.Fields(string(out))
	for _, address := range addresses {
		name, fragment, _ := strings.Cut(strings.TrimPrefix(address, "blob/main/"), "#")
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil || fragment != "" && !anchorsOf(prose(string(text)))[fragment] {
			t.Errorf("%s leads nowhere: %v", address, err)
		}
	}
	if len(addresses) < 5 {
		t.Errorf("addresses: %q", addresses)
	}
}
