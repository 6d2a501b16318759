package spinpush

import (
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// manifest is a spin.toml.
type manifest struct {
	name, version, description string
	authors                    []string
	settings                   map[string]any // of triggers, by their type
	variables                  map[string]lockedVariable
	types                      []string // of triggers, in the manifest's order, as are the lists below
	triggers                   []*trigger
	components                 []*component
}

// parse reads a manifest and gives names to what has none.
func parse(raw []byte) (*manifest, error) {
	var doc map[string]any
	meta, err := toml.Decode(string(raw), &doc)
	if err != nil {
		return nil, wrong("%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	var first error
	t := newTable("", doc, &first)
	if err := checkVersion(t); err != nil {
		return nil, err
	}
	m := &manifest{variables: map[string]lockedVariable{}}
	m.application(t.table("application"))
	m.readVariables(t.table("variables"))
	components := t.table("component")
	for _, id := range inOrder(meta, "component") {
		if _, ok := components.keys[id]; ok {
			c := readComponent(components.table(id))
			c.id = id
			if !isID(id, '-', false) {
				t.fail(wrong("component.%s: a component's name is words of letters and digits, joined by hyphens", id))
			}
			m.components = append(m.components, c)
		}
	}
	components.end()
	if _, ok := doc["trigger"]; !ok {
		t.fail(wrong("trigger is missing").try("say what the application responds to, such as [[trigger.http]]"))
	}
	triggers := t.table("trigger")
	for _, kind := range inOrder(meta, "trigger") {
		m.types = append(m.types, kind)
		for i, item := range triggers.list(kind) {
			m.triggers = append(m.triggers, readTrigger(triggers, kind, i, item))
		}
	}
	triggers.end()
	t.end()
	if first != nil {
		return nil, first
	}
	m.nameAll()
	return m, m.resolve()
}

func checkVersion(t *table) error {
	version, found := t.take("spin_manifest_version")
	_, old := t.keys["spin_version"] // as it was first called
	switch {
	case version == int64(2):
		return nil
	case version == "1" || version == int64(1) || !found && old:
		return wrong("spin_manifest_version: blobd pushes manifests of version 2, and this is version 1").
			try("`spin doctor` turns it into version 2")
	case !found:
		return wrong("spin_manifest_version is missing").try("begin it with spin_manifest_version = 2")
	}
	return wrong("spin_manifest_version: blobd pushes manifests of version 2, not %v", version)
}

// inOrder are the keys of a table of the document, in its order, which the decoded map has lost.
func inOrder(meta toml.MetaData, name string) (keys []string) {
	known := map[string]bool{}
	for _, k := range meta.Keys() {
		if len(k) > 1 && k[0] == name && !known[k[1]] {
			known[k[1]] = true
			keys = append(keys, k[1])
		}
	}
	return keys
}

func (m *manifest) application(t *table) {
	m.name = t.required("name")
	m.version, m.description, m.authors = t.text("version"), t.text("description"), t.texts("authors")
	settings := t.table("trigger")
	m.settings = settings.values()
	for kind, v := range m.settings {
		if _, ok := v.(map[string]any); !ok {
			t.fail(wrong("%s must be a table", settings.key(kind)))
		}
	}
	t.ignore("tool", "targets") // for tools, and for checks that Spin makes when it builds
	t.end()
}

func (m *manifest) readVariables(t *table) {
	for _, name := range slices.Sorted(maps.Keys(t.keys)) {
		v := t.table(name)
		var l lockedVariable
		if _, ok := v.keys["description"]; ok {
			l.Description = new(v.text("description"))
		}
		_, hasDefault := v.keys["default"]
		if hasDefault {
			l.Default = new(v.text("default"))
		}
		if v.flag("required") == hasDefault {
			t.fail(wrong("%s must either be required or have a default", v.name))
		}
		l.Secret = v.flag("secret")
		v.end()
		if !isID(name, '_', true) {
			t.fail(wrong("%s: a variable's name is lower-case words, joined by underscores", v.name))
		}
		m.variables[name] = l
	}
}
