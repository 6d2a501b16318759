// Package config is what an operator can decide about a daemon: a plain struct, its defaults, its file, its environment
// and its validation.
//
// It promises:
//   - A flag wins over the environment, that over the file, that over the default.
//   - A key or value that can't be right is an error that names where it stands (file and line, variable or flag), the
//     key, the value, and what to write instead. Nothing is guessed, and an unknown key is never skipped.
//   - What YAML prints, Load reads back to the same Config.
//
// Names of keys are the contract: docs/configuration.md lists them, and is made from this struct and its comments.
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
// struct, it marks all keys below. The comment of a field is what docs/configuration.md says of its key; `make docs`
// writes the page anew, and takes what a value looks like from the field's type, or from its tag `is`.
type Config struct {
	// the unix socket; empty: `/run/blobd/blobd.sock` for root, `$XDG_RUNTIME_DIR/blobd/blobd.sock` for others
	Socket string `yaml:"socket" is:"path"`

	// the cache folder, one daemon each; empty: `$CACHE_DIRECTORY` (systemd's), else `/var/cache/blobd` for root, the
	// user's cache folder + `/blobd` for others
	CacheDir string `yaml:"cache_dir" is:"path"`

	// what all caches together may take on disk, at least `1MiB`; blobd starts to evict at 95 % of it
	MaxSize Size `yaml:"max_size" reload:"yes"`

	// what is left free on each disk: a size, or a share of the disk that holds `cache_dir`; the default is 5 % of the
	// disk, but at most 2 GiB; `0`: nothing
	MinFree Space `yaml:"min_free" reload:"yes"`

	// where the status page, `/metrics`, `/livez` and `/readyz` are; `off` for nowhere. Where the default address is taken
	// the daemon warns and goes without; an address that was given must be free
	HTTPAddr string `yaml:"http_addr" is:"host:port"`

	// who may see the page for people at `/`: `local` for callers on this host, by a loopback address (it names private
	// repositories), `on` for everybody who reaches `http_addr`, `off` for nobody
	StatusPage string `yaml:"status_page" is:"word"`

	// where Go's profiles are, at `/debug/pprof/`: an address of this host alone, as `127.0.0.1:6060`, which every user of
	// the host can reach; empty: nowhere
	PprofAddr string `yaml:"pprof_addr" is:"host:port"`

	Tracing Tracing `yaml:"tracing"`

	Log Log `yaml:"log"`

	// `metadata` syncs references, manifests and indexes to disk before they count; `full` syncs everything, which slows
	// cold reads
	Durability string `yaml:"durability" is:"word"`

	// `open` checks an entry when it is first opened after a start or a change of its file; `always` checks it on every
	// read
	Verify string `yaml:"verify" is:"word"`

	Caches Caches `yaml:"caches"`

	TTL TTLs `yaml:"ttl" reload:"yes"`

	// patterns of artifacts whose files are fetched whole and checked before their first byte is handed out
	RequireVerified []string `yaml:"require_verified" reload:"yes" is:"list of patterns"`

	// how old a tag may be that is served while its registry can't be had; `0`: none is
	MaxStale Duration `yaml:"max_stale" reload:"yes"`

	// how long one good answer of a registry lets its content be read by digest without asking again; `0`: for ever
	Grant Duration `yaml:"grant" reload:"yes"`

	// how long "not found" is remembered; `0`: not at all
	NegativeTTL Duration `yaml:"negative_ttl" reload:"yes"`

	// the largest index of an archive that is read, above 0
	MaxIndexSize Size `yaml:"max_index_size" reload:"yes"`

	// a reader that takes nothing for this long, above 0, is dropped
	IdleTimeout Duration `yaml:"idle_timeout"`

	// how long, above 0, calls under way may go on after SIGTERM; those that last longer are cut, with an error, and the
	// daemon exits with 0. A second SIGTERM ends it at once
	DrainTimeout Duration `yaml:"drain_timeout"`

	// how many connections one user of the host may have open, above 0, root too; users whom the system does not tell apart
	// count as one. All users together may have three quarters of the files that the daemon's process may open (`ulimit -n`)
	MaxConnectionsPerUser int `yaml:"max_connections_per_user" reload:"yes"`

	// how many calls one user may have open at a time, above 0, on all connections; one more is refused with
	// `LOCAL_OVERLOAD`
	MaxCallsPerUser int `yaml:"max_calls_per_user" reload:"yes"`

	// users, by name or uid, who may use the admin commands besides root and the daemon's own user
	AdminUsers []User `yaml:"admin_users" is:"list of users"`

	URLs        URLs        `yaml:"urls" reload:"yes"`
	Credentials Credentials `yaml:"credentials" reload:"yes"`

	// a map from `host[:port]` to the keys of the next table
	Registries map[string]Registry `yaml:"registries" reload:"yes" is:"map"`
}

// Values of StatusPage.
const (
	StatusPageLocal = "local"
	StatusPageOn    = "on"
	StatusPageOff   = "off"
)

// Values of Durability and Verify.
const (
	DurabilityMetadata = "metadata" // references, manifests and indexes are synced to disk before they count
	DurabilityFull     = "full"     // everything is
	VerifyOpen         = "open"     // cached bytes are checked when first opened after a start or a change
	VerifyAlways       = "always"   // and on every open
)

