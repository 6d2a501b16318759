package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Key is one setting.
type Key struct {
	Path   string // as in the file: "log.level"
	Env    string // "BLOBD_LOG_LEVEL"
	Flag   string // how a flag of `blobd serve` that sets it is, or would be, called: "--log-level"
	Reload bool   // a running daemon takes it over on SIGHUP
}

// Keys are all settings in the order of the struct. Lists and maps are one setting each.
func Keys() []Key {
	var keys []Key
	walk(reflect.ValueOf(new(Config)).Elem(), "", false, func(k Key, _ reflect.Value) { keys = append(keys, k) })
	return keys
}

// Changes compares two configurations key by key: those that a running daemon takes over, and those that need a
// restart.
func Changes(old, updated Config) (applied, needRestart []string) {
	before := map[string]any{}
	walk(reflect.ValueOf(&old).Elem(), "", false, func(k Key, v reflect.Value) { before[k.Path] = v.Interface() })
	walk(reflect.ValueOf(&updated).Elem(), "", false, func(k Key, v reflect.Value) {
		switch {
		case equal(before[k.Path], v.Interface()):
		case k.Reload:
			applied = append(applied, k.Path)
		default:
			needRestart = append(needRestart, k.Path)
		}
	})
	return applied, needRestart
}

// Reload is old with the keys of updated that a running daemon takes over: what is in force after a SIGHUP.
func Reload(old, updated Config) Config {
	values := map[string]reflect.Value{}
	walk(reflect.ValueOf(&updated).Elem(), "", false, func(k Key, v reflect.Value) { values[k.Path] = v })
	walk(reflect.ValueOf(&old).Elem(), "", false, func(k Key, v reflect.Value) {
		if k.Reload {
			v.Set(values[k.Path])
		}
	})
	return old
}

// equal takes a nil list for an empty one.
func equal(a, b any) bool {
	v, w := reflect.ValueOf(a), reflect.ValueOf(b)
	if k := v.Kind(); (k == reflect.Slice || k == reflect.Map) && v.Len() == 0 && w.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a, b)
}

// walk visits every setting below v, which must be addressable.
func walk(v reflect.Value, prefix string, reload bool, visit func(Key, reflect.Value)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		path := prefix + yamlName(field)
		reload := reload || field.Tag.Get("reload") == "yes"
		if value := v.Field(i); isSection(value) {
			walk(value, path+".", reload, visit)
		} else {
			name := strings.ReplaceAll(path, ".", "_")
			visit(Key{
				Path: path, Env: "BLOBD_" + strings.ToUpper(name),
				Flag: "--" + strings.ReplaceAll(name, "_", "-"), Reload: reload,
			}, value)
		}
	}
}

func isSection(v reflect.Value) bool {
	_, text := v.Addr().Interface().(encoding.TextUnmarshaler)
	return v.Kind() == reflect.Struct && !text
}

func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// nearest is how a mistake's remedy names what may have been meant: a name at most two letters away, else all names.
func nearest(name string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if d := editDistance(name, k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "known here: " + strings.Join(slices.Sorted(slices.Values(known)), ", ")
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
