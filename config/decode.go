package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/blobd/blobd/internal/fault"
)

// decoder sets values from YAML and remembers where each came from, so that later complaints can say so. It decodes by
// hand because yaml's own KnownFields names neither the file nor the whole key.
type decoder struct {
	origins map[string]string         // key → where its value stands
	where   func(n *yaml.Node) string // of the source being read
}

// document decodes a YAML text of one document into v. An empty text sets nothing.
func (d *decoder) document(data []byte, v reflect.Value, path string) error {
	var root yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		line, why := syntaxError(err)
		return d.fail(&yaml.Node{Line: line}, path, why, "mend the YAML, in that line or the next")
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return d.fail(&more, path, "a second YAML document begins", "keep the whole configuration in one document")
	}
	return d.decode(root.Content[0], v, path)
}

// syntaxError takes yaml's complaint apart. It names the line where what is wrong began, which may be the one before, and
// none for the first; line is 0 where what is wrong has no place.
func syntaxError(err error) (line int, why string) {
	why = strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(why, "line "); ok {
		if number, rest, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return line, rest
			}
		}
	}
	if strings.HasPrefix(why, "unknown anchor") || strings.Contains(why, "UTF-8") {
		return 0, why
	}
	return 1, why
}

// decode recurses as deep as v's type, so aliases, even to themselves, can't make it endless.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if path != "" {
		d.origins[path] = d.where(n)
	}
	if n.ShortTag() == "!!null" {
		return nil // a key without a value keeps what was there before
	}
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return d.scalar(n, v, path)
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.decode(n, v.Elem(), path)
	case reflect.Struct:
		return d.section(n, v, path)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		return d.mapping(n, path, func(key *yaml.Node, value *yaml.Node) error {
			element := reflect.New(v.Type().Elem()).Elem()
			if err := d.decode(value, element, join(path, key.Value)); err != nil {
				return err
			}
			v.SetMapIndex(reflect.ValueOf(key.Value), element)
			return nil
		})
	case reflect.Slice:
		return d.list(n, v, path)
	default:
		return d.scalar(n, v, path)
	}
}

func (d *decoder) section(n *yaml.Node, v reflect.Value, path string) error {
	fields, known := map[string]int{}, []string(nil)
	for i := range v.NumField() {
		name := yamlName(v.Type().Field(i))
		fields[name] = i
		known = append(known, name)
	}
	return d.mapping(n, path, func(key *yaml.Node, value *yaml.Node) error {
		i, ok := fields[key.Value]
		if !ok {
			return d.fail(key, "", fmt.Sprintf("unknown key %q", join(path, key.Value)), nearest(key.Value, known))
		}
		return d.decode(value, v.Field(i), join(path, key.Value))
	})
}

func (d *decoder) mapping(n *yaml.Node, path string, visit func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return d.fail(n, path, "its value is not a mapping", "write it as key: value, on lines of their own or in {}")
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return d.fail(key, path, "a key is not a plain word", "write it as key: value")
		}
		if line, twice := lines[key.Value]; twice {
			return d.fail(key, join(path, key.Value), fmt.Sprintf("it stands already in line %d", line), "remove one of the two")
		}
		lines[key.Value] = key.Line
		if err := visit(key, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.SequenceNode {
		return d.fail(n, path, "its value is not a list", `write it as [first, second], or [] for none`)
	}
	all := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, element := range n.Content {
		if err := d.decode(element, all.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	v.Set(all)
	return nil
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) error {
	if n.Kind != yaml.ScalarNode {
		return d.fail(n, path, "a list or mapping where one value belongs", "write it as key: value")
	}
	if err := setText(v, n.Value); err != nil {
		return d.failValue(n, path, err)
	}
	return nil
}

// setText sets one value from its text, as file, environment and flags write it.
func setText(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return &badValue{strconv.Quote(text) + " is neither true nor false", "write true or false"}
		}
		v.SetBool(text == "true")
	case reflect.Int:
		i, err := strconv.Atoi(text)
		if err != nil {
			return &badValue{strconv.Quote(text) + " is not a whole number", "write it in digits"}
		}
		v.SetInt(int64(i))
	default:
		panic("config: no text form of " + v.Type().String())
	}
	return nil
}

func (d *decoder) failValue(n *yaml.Node, path string, err error) error {
	if bad, ok := errors.AsType[*badValue](err); ok {
		return d.fail(n, path, bad.why, bad.remedy)
	}
	return d.fail(n, path, err.Error(), "")
}

func (d *decoder) fail(n *yaml.Node, path, why, remedy string) error {
	return failure(d.where(n), path, why, remedy)
}

// failure is every complaint of this package: where, key, why; remedy.
func failure(where, key, why, remedy string) error {
	what := "config: " + where + ": "
	if key != "" {
		what += key + ": "
	}
	return fault.New(fault.InvalidArgument, "%s%s", what, why).Try("%s", remedy)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
