package page

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// textLimit is how much of a text from elsewhere is shown: more than a reference has, or an error that helps.
const textLimit = 300

// clean makes a text from elsewhere fit to be seen: what does not print, as what breaks a line, hides or turns the
// direction of writing, is spelled out, and the rest of a very long text left out.
func clean(text string) string {
	var out strings.Builder
	for left := textLimit; text != ""; left-- {
		if left == 0 {
			out.WriteRune('…')
			break
		}
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && n == 1:
			out.WriteString(`\x` + strconv.FormatUint(uint64(text[0]), 16))
		case strconv.IsPrint(r):
			out.WriteRune(r)
		default:
			out.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		text = text[n:]
	}
	return out.String()
}
