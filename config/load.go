package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/blobd/blobd/internal/fault"
)

// maxFile bounds a configuration file. A thousand registries with all their keys take a third of it; what is larger was
// given by mistake.
const maxFile = 1 << 20

// Sources are what a configuration is made of.
type Sources struct {
	File    string            // must exist; "" is the default path, where a file may be
	Environ []string          // as os.Environ
	Flags   map[string]string // the flags that were given: value by key ("log.level")
}

// Load puts the sources together and validates the result. CacheDir is filled in; Socket stays empty when no source
// sets it. Relative paths are made absolute, from the working directory. Warnings are variables of the environment that
// look as if they were meant for blobd, and are not.
//
// An empty variable counts as unset. Lists and maps are written in a variable as YAML, and replace the file's.
func Load(s Sources) (c Config, warnings []string, err error) {
	c, d, err := s.read()
	if err == nil {
		err = c.validate(d.origin)
	}
	if err != nil {
		return Config{}, nil, err
	}
	return c, environ(s.Environ).strangers(), nil
}

// Mistake is the error for the value of a key that Load has let pass and that can't be right on this host. It names where
// the value stands, as Load's own errors do; key may go below a setting, as in "admin_users[0]".
func (s Sources) Mistake(key, why, remedy string) error {
	where := "default"
	if _, d, err := s.read(); err == nil {
		where = d.origin(key)
	}
	return failure(where, key, why, remedy)
}

// read puts the sources together, and remembers where each value stands.
func (s Sources) read() (c Config, d *decoder, err error) {
	env := environ(s.Environ)
	c = Default()
	d = &decoder{origins: map[string]string{}}
	if err := d.file(s.File, env, &c); err != nil {
		return Config{}, nil, err
	}
	walk(reflect.ValueOf(&c).Elem(), "", false, func(k Key, v reflect.Value) {
		if text := env.get(k.Env); text != "" && err == nil {
			err = d.set("$"+k.Env, k.Path, text, v)
		}
		if text, ok := s.Flags[k.Path]; ok && err == nil {
			err = d.set(k.Flag, k.Path, text, v)
		}
	})
	if err != nil {
		return Config{}, nil, err
	}
	if c.CacheDir == "" {
		c.CacheDir = env.cacheDir(runtime.GOOS, os.Geteuid() == 0)
	}
	if c.Credentials.File == "" {
		c.Credentials.File = env.systemdLogins()
	}
	d.collector(env, &c.Tracing)
	if err := c.makeAbsolute(); err != nil {
		return Config{}, nil, err
	}
	return c, d, nil
}

func (d *decoder) file(path string, env environ, c *Config) error {
	asked := path != ""
	if !asked {
		if path = env.configFile(runtime.GOOS, os.Geteuid() == 0); path == "" {
			return nil
		}
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !asked:
		return nil
	case err != nil:
		return fault.Wrap(fault.InvalidArgument, err, "config").Try("give a readable file with --config, or none")
	case len(data) > maxFile:
		return failure(path, "", fmt.Sprintf("%d bytes are more than a configuration can have", len(data)),
			"give blobd's own file with --config")
	}
	d.where = func(n *yaml.Node) string {
		if n.Line == 0 {
			return path
		}
		return fmt.Sprintf("%s:%d", path, n.Line)
	}
	return d.document(data, reflect.ValueOf(c).Elem(), "")
}

// set takes text for one setting: as it is for a single value, as YAML for a list or a map.
func (d *decoder) set(where, path, text string, v reflect.Value) error {
	d.where = func(*yaml.Node) string { return where }
	d.origins[path] = where
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		return d.document([]byte(text), v, path)
	}
	if err := setText(v, text); err != nil {
		return d.failValue(nil, path, err)
	}
	return nil
}

// collector takes what the standard variables of OpenTelemetry say where no source of ours does: who runs a collector sets
// them for all programs of a host or a cluster.
func (d *decoder) collector(env environ, t *Tracing) {
	take := func(key, name string, value *string) bool {
		text := env.get(name)
		if _, set := d.origins[key]; set || text == "" {
			return false
		}
		*value, d.origins[key] = text, "$"+name
		return true
	}
	const endpoint, protocol = "tracing.endpoint", "tracing.protocol"
	base, exporter := false, env.get("OTEL_TRACES_EXPORTER")
	wanted := env.get("OTEL_SDK_DISABLED") != "true" && (exporter == "" || exporter == "otlp")
	if wanted && !take(endpoint, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &t.Endpoint) {
		base = take(endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT", &t.Endpoint)
	}
	if t.Endpoint == "" {
		return
	}
	if take(protocol, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", &t.Protocol) || take(protocol, "OTEL_EXPORTER_OTLP_PROTOCOL", &t.Protocol) {
		t.Protocol = strings.TrimSuffix(t.Protocol, "/protobuf") // their word is http/protobuf
	}
	if base && t.Protocol == TracingHTTP {
		t.Endpoint = strings.TrimRight(t.Endpoint, "/") + "/v1/traces" // that variable names what all signals have in common
	}
}

// origin is where the value of a key, or of the nearest that holds it, was set.
func (d *decoder) origin(key string) string {
	for key != "" {
		if where, ok := d.origins[key]; ok {
			return where
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return "default"
}

// environ is an environment as os.Environ gives it; the last of two equal names counts.
type environ []string

func (e environ) get(name string) string {
	for _, entry := range slices.Backward(e) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// strangers warns of BLOBD_ variables that are not settings. BLOBD_AUTH_FILE is one, of package credentials. Kubernetes gives every container BLOBD_PORT… and
// BLOBD_SERVICE_… when a service is called blobd: these are nobody's mistake.
func (e environ) strangers() []string {
	var names, warnings []string
	for _, key := range Keys() {
		names = append(names, key.Env)
	}
	for _, entry := range e {
		name, _, _ := strings.Cut(entry, "=")
		foreign := name == "BLOBD_AUTH_FILE" || name == "BLOBD_PORT" || strings.HasPrefix(name, "BLOBD_PORT_") || strings.HasPrefix(name, "BLOBD_SERVICE_")
		if !strings.HasPrefix(name, "BLOBD_") || slices.Contains(names, name) || foreign {
			continue
		}
		warning := fmt.Sprintf("environment variable %s is not a setting of blobd and is ignored", name)
		if hint := nearest(name, names); strings.HasPrefix(hint, "did") {
			warning += "; " + hint
		}
		warnings = append(warnings, warning)
	}
	slices.Sort(warnings)
	return slices.Compact(warnings)
}
