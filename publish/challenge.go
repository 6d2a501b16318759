package publish

import (
	"slices"
	"strings"
)

// challenge is one way in which a registry asks who is calling (RFC 9110, 11.6.1).
type challenge struct {
	scheme string // lower case
	params map[string]string
}

// challenges reads the values of WWW-Authenticate headers. What is malformed is left out.
func challenges(headers []string) (list []challenge) {
	for _, rest := range headers {
		for rest = strings.TrimLeft(rest, " ,\t"); rest != ""; rest = strings.TrimLeft(rest, " ,\t") {
			var word string
			word, rest = token(rest)
			if word == "" {
				break
			}
			if after, ok := strings.CutPrefix(strings.TrimLeft(rest, " \t"), "="); ok && len(list) > 0 {
				var value string
				value, rest = paramValue(strings.TrimLeft(after, " \t"))
				list[len(list)-1].params[strings.ToLower(word)] = value
				continue
			}
			list = append(list, challenge{strings.ToLower(word), map[string]string{}})
		}
	}
	return list
}

func token(s string) (word, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return strings.ContainsRune(" \t,=\"", r) })
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

func paramValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		return token(s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// choose returns the challenge that we can answer: a bearer token before a password, which it keeps off the wire.
func choose(list []challenge) (challenge, bool) {
	for _, scheme := range []string{"bearer", "basic"} {
		if i := slices.IndexFunc(list, func(c challenge) bool { return c.scheme == scheme }); i >= 0 {
			return list[i], true
		}
	}
	return challenge{}, false
}
