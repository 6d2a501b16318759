// Package config is what an operator can decide about a daemon: a plain struct, its defaults, its file, its environment
// and its validation.
//
// It promises:
//   - A flag wins over the environment, that over the file, that over the default.
//   - A key or value that can't be right is an error that names where it stands (file and line, variable or flag), the
//     key, the value, and what to write instead. Nothing is guessed, and an unknown key is never skipped.
//   - What YAML prints, Load reads back to the same Config.
//
// Names of keys are the contract: docs/configuration.md lists them, and a test holds the list to this struct.
package config

import (
	"bytes"
	"fmt"
	"iter"
	"path"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config is the whole configuration. The tag `reload` marks keys that a running daemon takes over on SIGHUP; of a
// struct, it marks all keys below.
type Config struct {
	Socket   string `yaml:"socket"`    // path of the unix socket; "" is the rule of package client
	CacheDir string `yaml:"cache_dir"` // "" is the rule of Load, which fills it in

	MaxSize Size  `yaml:"max_size" reload:"yes"`
	MinFree Space `yaml:"min_free" reload:"yes"`

	HTTPAddr string `yaml:"http_addr"` // host:port of metrics and probes; "off" (or "" as a flag or in the file) for none
	Pprof    bool   `yaml:"pprof"`

	Log        Log    `yaml:"log"`
	Durability string `yaml:"durability"` // DurabilityMetadata or DurabilityFull
	Verify     string `yaml:"verify"`     // VerifyOpen or VerifyAlways

	Caches Caches `yaml:"caches"`

	TTL             TTLs     `yaml:"ttl" reload:"yes"`
	RequireVerified []string `yaml:"require_verified" reload:"yes"` // patterns as in TTLRule.Match
	MaxStale        Duration `yaml:"max_stale" reload:"yes"`        // 0: a stale tag is never served
	Grant           Duration `yaml:"grant" reload:"yes"`            // how long one good answer of a registry lets a scope read by digest; 0: for ever
	NegativeTTL     Duration `yaml:"negative_ttl" reload:"yes"`     // 0: a 404 is not remembered
	MaxIndexSize    Size     `yaml:"max_index_size" reload:"yes"`

	IdleTimeout  Duration `yaml:"idle_timeout"`  // a reader that takes nothing for this long is dropped
	DrainTimeout Duration `yaml:"drain_timeout"` // how long calls under way may go on after SIGTERM

	MaxConnectionsPerUser int `yaml:"max_connections_per_user" reload:"yes"` // root and the daemon's own user included
	MaxCallsPerUser       int `yaml:"max_calls_per_user" reload:"yes"`       // open at one time, on all connections of the user

	AdminUsers []User `yaml:"admin_users"` // besides root and the daemon's own user

	URLs        URLs                `yaml:"urls" reload:"yes"`
	Credentials Credentials         `yaml:"credentials" reload:"yes"`
	Registries  map[string]Registry `yaml:"registries" reload:"yes"` // by host[:port]
}

// Values of Durability and Verify.
const (
	DurabilityMetadata = "metadata" // references, manifests and indexes are synced to disk before they count
	DurabilityFull     = "full"     // everything is
	VerifyOpen         = "open"     // cached bytes are checked when first opened after a start or a change
	VerifyAlways       = "always"   // and on every open
)

// Log is how the daemon speaks on stderr.
type Log struct {
	Level  string `yaml:"level" reload:"yes"` // debug, info, warn or error
	Format string `yaml:"format"`             // json or text
}

// Caches are the settings of each cache.
type Caches struct {
	Ref      Cache  `yaml:"ref"`
	Manifest Cache  `yaml:"manifest"`
	Index    Cache  `yaml:"index"`
	Content  Cache  `yaml:"content"`
	Block    Cache  `yaml:"block"`
	Memory   Memory `yaml:"memory"`
}

// Cache is one cache on disk.
type Cache struct {
	Enabled bool   `yaml:"enabled"`
	Dir     string `yaml:"dir"` // "" is a folder of its own in cache_dir
	Size    Cap    `yaml:"size" reload:"yes"`
}

// Memory is the tier in memory before the caches on disk.
type Memory struct {
	Size Size `yaml:"size" reload:"yes"` // 0: none
}

// TTLs say how long a tag's last check stands.
type TTLs struct {
	Default TTL       `yaml:"default"`
	Rules   []TTLRule `yaml:"rules"` // the first that matches decides
}

// TTLRule gives the references that Match matches a TTL of their own. Match is a pattern of path.Match over
// registry/repository or registry/repository:tag; a "*" does not pass a "/".
type TTLRule struct {
	Match string `yaml:"match"`
	TTL   TTL    `yaml:"ttl"`
}

// Credentials say where logins are found. No secret stands in the configuration itself.
type Credentials struct {
	File         string `yaml:"file"`          // credentials by name, for registries.*.credential
	LoginFile    string `yaml:"login_file"`    // what `blobd login` writes; "" is the rule of package credentials
	Spin         bool   `yaml:"spin"`          // the logins of `spin registry login` are used too
	Docker       bool   `yaml:"docker"`        // and those of Docker's config and its credential helpers
	DockerConfig string `yaml:"docker_config"` // "" is Docker's own rule
}

// URLs say what `blobd fetch` may fetch by address. A host without a port stands for all its ports.
type URLs struct {
	AllowHTTP    []string `yaml:"allow_http"`    // host[:port] that may be asked without TLS, on private addresses too
	AllowPrivate []string `yaml:"allow_private"` // host[:port] that may be on private and loopback addresses
	MaxSize      Size     `yaml:"max_size"`      // of one file
}

// Registry is how one registry is reached.
type Registry struct {
	PlainHTTP      *bool    `yaml:"plain_http,omitempty"` // nil: only on loopback
	CAFile         string   `yaml:"ca_file,omitempty"`
	Credential     string   `yaml:"credential,omitempty"`      // a name in credentials.file
	Mirrors        []string `yaml:"mirrors,omitempty"`         // tried in order, then the registry itself
	TokenRealms    []string `yaml:"token_realms,omitempty"`    // token servers besides those on the registry's own domain
	MaxConnections int      `yaml:"max_connections,omitempty"` // 0: the fetcher's default
}

// Default is the configuration without file, environment and flags. Socket and CacheDir are empty: who runs the daemon
// decides them.
func Default() Config {
	const mib = 1 << 20
	on := func(size Cap) Cache { return Cache{Enabled: true, Size: size} }
	return Config{
		MaxSize:    10 << 30,
		MinFree:    Space{Percent: 5},
		HTTPAddr:   "127.0.0.1:9465",
		Log:        Log{Level: "info", Format: "json"},
		Durability: DurabilityMetadata,
		Verify:     VerifyOpen,
		Caches: Caches{
			Ref: on(10 * mib), Manifest: on(50 * mib), Index: on(200 * mib), Content: on(0), Block: on(0),
			Memory: Memory{Size: 64 * mib},
		},
		TTL:          TTLs{Default: TTL(15 * time.Minute)},
		MaxStale:     Duration(24 * time.Hour),
		Grant:        Duration(24 * time.Hour),
		NegativeTTL:  Duration(10 * time.Second),
		MaxIndexSize: 64 * mib,
		IdleTimeout:  Duration(time.Minute),
		DrainTimeout: Duration(25 * time.Second),

		MaxConnectionsPerUser: 1000,
		MaxCallsPerUser:       1000, // as many as one connection may have: who has one has his calls wait, not refused

		URLs:        URLs{MaxSize: 4 << 30},
		Credentials: Credentials{Spin: true, Docker: true},
	}
}

// YAML is the configuration as a file that Load reads back to the same Config.
func (c Config) YAML() ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("config as YAML: %w", err)
	}
	return out.Bytes(), enc.Close()
}

