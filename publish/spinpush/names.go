package spinpush

import (
	"fmt"
	"strings"
)

// nameAll gives triggers without an id, and components without a name, those that Spin gives them.
func (m *manifest) nameAll() {
	taken := map[string]bool{}
	for _, t := range m.triggers {
		taken[t.id] = true
	}
	for _, t := range m.triggers {
		if t.id != "" {
			continue
		}
		if t.id = t.component + "-" + t.kind + "-trigger"; t.component == "" || taken[t.id] {
			t.id = free(taken, t.kind+"-trigger")
		}
		taken[t.id] = true
	}
	taken = map[string]bool{}
	for _, c := range m.components {
		taken[c.id] = true
	}
	for _, t := range m.triggers {
		if t.inline == nil {
			continue
		}
		c := t.inline
		if c.id = t.id + "-component"; !isID(c.id, '-', false) || taken[c.id] {
			c.id = free(taken, "inline-component")
		}
		taken[c.id] = true
		m.components = append(m.components, c)
		t.component, t.inline = c.id, nil
	}
}

// free is the first name that nobody has.
func free(taken map[string]bool, name string) string {
	for n := 1; ; n++ {
		if id := fmt.Sprintf("%s%d", name, n); !taken[id] {
			return id
		}
	}
}

// resolve makes sure that all triggers' components are there.
func (m *manifest) resolve() error {
	known := map[string]bool{"": true}
	for _, c := range m.components {
		known[c.id] = true
	}
	for _, t := range m.triggers {
		if !known[t.component] {
			return wrong("trigger %s: there is no component %q", t.id, t.component)
		}
	}
	return nil
}

// isID reports whether a name is words that begin with a letter, each in one case, joined by a mark.
func isID(id string, mark rune, lower bool) bool {
	for word := range strings.SplitSeq(id, string(mark)) {
		if word == "" || !isLetter(word[0]) {
			return false
		}
		for i := range len(word) {
			if !isLetter(word[i]) && (word[i] < '0' || word[i] > '9') {
				return false
			}
		}
		if word != strings.ToLower(word) && (lower || word != strings.ToUpper(word)) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
