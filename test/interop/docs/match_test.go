package docs

import (
	"regexp"
	"strings"
	"testing"
)

// What stands for another of its kind, since a run has figures of its own.
const (
	anyDigest   = `sha256:[0-9a-f]+(?:…[0-9a-f]*)?`
	anyTime     = `\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z| ?[+-]\d\d:?\d\d| UTC)?`
	anyDuration = `(?:\d+(?:\.\d+)?(?:ns|µs|ms|s|m|h|d))+`
	anyFigure   = `\d[\d.,:]*(?: ?(?:[KMGT]i?B|B|bytes)\b)?(?: ?%)?`
	anySpace    = `[ \t]+`
)

var (
	alternatives = []string{anyDigest, anyTime, anyDuration + `\b`, anyFigure, anySpace}
	figure       = regexp.MustCompile("…|(" + strings.Join(alternatives, ")|(") + ")")
)

// pattern is what a printed line must match to be like a line of a page.
func pattern(line string) string {
	var out strings.Builder
	at := 0
	for _, m := range figure.FindAllStringSubmatchIndex(line, -1) {
		out.WriteString(regexp.QuoteMeta(line[at:m[0]]))
		like := `.*` // of …
		for i, a := range alternatives {
			if m[2*i+2] >= 0 {
				like = a
			}
		}
		out.WriteString(like)
		at = m[1]
	}
	out.WriteString(regexp.QuoteMeta(line[at:]))
	return out.String()
}

// alike reports whether a command printed what a page shows.
func alike(shown []string, printed string) bool {
	var all strings.Builder
	all.WriteString(`(?s)^`)
	for _, line := range shown {
		if strings.TrimSpace(line) == "…" {
			all.WriteString(`(?:[^\n]*\n)*`)
			continue
		}
		all.WriteString(`(?-s:` + pattern(strings.TrimRight(line, " ")) + `)[ \t]*\n`)
	}
	all.WriteString(`$`)
	return regexp.MustCompile(all.String()).MatchString(strings.TrimRight(printed, "\n") + "\n")
}

func TestAlike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shown, printed string
		want           bool
	}{
		{"digest  sha256:12ab\nfiles   3", "digest        sha256:98765\nfiles         12\n", true},
		{"digest  sha256:12ab\nfiles   3", "digest        sha256:98765\n", false},
		{"digest  sha256:12ab", "digest        sha256:98765\nfiles         12\n", false},
		{"sha256:2c26…e7ae", "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n", true},
		{"freed 3 entries, 1.2 MiB", "freed 0 entries, 0 B\n", true},
		{"took 12ms", "took 1.5s\n", true},
		{"age 1m30s", "age 3s\n", true},
		{"at 2026-01-02T15:04:05Z", "at 2031-11-12 05:04:05 UTC\n", true},
		{"one\n…\nlast", "one\ntwo\nthree\nlast\n", true},
		{"one\n…\nlast", "one\nlast\n", true},
		{"one … three", "one two three\n", true},
		{"one …", "one\ntwo\n", false},
		{"stored", "pushed\n", false},
	} {
		if got := alike(strings.Split(c.shown, "\n"), c.printed); got != c.want {
			t.Errorf("%q shown, %q printed: alike is %v", c.shown, c.printed, got)
		}
	}
}
