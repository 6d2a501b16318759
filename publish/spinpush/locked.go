package spinpush

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
)

// lockedApp is the document that describes an application. The order of the fields is the format's.
type lockedApp struct {
	Version        int                       `json:"spin_lock_version"`
	MustUnderstand []string                  `json:"must_understand,omitempty"`
	Metadata       map[string]any            `json:"metadata,omitempty"`
	Variables      map[string]lockedVariable `json:"variables,omitempty"`
	Triggers       []lockedTrigger           `json:"triggers"`
	Components     []lockedComponent         `json:"components"`
}

type lockedVariable struct {
	Description *string `json:"description,omitempty"`
	Default     *string `json:"default,omitempty"` // without one it is required
	Secret      bool    `json:"secret,omitempty"`
}

type lockedTrigger struct {
	ID     string         `json:"id"`
	Type   string         `json:"trigger_type"`
	Config map[string]any `json:"trigger_config"`
}

type lockedComponent struct {
	ID       string            `json:"id"`
	Metadata map[string]any    `json:"metadata,omitempty"`
	Source   lockedSource      `json:"source"`
	Env      map[string]string `json:"env,omitempty"`
	Files    []lockedFile      `json:"files,omitempty"`
	Config   map[string]string `json:"config,omitempty"`
	Needs    map[string]string `json:"host_requirements,omitempty"`
}

type lockedSource struct {
	ContentType string `json:"content_type"`
	lockedContent
}

type lockedFile struct {
	lockedContent
	Path string `json:"path"`
}

// lockedContent says what bytes are, and which where they are few.
type lockedContent struct {
	Inline *string `json:"inline,omitempty"` // base64; the empty file has one, too
	Digest string  `json:"digest"`
}

// inlineMost is the size up to which content stands in the document itself: some registries don't take the smallest blobs.
const inlineMost = 128

func (c content) locked() lockedContent {
	l := lockedContent{Digest: c.blob.Digest.String()}
	if c.blob.Size <= inlineMost {
		l.Inline = new(base64.RawStdEncoding.EncodeToString(c.small))
	}
	return l
}

// lock describes an application but for its components.
func (m *manifest) lock() *lockedApp {
	l := &lockedApp{Metadata: map[string]any{"triggers": m.settings}, Variables: m.variables, Triggers: []lockedTrigger{}, Components: []lockedComponent{}}
	setText(l.Metadata, "name", m.name)
	setText(l.Metadata, "version", m.version)
	setText(l.Metadata, "description", m.description)
	setList(l.Metadata, "authors", m.authors)
	if len(m.types) == 1 { // older readers look here
		settings, _ := m.settings[m.types[0]].(map[string]any)
		one := maps.Clone(settings)
		if one == nil {
			one = map[string]any{}
		}
		one["type"] = m.types[0]
		l.Metadata["trigger"] = one
	}
	for _, t := range m.triggers {
		if t.component != "" {
			t.config["component"] = t.component
		}
		l.Triggers = append(l.Triggers, lockedTrigger{t.id, t.kind, t.config})
	}
	return l
}

// lock describes a component but for its files.
func (c *component) lock(wasm content) lockedComponent {
	l := lockedComponent{
		ID: c.id, Metadata: map[string]any{}, Source: lockedSource{"application/wasm", wasm.locked()}, Env: c.env, Config: c.config,
	}
	setText(l.Metadata, "description", c.description)
	setList(l.Metadata, "allowed_outbound_hosts", c.hosts)
	setList(l.Metadata, "key_value_stores", c.stores)
	setList(l.Metadata, "databases", c.databases)
	setList(l.Metadata, "ai_models", c.models)
	if c.build != nil {
		l.Metadata["build"] = c.build
	}
	if c.chains() {
		l.Needs = map[string]string{"local_service_chaining": "required"}
	}
	return l
}

// chains reports whether the component calls others of its application, which not every host of Spin applications can.
func (c *component) chains() bool {
	for _, h := range c.hosts {
		_, host, _ := strings.Cut(h, "://")
		if i := strings.IndexAny(host, ":/"); i >= 0 {
			host = host[:i]
		}
		if strings.HasSuffix(host, ".spin.internal") {
			return true
		}
	}
	return false
}

// add adds a component.
func (l *lockedApp) add(c lockedComponent) {
	if c.Needs != nil {
		l.Version, l.MustUnderstand = 1, []string{"component_host_requirements"}
	}
	l.Components = append(l.Components, c)
}

func setText(m map[string]any, key, value string) {
	if value != "" {
		m[key] = value
	}
}

func setList(m map[string]any, key string, value []string) {
	if len(value) > 0 {
		m[key] = value
	}
}

// encode writes JSON without spaces, maps sorted by their keys.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
