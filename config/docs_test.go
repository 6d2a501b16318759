package config_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/blobd/blobd/config"
)

const reference = "../docs/configuration.md"

// TestReference holds the rows of the reference to the struct: the same keys in the same order, and of each its default,
// its variable and whether it reloads.
func TestReference(t *testing.T) {
	doc, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	rows := table(string(doc), "## Keys\n")
	keys := config.Keys()
	if len(rows) != len(keys) {
		t.Fatalf("%d rows, %d keys", len(rows), len(keys))
	}
	out, err := config.Default().YAML()
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if err := yaml.Unmarshal(out, &defaults); err != nil {
		t.Fatal(err)
	}
	for i, key := range keys {
		reload := "no"
		if key.Reload {
			reload = "yes"
		}
		want := []string{"`" + key.Path + "`", "`" + defaultText(t, defaults, key.Path) + "`", "`" + key.Env + "`", reload}
		for j := range want {
			if rows[i][j] != want[j] {
				t.Errorf("%s: the reference says %s, the struct %s", key.Path, rows[i][j], want[j])
			}
		}
		if len(rows[i]) != 5 || rows[i][4] == "" {
			t.Errorf("%s: no meaning: %q", key.Path, rows[i])
		}
	}
}

func TestReferenceOfRegistries(t *testing.T) {
	doc, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	rows := table(string(doc), "## Keys of a registry\n")
	registry := reflect.TypeFor[config.Registry]()
	if len(rows) != registry.NumField() {
		t.Fatalf("%d rows, %d fields", len(rows), registry.NumField())
	}
	for i, row := range rows {
		name, _, _ := strings.Cut(registry.Field(i).Tag.Get("yaml"), ",")
		if row[0] != "`"+name+"`" {
			t.Errorf("row %d is %s, the field %s", i, row[0], name)
		}
	}
}

func TestReferenceExample(t *testing.T) {
	doc, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(doc), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if _, err := load(t, example); err != nil || example == "" {
		t.Errorf("the example %q: %v", example, err)
	}
}

// table returns the cells of the first table after a heading, without its head.
func table(doc, heading string) [][]string {
	_, doc, _ = strings.Cut(doc, heading)
	var rows [][]string
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "|"):
			var row []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), " | ") {
				row = append(row, strings.TrimSpace(cell))
			}
			rows = append(rows, row)
		case len(rows) > 0:
			return rows[2:]
		}
	}
	return nil
}

func defaultText(t *testing.T, defaults map[string]any, path string) string {
	t.Helper()
	var value any = defaults
	for part := range strings.SplitSeq(path, ".") {
		value = value.(map[string]any)[part]
	}
	out, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
