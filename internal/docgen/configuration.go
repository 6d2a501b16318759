package main

import (
	"bytes"
	_ "embed"
	"encoding"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"text/template"

	"github.com/blobd/blobd/config"
)

//go:embed configuration.md.tmpl
var configurationTemplate string

// row is one key in a table of the page.
type row struct {
	Key, Env, Is, Default, Reload, Meaning string
}

// configuration is the reference of the configuration: the prose is the template's, the tables are the struct's.
func configuration(root string) ([]byte, error) {
	said, err := comments(filepath.Join(root, "config"))
	if err != nil {
		return nil, err
	}
	var page struct{ Keys, Registry []row }
	w := walker{said: said, visit: func(r row) { page.Keys = append(page.Keys, r) }}
	w.walk(reflect.ValueOf(config.Default()), "", "")
	keys := config.Keys()
	if len(keys) != len(page.Keys) {
		return nil, fmt.Errorf("%d keys, and %d in the table", len(keys), len(page.Keys))
	}
	for i, key := range keys {
		page.Keys[i].Env, page.Keys[i].Reload = key.Env, yesNo(key.Reload)
	}
	w.visit = func(r row) { page.Registry = append(page.Registry, r) }
	w.walk(reflect.ValueOf(config.Registry{}), "", "")
	if w.err != nil {
		return nil, w.err
	}
	tmpl, err := template.New("configuration.md").Parse(configurationTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, page)
	return out.Bytes(), err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// walker goes through a struct of the configuration and visits its keys in order.
type walker struct {
	said  map[string]string // the comments of the fields
	visit func(row)
	err   error // the first field that says nothing
}

// walk visits the keys of v. outer is the tag of the field that v is, from which come the words that its comments leave
// open.
func (w *walker) walk(v reflect.Value, prefix string, outer reflect.StructTag) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		_, text := value.Interface().(encoding.TextMarshaler)
		if value.Kind() == reflect.Struct && !text {
			w.walk(value, prefix+name+".", field.Tag)
			continue
		}
		meaning := strings.NewReplacer("{holds}", outer.Get("holds"), "{folder}", outer.Get("folder"), "|", `\|`).
			Replace(w.said[v.Type().Name()+"."+field.Name])
		if meaning == "" && w.err == nil {
			w.err = fmt.Errorf("the field of %s%s has no comment above it that says what the key means", prefix, name)
		}
		w.visit(row{Key: prefix + name, Is: is(field), Default: defaultOf(field, value), Meaning: meaning})
	}
}

// is names the values that a field takes, in the words of the page.
func is(field reflect.StructField) string {
	if tag := field.Tag.Get("is"); tag != "" {
		return tag
	}
	switch field.Type {
	case reflect.TypeFor[config.Size](), reflect.TypeFor[config.Cap]():
		return "size"
	case reflect.TypeFor[config.Space]():
		return "size or share"
	case reflect.TypeFor[config.Duration](), reflect.TypeFor[config.TTL]():
		return "duration"
	case reflect.TypeFor[bool](), reflect.TypeFor[*bool]():
		return "`true` or `false`"
	case reflect.TypeFor[int]():
		return "number"
	case reflect.TypeFor[string]():
		return "text"
	}
	return field.Type.String()
}

// defaultOf is a default as it would stand in a file.
func defaultOf(field reflect.StructField, v reflect.Value) string {
	if tag := field.Tag.Get("default"); tag != "" {
		return tag
	}
	text, ok := v.Interface().(encoding.TextMarshaler)
	switch {
	case ok:
		b, err := text.MarshalText()
		if err != nil || len(b) == 0 {
			return "`\"\"`"
		}
		return "`" + string(b) + "`"
	case v.Kind() == reflect.Slice && v.Len() == 0:
		return "`[]`"
	case v.Kind() == reflect.Map && v.Len() == 0:
		return "`{}`"
	case v.Kind() == reflect.String && v.Len() == 0:
		return "`\"\"`"
	}
	return fmt.Sprintf("`%v`", v.Interface())
}