// HTTPOff reports whether the HTTP listener is switched off.
func (c Config) HTTPOff() bool { return c.HTTPAddr == "" || c.HTTPAddr == "off" }

// For is the TTL of registry/repository with a tag, which may be empty.
func (t TTLs) For(name, tag string) TTL {
	for _, r := range t.Rules {
		if matches(r.Match, name, tag) {
			return r.TTL
		}
	}
	return t.Default
}

// MustVerify reports whether files of registry/repository with a tag, which may be empty, are checked before their
// first byte is handed out.
func (c Config) MustVerify(name, tag string) bool {
	for _, pattern := range c.RequireVerified {
		if matches(pattern, name, tag) {
			return true
		}
	}
	return false
}

// matches takes a pattern that validate has accepted: path.Match's only error is a malformed one.
func matches(pattern, name, tag string) bool {
	if ok, _ := path.Match(pattern, name); ok {
		return true
	}
	ok, _ := path.Match(pattern, name+":"+tag)
	return ok && tag != ""
}

// OnDisk are the caches that have a folder, by name.
func (c Caches) OnDisk() iter.Seq2[string, Cache] {
	return func(yield func(string, Cache) bool) {
		_ = yield("ref", c.Ref) && yield("manifest", c.Manifest) && yield("index", c.Index) &&
			yield("content", c.Content) && yield("block", c.Block)
	}
}
