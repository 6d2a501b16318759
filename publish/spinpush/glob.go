package spinpush

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// pattern is a glob as Spin has them: * and ? and [a-z] and [!a-z], and ** for any number of folders.
type pattern struct {
	*regexp.Regexp
	text   string
	prefix string // the folder that all it matches is in
	depth  int    // of what it matches; -1 for any
}

// special are the marks that make a path a pattern.
const special = "?*[]"

// compile reads a pattern. Where it is loose, as those of exclude_files are, * and ? match slashes, too.
func compile(text string, loose bool) (*pattern, error) {
	one := "[^/]"
	if loose {
		one = "."
	}
	p := &pattern{text: text, prefix: "."}
	elements := strings.Split(text, "/")
	p.depth = len(elements)
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i, e := range elements {
		last := i == len(elements)-1
		switch {
		case e == "**" && last:
			return nil, wrong("pattern %q: ** stands for folders", text).try("write %q for all that is below", text+"/*")
		case e == "**":
			p.depth = -1
			if loose {
				b.WriteString(`(?:.*/)?`)
			} else {
				b.WriteString(`(?:[^/]+/)*`)
			}
			continue
		case strings.Contains(e, "**"):
			return nil, wrong("pattern %q: ** must be alone between slashes", text)
		}
		if err := element(&b, e, one); err != nil {
			return nil, wrong("pattern %q: %s", text, err)
		}
		if !last {
			b.WriteString("/")
		}
	}
	b.WriteString(`\z`)
	for i, e := range elements[:len(elements)-1] {
		if strings.ContainsAny(e, special) {
			break
		}
		p.prefix = strings.Join(elements[:i+1], "/")
	}
	var err error
	if p.Regexp, err = regexp.Compile(b.String()); err != nil {
		return nil, wrong("pattern %q: a range in it runs backwards", text)
	}
	return p, nil
}

// element translates what stands between two slashes. one matches one character.
func element(b *strings.Builder, e, one string) error {
	for e != "" {
		r, n := utf8.DecodeRuneInString(e)
		switch r {
		case '*':
			b.WriteString(one + "*")
		case '?':
			b.WriteString(one)
		case '[':
			var err error
			if n, err = class(b, e); err != nil {
				return err
			}
		default:
			b.WriteString(regexp.QuoteMeta(e[:n]))
		}
		e = e[n:]
	}
	return nil
}

// class translates [...], where a bracket or a hyphen that comes first, or a hyphen that comes last, is itself. It returns
// its length.
func class(b *strings.Builder, e string) (int, error) {
	start := 1
	not := strings.HasPrefix(e, "[!")
	if not {
		start = 2
	}
	if len(e) <= start {
		return 0, wrong("a [ in it is not closed")
	}
	size := strings.IndexByte(e[start+1:], ']') // not at once: a class is never empty
	if size < 0 {
		return 0, wrong("a [ in it is not closed")
	}
	members := []rune(e[start : start+1+size])
	b.WriteString("[")
	if not {
		b.WriteString("^/")
	}
	for i := 0; i < len(members); i++ {
		b.WriteString(`\x{` + hex(members[i]) + `}`)
		if i+2 < len(members) && members[i+1] == '-' {
			b.WriteString(`-\x{` + hex(members[i+2]) + `}`)
			i += 2
		}
	}
	b.WriteString("]")
	return start + 1 + size + 1, nil
}

func hex(r rune) string { return strconv.FormatInt(int64(r), 16) }
