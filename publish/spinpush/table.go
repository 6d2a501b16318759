package spinpush

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// problem is what is wrong with a manifest, or with what it names.
type problem struct {
	what, remedy string
}

func (p *problem) Error() string { return p.what }

func wrong(format string, args ...any) *problem { return &problem{what: fmt.Sprintf(format, args...)} }

func (p *problem) try(format string, args ...any) *problem {
	p.remedy = fmt.Sprintf(format, args...)
	return p
}

// table reads a table of a manifest. The first problem is kept for whoever looks at it in the end; what is read after it
// does not count.
type table struct {
	name  string // the dotted key; "" for the whole document
	keys  map[string]any
	known map[string]bool
	first *error // of all tables of a document
}

func newTable(name string, keys map[string]any, first *error) *table {
	return &table{name: name, keys: keys, known: map[string]bool{}, first: first}
}

func (t *table) fail(p *problem) {
	if *t.first == nil {
		*t.first = p
	}
}

// key is the dotted name of a key.
func (t *table) key(k string) string {
	if t.name == "" {
		return k
	}
	return t.name + "." + k
}

func (t *table) take(k string) (any, bool) {
	t.known[k] = true
	v, ok := t.keys[k]
	return v, ok
}

// ignore passes over keys that are others' business.
func (t *table) ignore(keys ...string) {
	for _, k := range keys {
		t.known[k] = true
	}
}

// refuse names what blobd can't do.
func (t *table) refuse(k, why, remedy string) {
	if _, ok := t.take(k); ok {
		t.fail(wrong("%s: %s", t.key(k), why).try("%s", remedy))
	}
}

// end refuses the keys that nobody took: a misspelt one would be lost without a word.
func (t *table) end() {
	for _, k := range slices.Sorted(maps.Keys(t.keys)) {
		if !t.known[k] {
			t.fail(wrong("%s: there is no such key in a Spin manifest", t.key(k)))
		}
	}
}

func take[T any](t *table, k, kind string) (v T, ok bool) {
	raw, found := t.take(k)
	if !found {
		return v, false
	}
	if v, ok = raw.(T); !ok {
		t.fail(wrong("%s must be %s", t.key(k), kind))
	}
	return v, ok
}

func (t *table) text(k string) string {
	s, _ := take[string](t, k, "a string")
	return s
}

func (t *table) required(k string) string {
	s, ok := take[string](t, k, "a string")
	if !ok {
		t.fail(wrong("%s is missing", t.key(k)))
	}
	return s
}

func (t *table) flag(k string) bool {
	b, _ := take[bool](t, k, "true or false")
	return b
}

func (t *table) list(k string) []any {
	raw, _ := t.take(k)
	return t.items(k, raw)
}

// items are those of an array of any kind.
func (t *table) items(k string, raw any) (list []any) {
	switch v := raw.(type) {
	case nil:
	case []any:
		return v
	case []map[string]any:
		for _, m := range v {
			list = append(list, m)
		}
	default:
		t.fail(wrong("%s must be an array", t.key(k)))
	}
	return list
}

func (t *table) texts(k string) (list []string) {
	for _, v := range t.list(k) {
		s, ok := v.(string)
		if !ok {
			t.fail(wrong("%s must be an array of strings", t.key(k)))
		}
		list = append(list, s)
	}
	return list
}

// table is the table of that name, empty where there is none.
func (t *table) table(k string) *table {
	m, _ := take[map[string]any](t, k, "a table")
	return newTable(t.key(k), m, t.first)
}

// strings are all keys of a table whose values are strings.
func (t *table) strings() map[string]string {
	all := map[string]string{}
	for k := range t.keys {
		all[k] = t.text(k)
	}
	return all
}

// values are all keys of a table that nobody took, as JSON has them.
func (t *table) values() map[string]any {
	all := map[string]any{}
	for k, v := range t.keys {
		if !t.known[k] {
			t.known[k] = true
			all[k] = t.json(t.key(k), v)
		}
	}
	return all
}

// json is a value of TOML as one of JSON.
func (t *table) json(name string, v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.fail(wrong("%s: a locked application can't hold %v", name, v))
		}
		return number(v)
	case time.Time:
		t.fail(wrong("%s: a locked application can't hold a date", name).try("write it as a string"))
	case []map[string]any, []any:
		list := []any{}
		for i, item := range t.items(name, v) {
			list = append(list, t.json(fmt.Sprintf("%s[%d]", name, i), item))
		}
		return list
	case map[string]any:
		all := map[string]any{}
		for k, item := range v {
			all[k] = t.json(name+"."+k, item)
		}
		return all
	}
	return v
}

// number is a float as Spin writes it: 1.0 is no 1.
type number float64

// MarshalJSON writes all digits between 1e-5 and 1e16, and exponents beyond.
func (n number) MarshalJSON() ([]byte, error) {
	f := float64(n)
	if abs := math.Abs(f); abs != 0 && (abs < 1e-5 || abs >= 1e16) {
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
		power, _ := strconv.Atoi(exponent) // FormatFloat writes one
		return fmt.Appendf(nil, "%se%d", mantissa, power), nil
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return []byte(text), nil
}