// Tracing says where traces go, and which.
type Tracing struct {
	// the URL of an OpenTelemetry collector, as `http://127.0.0.1:4317`, which is without TLS, or `https://…`; empty:
	// nothing is traced. Where no source sets it, `$OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `$OTEL_EXPORTER_OTLP_ENDPOINT`
	// does
	Endpoint string `yaml:"endpoint" is:"URL"`

	// how the collector is spoken to: `grpc` or `http`; where no source sets it, `$OTEL_EXPORTER_OTLP_TRACES_PROTOCOL` or
	// `$OTEL_EXPORTER_OTLP_PROTOCOL` does
	Protocol string `yaml:"protocol" is:"word"`

	// the share of calls that are traced, from `0` to `1`; a caller who traces, or does not, decides for its own calls
	Sample Share `yaml:"sample" is:"share"`

	// a YAML file of headers that the collector wants, as `authorization: Bearer …`; read at the start
	HeadersFile string `yaml:"headers_file" is:"path"`

	// registries (`host` or `host:port`) that are told, with a `traceparent` header, in which trace they are asked
	PropagateTo []string `yaml:"propagate_to" is:"list of hosts"`
}

// Values of Tracing.Protocol.
const (
	TracingGRPC = "grpc"
	TracingHTTP = "http"
)

// Log is how the daemon speaks on stderr.
type Log struct {
	// `debug`, `info`, `warn` or `error`
	Level string `yaml:"level" reload:"yes" is:"word"`

	// `json` (one object a line) or `text`
	Format string `yaml:"format" is:"word"`
}

// Caches are the settings of each cache. The tags say what the comments of Cache leave open.
type Caches struct {
	Ref      Cache  `yaml:"ref" holds:"tags" folder:"refs"`
	Manifest Cache  `yaml:"manifest" holds:"manifests" folder:"manifests"`
	Index    Cache  `yaml:"index" holds:"indexes" folder:"indexes"`
	Content  Cache  `yaml:"content" holds:"whole files" folder:"content"`
	Block    Cache  `yaml:"block" holds:"parts of blobs" folder:"blocks"`
	Memory   Memory `yaml:"memory"`
}

// Cache is one cache on disk.
type Cache struct {
	// `false`: {holds} are not kept
	Enabled bool `yaml:"enabled"`

	// a folder of its own; empty: `{folder}` in `cache_dir`
	Dir string `yaml:"dir" is:"path"`

	// the most it may take, above 0; empty: `max_size`
	Size Cap `yaml:"size" reload:"yes"`
}

// Memory is the tier in memory before the caches on disk.
type Memory struct {
	// parsed manifests and indexes and small files kept in memory, at most an eighth of the memory limit; `0`: none
	Size Size `yaml:"size" reload:"yes"`
}

// TTLs say how long a tag's last check stands.
type TTLs struct {
	// how long a tag is believed before the registry is asked again; `0`: for ever; `always`: ask each time
	Default TTL `yaml:"default"`

	// a list of `{match: PATTERN, ttl: TTL}`; the first that matches decides
	Rules []TTLRule `yaml:"rules" is:"list of rules"`
}

// TTLRule gives the references that Match matches a TTL of their own. Match is a pattern of path.Match over
// registry/repository or registry/repository:tag; a "*" does not pass a "/".
type TTLRule struct {
	Match string `yaml:"match"`
	TTL   TTL    `yaml:"ttl"`
}

// Credentials say where logins are found. No secret stands in the configuration itself.
type Credentials struct {
	// a file of logins by name, for `registries.*.credential`, or in the format of Docker's `config.json`; read again when
	// it changes. Empty: `$CREDENTIALS_DIRECTORY/blobd.logins` (systemd's `LoadCredential=`) where it is there
	File string `yaml:"file" is:"path"`

	// what `blobd login` writes, in the format of Docker's `config.json`; read again when it changes. Empty:
	// `$BLOBD_AUTH_FILE`; else `$STATE_DIRECTORY/auth.json` (systemd's); else for root `/var/lib/blobd/auth.json`, for others
	// the file of their own `blobd login`s
	LoginFile string `yaml:"login_file" is:"path"`

	// use the logins of `spin registry login`
	Spin bool `yaml:"spin"`

	// use Docker's config and its credential helpers
	Docker bool `yaml:"docker"`

	// that config's file; empty: where Docker has it
	DockerConfig string `yaml:"docker_config" is:"path"`
}

// URLs say what `blobd fetch` may fetch by address. A host without a port stands for all its ports.
type URLs struct {
	// hosts (`host` or `host:port`) from which `blobd fetch` may fetch without TLS; they may be on private and loopback
	// addresses too
	AllowHTTP []string `yaml:"allow_http" is:"list of hosts"`

	// hosts from which `blobd fetch` may fetch though they are on private or loopback addresses; by https, unless
	// `urls.allow_http` has them too
	AllowPrivate []string `yaml:"allow_private" is:"list of hosts"`

	// the largest file that is fetched by address, above 0
	MaxSize Size `yaml:"max_size"`
}

// Registry is how one registry is reached. The tag `default` is for the page: each default here is Go's zero value.
type Registry struct {
	// speak HTTP without TLS
	PlainHTTP *bool `yaml:"plain_http,omitempty" default:"on loopback only"`

	// a PEM file of certificate authorities to trust besides the system's
	CAFile string `yaml:"ca_file,omitempty" is:"path"`

	// the name of a login in `credentials.file`
	Credential string `yaml:"credential,omitempty" is:"name"`

	// hosts to try first, in this order
	Mirrors []string `yaml:"mirrors,omitempty" is:"list of hosts"`

	// token servers to trust besides those on the registry's own domain: `host[:port]`, or an address with its scheme
	TokenRealms []string `yaml:"token_realms,omitempty" is:"list of hosts"`

	// how many requests at once; `0`: 64
	MaxConnections int `yaml:"max_connections,omitempty"`
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
		StatusPage: StatusPageLocal,
		Tracing:    Tracing{Protocol: TracingGRPC, Sample: 1},
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
