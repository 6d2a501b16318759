package spinpush

import (
	"fmt"
	"strings"
)

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
