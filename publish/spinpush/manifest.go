package spinpush

import (
	"fmt"
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

type trigger struct {
	id, kind  string
	component string     // "": it has none, or inline
	inline    *component // a component that has no name of its own
	config    map[string]any
}

type component struct {
	id          string
	source      source
	description string
	hosts       []string // that it may call
	stores      []string
	databases   []string
	models      []string
	env         map[string]string
	config      map[string]string
	files       []mount
	exclude     []string
	build       map[string]any
}

// source is a local file, or an address and what is there.
type source struct {
	path        string
	url, digest string
}

// mount is a pattern, or a place for a file or folder.
type mount struct {
	pattern             string
	source, destination string
}

func (m mount) String() string {
	if m.pattern != "" {
		return fmt.Sprintf("%q", m.pattern)
	}
	return fmt.Sprintf("%q", m.source)
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

const uncomposed = "push it with Spin, which composes it, or compose the component beforehand"

func readComponent(t *table) *component {
	c := &component{
		source: readSource(t), description: t.text("description"), hosts: t.texts("allowed_outbound_hosts"),
		stores: t.texts("key_value_stores"), databases: t.texts("sqlite_databases"), models: t.texts("ai_models"),
		env: t.table("environment").strings(), exclude: t.texts("exclude_files"),
	}
	variables := t.table("variables")
	c.config = variables.strings()
	for name := range c.config {
		if !isID(name, '_', true) {
			t.fail(wrong("%s: a variable's name is lower-case words, joined by underscores", variables.key(name)))
		}
	}
	for i, item := range t.list("files") {
		c.files = append(c.files, readMount(t, fmt.Sprintf("files[%d]", i), item))
	}
	for _, h := range c.hosts {
		if !strings.Contains(h, "://") && !strings.Contains(h, "{{") {
			t.fail(wrong("%s: %q is no scheme://host:port, so that Spin would not run it", t.key("allowed_outbound_hosts"), h))
		}
	}
	if _, ok := t.keys["build"]; ok {
		c.build = readBuild(t.table("build"))
	}
	t.refuse("allowed_http_hosts", "blobd does not know this older form", "write allowed_outbound_hosts, such as \"https://example.com\"")
	if len(t.table("dependencies").keys) > 0 {
		t.fail(wrong("%s: blobd composes no components", t.key("dependencies")).try(uncomposed))
	}
	t.flag("dependencies_inherit_configuration") // of dependencies, which there are none
	t.ignore("tool", "targets", "profile")       // a profile replaces parts of a component when somebody names it
	t.end()
	return c
}

func readSource(t *table) (s source) {
	raw, ok := t.take("source")
	switch v := raw.(type) {
	case string:
		s.path = v
	case map[string]any:
		x := newTable(t.key("source"), v, t.first)
		for _, k := range []string{"registry", "package"} {
			x.refuse(k, "blobd gets no components from package registries", "get it with wkg, and name the file")
		}
		s.url, s.digest = x.required("url"), x.required("digest")
		x.end()
	default:
		if ok {
			t.fail(wrong("%s must be a path, or a url and a digest", t.key("source")))
		} else {
			t.fail(wrong("%s is missing", t.key("source")))
		}
	}
	return s
}

func readMount(t *table, k string, item any) (m mount) {
	switch v := item.(type) {
	case string:
		if m.pattern = v; v == "" {
			t.fail(wrong("%s is empty", t.key(k)))
		}
	case map[string]any:
		x := newTable(t.key(k), v, t.first)
		m.source, m.destination = x.required("source"), x.required("destination")
		x.end()
	default:
		t.fail(wrong("%s must be a pattern, or a source and a destination", t.key(k)))
	}
	return m
}

// readBuild reads how a component is built. Spin publishes that, too.
func readBuild(t *table) map[string]any {
	build := map[string]any{}
	switch v, _ := t.take("command"); v.(type) {
	case string:
		build["command"] = v
	case []any:
		build["command"] = t.texts("command")
	default:
		t.fail(wrong("%s must be a command, or an array of them", t.key("command")))
	}
	if _, ok := t.keys["workdir"]; ok {
		build["workdir"] = t.text("workdir")
	}
	if watch := t.texts("watch"); len(watch) > 0 {
		build["watch"] = watch
	}
	t.end()
	return build
}

func readTrigger(all *table, kind string, i int, item any) *trigger {
	keys, ok := item.(map[string]any)
	t := newTable(all.key(fmt.Sprintf("%s[%d]", kind, i)), keys, all.first)
	if !ok {
		t.fail(wrong("%s must be a table", t.name))
	}
	x := &trigger{kind: kind, id: t.text("id")}
	switch v, ok := t.take("component"); v := v.(type) {
	case string:
		x.component = v
	case map[string]any:
		x.inline = readComponent(newTable(t.key("component"), v, t.first))
	default:
		if ok {
			t.fail(wrong("%s must be a component's name, or a component", t.key("component")))
		}
	}
	t.refuse("components", "blobd knows triggers of one component only", "push it with Spin")
	t.refuse("dependencies", "blobd composes no components", uncomposed)
	x.config = t.values()
	return x
}
