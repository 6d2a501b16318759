package monitor

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// maxText is the longest text of an event in bytes: what fails names hosts, digests and references, and some causes.
const maxText = 600

// tidy makes a text fit for a line of a terminal or a page, whatever registries and callers wrote into it.
func tidy(s string) string {
	rest := ""
	if len(s) > maxText {
		s, rest = strings.ToValidUTF8(s[:maxText], ""), "…"
	}
	if ascii(s) {
		return s + rest
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return ' '
	}, s)) + rest
}

// ascii reports whether s is printable ASCII, as nearly every text is.
func ascii(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isError reports whether an event tells of something that went wrong.
func (e *Event) isError() bool {
	switch e.Kind {
	case Corrupt, Upstream, Failed:
		return true
	case Degraded:
		return e.Reason != reasonWorks
	}
	return false
}

// sentence says what an event without a text is.
func (e *Event) sentence() string {
	switch e.Kind {
	case Pulled:
		if e.Reference == "" {
			return "other artifacts were pulled too"
		}
		return whence(e.Source)
	case Evicted:
		noun := "an entry"
		if e.Count != 1 {
			noun = fmt.Sprintf("%d entries", e.Count)
		}
		return fmt.Sprintf("%s, %s, left the %s cache: %s", noun, humanize.IBytes(uint64(max(e.Bytes, 0))), e.Cache, why(e.Reason))
	case Corrupt:
		return fmt.Sprintf("the %s cache held something damaged: it is dropped, and fetched again when it is wanted", e.Cache)
	}
	return ""
}

// whence says in words where a pull was answered from.
func whence(source string) string {
	switch source {
	case "upstream":
		return "from its registry"
	case "checked":
		return "from the cache, after a look at its tag"
	case "stale":
		return "from the cache, with a stale tag: its registry can't be had"
	}
	return "from the cache"
}

// why says a reason of an eviction in words.
func why(reason string) string {
	switch reason {
	case "size":
		return "it was full"
	case "min_free":
		return "the disk was nearly full"
	case "ttl":
		return "unused for long"
	case "corrupt":
		return "damaged"
	case "removed":
		return "somebody asked for that"
	}
	return reason
}
