package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/internal/fault"
)

// home is an environment in which nothing is configured.
func home(t *testing.T) []string {
	dir := t.TempDir()
	return []string{
		"HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_CACHE_HOME=" + dir, "AppData=" + dir, "LocalAppData=" + dir,
		"CACHE_DIRECTORY=" + filepath.Join(dir, "cache"),
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string) (config.Config, error) {
	t.Helper()
	c, warnings, err := config.Load(config.Sources{File: write(t, text), Environ: home(t)})
	if len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
	return c, err
}

// example sets every key to something that is not its default.
const example = `
socket: /tmp/b.sock
cache_dir: /tmp/cache
max_size: 64MiB
min_free: 1GiB
http_addr: "off"
status_page: on
pprof_addr: 127.0.0.1:6060
tracing: {endpoint: "https://collector.example:4317", protocol: http, sample: 0.25, headers_file: /h, propagate_to: [a.example:5000]}
log: {level: debug, format: text}
durability: full
verify: always
caches:
  ref: {enabled: false, dir: /a, size: 1MiB}
  manifest: {enabled: false, dir: /b, size: 2MiB}
  index: {enabled: false, dir: /c, size: 3MiB}
  content: {enabled: false, dir: /d, size: 4MiB}
  block: {enabled: false, dir: /e, size: 5MiB}
  memory: {size: 0}
ttl:
  default: always
  rules:
    - {match: "ghcr.io/acme/*", ttl: 0}
    - {match: "ghcr.io/acme/*:latest", ttl: 30s}
require_verified: ["ghcr.io/secret/*"]
max_stale: 0
grant: 1h
negative_ttl: 0s
max_index_size: 1MiB
idle_timeout: 1m30s
drain_timeout: 5s
max_connections_per_user: 50
max_calls_per_user: 60
admin_users: [1000, alice]
urls: {allow_http: ["127.0.0.1:8000"], allow_private: [files.internal], max_size: 1MiB}
credentials: {file: /f, login_file: /l, spin: false, docker: false, docker_config: /g}
registries:
  localhost:5000: {plain_http: false}
  ghcr.io: {ca_file: /ca.pem, credential: robot, mirrors: [mirror.example, "127.0.0.1:5001"], token_realms: [auth.example],
    max_connections: 8}
  quay.io:
`

func TestFile(t *testing.T) {
	c, err := load(t, example)
	if err != nil {
		t.Fatal(err)
	}
	no := false
	want := config.Config{
		Socket: "/tmp/b.sock", CacheDir: "/tmp/cache", MaxSize: 64 << 20, MinFree: config.Space{Bytes: 1 << 30},
		HTTPAddr: "off", StatusPage: "on", PprofAddr: "127.0.0.1:6060", Log: config.Log{Level: "debug", Format: "text"}, Durability: "full", Verify: "always",
		Tracing: config.Tracing{
			Endpoint: "https://collector.example:4317", Protocol: "http", Sample: 0.25, HeadersFile: "/h",
			PropagateTo: []string{"a.example:5000"},
		},
		Caches: config.Caches{
			Ref: config.Cache{Dir: "/a", Size: 1 << 20}, Manifest: config.Cache{Dir: "/b", Size: 2 << 20},
			Index: config.Cache{Dir: "/c", Size: 3 << 20}, Content: config.Cache{Dir: "/d", Size: 4 << 20},
			Block: config.Cache{Dir: "/e", Size: 5 << 20},
		},
		TTL: config.TTLs{Default: config.Always, Rules: []config.TTLRule{
			{Match: "ghcr.io/acme/*"}, {Match: "ghcr.io/acme/*:latest", TTL: config.TTL(30 * time.Second)},
		}},
		RequireVerified: []string{"ghcr.io/secret/*"}, Grant: config.Duration(time.Hour), MaxIndexSize: 1 << 20,
		IdleTimeout: config.Duration(90 * time.Second), DrainTimeout: config.Duration(5 * time.Second),
		MaxConnectionsPerUser: 50, MaxCallsPerUser: 60,
		AdminUsers:  []config.User{"1000", "alice"},
		URLs:        config.URLs{AllowHTTP: []string{"127.0.0.1:8000"}, AllowPrivate: []string{"files.internal"}, MaxSize: 1 << 20},
		Credentials: config.Credentials{File: "/f", LoginFile: "/l", DockerConfig: "/g"},
		Registries: map[string]config.Registry{
			"localhost:5000": {PlainHTTP: &no},
			"ghcr.io": {
				CAFile: "/ca.pem", Credential: "robot", Mirrors: []string{"mirror.example", "127.0.0.1:5001"},
				TokenRealms: []string{"auth.example"}, MaxConnections: 8,
			},
			"quay.io": {},
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	// The example leaves no key at its default, so the tests that use it cover all.
	defaults := config.Default()
	defaults.CacheDir, defaults.Socket = "default", "default"
	applied, restart := config.Changes(defaults, c)
	if n := len(applied) + len(restart); n != len(config.Keys()) {
		t.Errorf("the example changes %d of %d keys: %v %v", n, len(config.Keys()), applied, restart)
	}
}

// Each path means the same in every working directory.
func TestRelativePathsAreMadeAbsolute(t *testing.T) {
	text := `
socket: s
cache_dir: ./c
caches: {ref: {dir: a}, manifest: {dir: b}, index: {dir: c/d}, content: {dir: ../e}, block: {dir: f/}}
credentials: {file: g, login_file: l, docker_config: h}
registries: {ghcr.io: {ca_file: i}}
`
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	c, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string]string{
		"s": c.Socket, "c": c.CacheDir, "a": c.Caches.Ref.Dir, "b": c.Caches.Manifest.Dir, "c/d": c.Caches.Index.Dir,
		"../e": c.Caches.Content.Dir, "f": c.Caches.Block.Dir, "g": c.Credentials.File, "h": c.Credentials.DockerConfig,
		"i": c.Registries["ghcr.io"].CAFile, "l": c.Credentials.LoginFile,
	} {
		if got != filepath.Join(dir, want) {
			t.Errorf("%s is %s", want, got)
		}
	}
	if _, err := load(t, "cache_dir: x\ncaches: {ref: {dir: "+dir+"/x}}\n"); err == nil {
		t.Error("one folder under two names is taken")
	}
}

func TestYAMLReadsBack(t *testing.T) {
	for name, text := range map[string]string{"defaults": "", "example": example, "only a comment": "# nothing\n"} {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, text)
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.YAML()
			if err != nil {
				t.Fatal(err)
			}
			again, err := load(t, string(out))
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if applied, restart := config.Changes(c, again); applied != nil || restart != nil {
				t.Errorf("read back, %v %v differ:\n%s", applied, restart, out)
			}
		})
	}
}

func TestNoSourceIsTheDefault(t *testing.T) {
	env := home(t)
	c, warnings, err := config.Load(config.Sources{Environ: env})
	if err != nil || warnings != nil {
		t.Fatal(err, warnings)
	}
	want := config.Default()
	want.CacheDir = strings.TrimPrefix(env[len(env)-1], "CACHE_DIRECTORY=")
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
}

// TestEnvironment sets each key by its variable alone, from the example, and expects that key to change and no other.
func TestEnvironment(t *testing.T) {
	values := map[string]string{
		"BLOBD_SOCKET": "/tmp/x.sock", "BLOBD_CACHE_DIR": "/tmp/x", "BLOBD_MAX_SIZE": "1GiB", "BLOBD_MIN_FREE": "7.5%",
		"BLOBD_HTTP_ADDR": "off", "BLOBD_STATUS_PAGE": "off", "BLOBD_PPROF_ADDR": "localhost:6060", "BLOBD_LOG_LEVEL": "warn", "BLOBD_LOG_FORMAT": "text",
		"BLOBD_TRACING_ENDPOINT": "http://c.example", "BLOBD_TRACING_PROTOCOL": "http", "BLOBD_TRACING_SAMPLE": "0", "BLOBD_TRACING_HEADERS_FILE": "/tmp/h",
		"BLOBD_TRACING_PROPAGATE_TO": "[a]",
		"BLOBD_DURABILITY":           "full", "BLOBD_VERIFY": "always",
		"BLOBD_CACHES_REF_ENABLED": "false", "BLOBD_CACHES_REF_DIR": "/tmp/r", "BLOBD_CACHES_REF_SIZE": "1MiB",
		"BLOBD_CACHES_MANIFEST_ENABLED": "false", "BLOBD_CACHES_MANIFEST_DIR": "/tmp/m", "BLOBD_CACHES_MANIFEST_SIZE": "1MiB",
		"BLOBD_CACHES_INDEX_ENABLED": "false", "BLOBD_CACHES_INDEX_DIR": "/tmp/i", "BLOBD_CACHES_INDEX_SIZE": "1MiB",
		"BLOBD_CACHES_CONTENT_ENABLED": "false", "BLOBD_CACHES_CONTENT_DIR": "/tmp/c", "BLOBD_CACHES_CONTENT_SIZE": "1MiB",
		"BLOBD_CACHES_BLOCK_ENABLED": "false", "BLOBD_CACHES_BLOCK_DIR": "/tmp/b", "BLOBD_CACHES_BLOCK_SIZE": "1MiB",
		"BLOBD_CACHES_MEMORY_SIZE": "0", "BLOBD_TTL_DEFAULT": "always", "BLOBD_TTL_RULES": `[{match: "a/*", ttl: 0}]`,
		"BLOBD_REQUIRE_VERIFIED": "[a/b]", "BLOBD_MAX_STALE": "0", "BLOBD_GRANT": "1h", "BLOBD_NEGATIVE_TTL": "0",
		"BLOBD_MAX_INDEX_SIZE": "1MB", "BLOBD_IDLE_TIMEOUT": "1s", "BLOBD_DRAIN_TIMEOUT": "1s",
		"BLOBD_MAX_CONNECTIONS_PER_USER": "5", "BLOBD_MAX_CALLS_PER_USER": "6",
		"BLOBD_URLS_ALLOW_HTTP": "[localhost]", "BLOBD_URLS_ALLOW_PRIVATE": "[a]", "BLOBD_URLS_MAX_SIZE": "1MB",
		"BLOBD_ADMIN_USERS": "[1000]", "BLOBD_CREDENTIALS_FILE": "/tmp/f", "BLOBD_CREDENTIALS_SPIN": "false", "BLOBD_CREDENTIALS_DOCKER": "false",
		"BLOBD_CREDENTIALS_LOGIN_FILE": "/tmp/l", "BLOBD_CREDENTIALS_DOCKER_CONFIG": "/tmp/g", "BLOBD_REGISTRIES": "{ghcr.io: {credential: x}}",
	}
	env := home(t)
	before, _, err := config.Load(config.Sources{Environ: env})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range config.Keys() {
		t.Run(key.Env, func(t *testing.T) {
			value, ok := values[key.Env]
			if !ok {
				t.Fatalf("this test knows no value for %s", key.Env)
			}
			after, warnings, err := config.Load(config.Sources{Environ: append(slices.Clone(env), key.Env+"="+value)})
			if err != nil || warnings != nil {
				t.Fatal(err, warnings)
			}
			applied, restart := config.Changes(before, after)
			if got := append(applied, restart...); !slices.Equal(got, []string{key.Path}) {
				t.Errorf("%s=%s changes %v", key.Env, value, got)
			}
			if (len(applied) == 1) != key.Reload {
				t.Errorf("Keys says reload %v, Changes says otherwise", key.Reload)
			}
		})
		delete(values, key.Env)
	}
	if len(values) > 0 {
		t.Errorf("no such keys: %v", slices.Collect(maps.Keys(values)))
	}
}

func TestPrecedence(t *testing.T) {
	file := write(t, "log: {level: debug, format: text}\nmax_size: 1GiB\ncache_dir: /from/file\n")
	tests := []struct {
		name                       string
		file                       string
		env                        []string
		flags                      map[string]string
		level, format, dir, socket string
	}{
		{"file over default", file, []string{"CACHE_DIRECTORY=/from/systemd"}, nil, "debug", "text", "/from/file", ""},
		{"environment over file", file, []string{"BLOBD_LOG_LEVEL=warn", "BLOBD_CACHE_DIR=/from/env"}, nil,
			"warn", "text", "/from/env", ""},
		{"flag over all", file, []string{"BLOBD_LOG_LEVEL=warn", "BLOBD_CACHE_DIR=/from/env"},
			map[string]string{"log.level": "error", "cache_dir": "/from/flag", "socket": "/s"}, "error", "text", "/from/flag", "/s"},
		{"an empty variable is unset", file, []string{"BLOBD_LOG_LEVEL="}, nil, "debug", "text", "/from/file", ""},
		{"the last of two equal variables", file, []string{"BLOBD_LOG_LEVEL=warn", "BLOBD_LOG_LEVEL=error"}, nil,
			"error", "text", "/from/file", ""},
		{"systemd's first folder", "", []string{"CACHE_DIRECTORY=/from/systemd" + string(os.PathListSeparator) + "/second"}, nil,
			"info", "json", "/from/systemd", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := config.Load(config.Sources{File: tt.file, Environ: append(home(t), tt.env...), Flags: tt.flags})
			if err != nil {
				t.Fatal(err)
			}
			got := []string{c.Log.Level, c.Log.Format, c.CacheDir, c.Socket}
			if want := []string{tt.level, tt.format, tt.dir, tt.socket}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestDefaultFile(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root's default file is the host's")
	}
	dir := t.TempDir()
	for _, base := range []string{dir, filepath.Join(dir, "Library", "Application Support")} {
		if err := os.MkdirAll(filepath.Join(base, "blobd"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(base, "blobd", "config.yaml"), []byte("max_size: 2GiB\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "AppData=" + dir, "LocalAppData=" + dir}
	c, _, err := config.Load(config.Sources{Environ: env})
	if err != nil || c.MaxSize != 2<<30 {
		t.Errorf("max_size %v, %v", c.MaxSize, err)
	}
}

// TestMistakes: each is one line that names where it stands, the key, the value, and what to write.
func TestMistakes(t *testing.T) {
	tests := []struct {
		name, text string
		wants      []string
	}{
		{"unknown key", "socket: /s\nmax_sise: 1GiB\n", []string{":2:", `unknown key "max_sise"`, `did you mean "max_size"?`}},
		{"unknown nested key", "log:\n  level: info\n  colour: red\n", []string{":3:", `"log.colour"`, "known here: format, level"}},
		{"unknown key of a registry", "registries:\n  ghcr.io:\n    insecure: true\n", []string{":3:", `"registries.ghcr.io.insecure"`}},
		{"unknown key in a list", "ttl:\n  rules:\n  - match: a\n    tll: 5s\n", []string{":4:", `"ttl.rules[0].tll"`, `"ttl"`}},
		{"unknown key behind an alias", "log: &x\n  a: b\n", []string{":2:", `"log.a"`}},
		{"bad size", "\n\nmax_size: 10Gi\n", []string{":3:", "max_size", `"10Gi" is not a size`, "10GiB"}},
		{"tiny size", "max_size: 10\n", []string{":1:", "max_size", "10B is too small", "at least 1MiB"}},
		{"negative size", "max_size: -1GiB\n", []string{"max_size", `"-1GiB"`}},
		{"size 0 of a cache", "caches: {ref: {size: 0}}\n", []string{"caches.ref.size", "enabled: false"}},
		{"percentage of everything", "min_free: 100%\n", []string{"min_free", `"100%"`}},
		{"percentage as a size", "max_size: 5%\n", []string{"max_size", `"5%"`}},
		{"bad duration", "grant: 3 hours\n", []string{":1:", "grant", `"3 hours" is not a duration`, "24h"}},
		{"negative duration", "grant: -1s\n", []string{"grant"}},
		{"bad ttl", "ttl: {default: never}\n", []string{"ttl.default", `"never"`, "always"}},
		{"always where it makes no sense", "grant: always\n", []string{"grant"}},
		{"bad bool", "credentials: {spin: yes}\n", []string{"credentials.spin", `"yes"`, "true or false"}},
		{"bad number", "registries: {a: {max_connections: many}}\n", []string{"registries.a.max_connections", `"many"`}},
		{"negative number", "registries: {a: {max_connections: -1}}\n", []string{"registries.a.max_connections", "-1"}},
		{"bad choice", "durability: some\n", []string{":1:", "durability", `"some"`, "metadata, full"}},
		{"bad verify", "verify: never\n", []string{"verify", "open, always"}},
		{"bad reader of the page", "status_page: yes\n", []string{"status_page", `"yes"`, "local, on, off"}},
		{"bad level", "log: {level: trace}\n", []string{"log.level", `"trace"`, "debug, info, warn, error"}},
		{"bad format", "log: {format: xml}\n", []string{"log.format", "json, text"}},
		{"bad address", "http_addr: localhost\n", []string{"http_addr", `"localhost"`, "127.0.0.1:9465", "off"}},
		{"bad port", "http_addr: localhost:99999\n", []string{"http_addr"}},
		{"profiles for all", "pprof_addr: :6060\n", []string{":1:", "pprof_addr", "this host alone", "127.0.0.1:6060"}},
		{"profiles for the network", "pprof_addr: 192.0.2.1:6060\n", []string{"pprof_addr", "this host alone"}},
		{"profiles by name", "pprof_addr: localhost.example:6060\n", []string{"pprof_addr", "this host alone"}},
		{"profiles without port", "pprof_addr: 127.0.0.1\n", []string{"pprof_addr", "a host and a port"}},
		{"collector without scheme", "tracing: {endpoint: 'localhost:4317'}\n", []string{":1:", "tracing.endpoint", "http://127.0.0.1:4317"}},
		{"collector with login", "tracing: {endpoint: 'http://user:canary@c.example'}\n", []string{"tracing.endpoint", "tracing.headers_file"}},
		{"collector's protocol", "tracing: {protocol: udp}\n", []string{"tracing.protocol", `"udp"`, "grpc, http"}},
		{"more than all traces", "tracing: {sample: 1.5}\n", []string{"tracing.sample", `"1.5" is not a share`}},
		{"no share", "tracing: {sample: half}\n", []string{"tracing.sample", `"half"`}},
		{"URL to tell of traces", "tracing: {propagate_to: ['http://a']}\n", []string{"tracing.propagate_to[0]"}},
		{"no idle time", "idle_timeout: 0\n", []string{"idle_timeout"}},
		{"no drain time", "drain_timeout: 0\n", []string{"drain_timeout"}},
		{"no connections", "max_connections_per_user: 0\n", []string{"max_connections_per_user", "nobody"}},
		{"negative calls", "max_calls_per_user: -1\n", []string{"max_calls_per_user", "-1"}},
		{"bad pattern", "ttl: {rules: [{match: 'a[', ttl: 0}]}\n", []string{":1:", "ttl.rules[0].match", `"a["`}},
		{"rule without pattern", "ttl: {rules: [{ttl: 0}]}\n", []string{":1:", "ttl.rules[0].match"}},
		{"bad host of URLs", "urls: {allow_http: [a, 'http://b']}\n", []string{":1:", "urls.allow_http[1]", `"http://b"`, "without scheme"}},
		{"bad private host of URLs", "urls: {allow_private: [a/b]}\n", []string{"urls.allow_private[0]", `"a/b"`}},
		{"URLs of no size", "urls: {max_size: 0}\n", []string{"urls.max_size"}},
		{"bad policy pattern", "require_verified: ['a[']\n", []string{"require_verified[0]"}},
		{"registry with scheme", "registries: {'https://ghcr.io': {}}\n", []string{":1:", `"https://ghcr.io"`, "without scheme"}},
		{"registry with path", "registries: {ghcr.io/acme: {}}\n", []string{`"ghcr.io/acme"`}},
		{"mirror with scheme", "registries: {a: {mirrors: [b, 'http://c']}}\n", []string{"registries.a.mirrors[1]", `"http://c"`}},
		{"shared folder", "caches: {ref: {dir: /x}, block: {dir: /x/}}\n", []string{"caches.block.dir", "caches.ref.dir"}},
		{"cache folder twice", "cache_dir: /x\ncaches: {ref: {dir: /x}}\n", []string{":2:", "caches.ref.dir", "cache_dir"}},
		{"empty user", "admin_users: ['']\n", []string{"admin_users[0]"}},
		{"key twice", "verify: open\nsocket: /s\nverify: open\n", []string{":3:", "verify", "line 1"}},
		{"registry twice", "registries: {a: {}, a: {}}\n", []string{"registries.a", "line 1"}},
		{"a word for a section", "log: debug\n", []string{":1:", "log", "not a mapping"}},
		{"a word for a list", "admin_users: alice\n", []string{"admin_users", "not a list"}},
		{"a list for a word", "socket: [a]\n", []string{"socket", "one value"}},
		{"a list at the top", "- a\n", []string{":1:", "not a mapping"}},
		{"a mapping as a key", "? {a: b}\n: c\n", []string{":1:", "plain word"}},
		{"two documents", "verify: open\n---\nverify: open\n", []string{"second YAML document"}},
		{"no YAML", "log: {level: info\n", []string{":1: did not find", "mend the YAML"}},
		{"no YAML in the first line", "\tmax_size: 1\n", []string{":1: found character"}},
		{"no YAML in a later line", "verify: open\nmax_size: a: b\n", []string{":2: mapping values"}},
		{"unknown anchor", "verify: open\nmax_size: *x\n", []string{": unknown anchor 'x'"}},
		{"itself", "registries: &r {a: *r}\n", []string{"registries.a.a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, tt.text)
			_, _, err := config.Load(config.Sources{File: file, Environ: home(t)})
			checkMistake(t, err, append(tt.wants, "config: "+file)...)
		})
	}
}

func TestMistakesOutsideTheFile(t *testing.T) {
	tests := []struct {
		name    string
		sources config.Sources
		wants   []string
	}{
		{"variable", config.Sources{Environ: []string{"BLOBD_MAX_SIZE=lots"}}, []string{"$BLOBD_MAX_SIZE", "max_size", `"lots"`}},
		{"variable that is well-formed", config.Sources{Environ: []string{"BLOBD_LOG_LEVEL=loud"}}, []string{"$BLOBD_LOG_LEVEL", `"loud"`}},
		{"variable of YAML", config.Sources{Environ: []string{"BLOBD_REGISTRIES={a: {b: c}}"}}, []string{"$BLOBD_REGISTRIES", `"registries.a.b"`}},
		{"variable of bad YAML", config.Sources{Environ: []string{"BLOBD_ADMIN_USERS=[a"}}, []string{"$BLOBD_ADMIN_USERS", "admin_users"}},
		{"flag", config.Sources{Flags: map[string]string{"log.level": "loud"}}, []string{"--log-level", "log.level", `"loud"`}},
		{"flag with a bad value", config.Sources{Flags: map[string]string{"max_size": "?"}}, []string{"--max-size", `"?"`}},
		{"no such file", config.Sources{File: filepath.Join(t.TempDir(), "no")}, []string{"no", "--config"}},
		{"a folder for a file", config.Sources{File: t.TempDir()}, []string{"directory", "--config"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.sources.Environ = append(home(t), tt.sources.Environ...)
			_, _, err := config.Load(tt.sources)
			checkMistake(t, err, tt.wants...)
		})
	}
	t.Run("no home", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root needs no home")
		}
		_, _, err := config.Load(config.Sources{})
		checkMistake(t, err, "cache_dir", "--cache-dir")
	})
	t.Run("not a configuration at all", func(t *testing.T) {
		_, err := load(t, strings.Repeat("#\n", 1<<20))
		checkMistake(t, err, "more than a configuration")
	})
}

// A mistake that is found after loading names where the value stands, too.
func TestMistakeOfALoadedValue(t *testing.T) {
	file := write(t, "max_size: 1GiB\nadmin_users:\n- 0\n- no-such-user-here\nregistries:\n  r.example:\n    ca_file: /nope\n")
	s := config.Sources{File: file, Environ: append(home(t), "BLOBD_VERIFY=open"), Flags: map[string]string{"socket": "/s"}}
	for key, where := range map[string]string{
		"max_size": file + ":1", "registries.r.example.ca_file": file + ":7", "verify": "$BLOBD_VERIFY", "socket": "--socket", "grant": "default",
	} {
		err := s.Mistake(key, "it is wrong", "write another")
		checkMistake(t, err, "config: "+where+": "+key+": it is wrong; write another")
	}
	c, _, err := config.Load(s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.AdminUIDs(s)
	checkMistake(t, err, file+`:4: admin_users[1]: no user "no-such-user-here"`)
}

func checkMistake(t *testing.T, err error, wants ...string) {
	t.Helper()
	if fault.ReasonOf(err) != fault.InvalidArgument {
		t.Fatalf("got %v, want an InvalidArgument", err)
	}
	story := err.Error() + "; " + err.(*fault.Error).Remedy
	for _, want := range wants {
		if !strings.Contains(story, want) {
			t.Errorf("%q does not say %q", story, want)
		}
	}
	if strings.Contains(story, "\n") || strings.HasSuffix(story, "; ") {
		t.Errorf("%q is not one line with a remedy", story)
	}
}

func TestUnknownVariables(t *testing.T) {
	_, warnings, err := config.Load(config.Sources{Environ: append(home(t),
		"BLOBD_LOG_LEVLE=debug", "BLOBD_CACHES_REF=x", "BLOBD_LOG_LEVEL=debug", "OTHER=1",
		"BLOBD_PORT=tcp://10.0.0.1:80", "BLOBD_PORT_80_TCP=x", "BLOBD_SERVICE_HOST=10.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "BLOBD_CACHES_REF ") ||
		!strings.Contains(warnings[1], `did you mean "BLOBD_LOG_LEVEL"?`) {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestReload(t *testing.T) {
	before, err := load(t, "socket: /a\nmax_size: 1GiB\nregistries: {a: {}}\n")
	if err != nil {
		t.Fatal(err)
	}
	updated, err := load(t, "socket: /b\nmax_size: 2GiB\nlog: {level: debug, format: text}\ncache_dir: "+before.CacheDir+"\n")
	if err != nil {
		t.Fatal(err)
	}
	applied, restart := config.Changes(before, updated)
	if want := []string{"max_size", "log.level", "registries"}; !slices.Equal(applied, want) {
		t.Errorf("applied %v, want %v", applied, want)
	}
	if want := []string{"socket", "log.format"}; !slices.Equal(restart, want) {
		t.Errorf("need a restart: %v, want %v", restart, want)
	}
	now := config.Reload(before, updated)
	if applied, restart = config.Changes(now, updated); applied != nil || !slices.Equal(restart, []string{"socket", "log.format"}) {
		t.Errorf("after the reload %v and %v differ", applied, restart)
	}
}

func TestRules(t *testing.T) {
	c, err := load(t, `
ttl:
  default: 1m
  rules:
  - {match: "ghcr.io/acme/app:v*", ttl: 0}
  - {match: "ghcr.io/acme/*", ttl: always}
  - {match: "ghcr.io/acme/*", ttl: 5s}
require_verified: ["ghcr.io/acme/*:prod", "quay.io/a"]
`)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, tag string
		ttl       config.TTL
		verify    bool
	}{
		{"ghcr.io/acme/app", "v1", 0, false},
		{"ghcr.io/acme/app", "latest", config.Always, false},
		{"ghcr.io/acme/app", "", config.Always, false},
		{"ghcr.io/acme/app", "prod", config.Always, true},
		{"ghcr.io/acme/team/app", "prod", config.TTL(time.Minute), false},
		{"quay.io/a", "x", config.TTL(time.Minute), true},
	}
	for _, tt := range tests {
		if got := c.TTL.For(tt.name, tt.tag); got != tt.ttl {
			t.Errorf("TTL of %s:%s is %v, want %v", tt.name, tt.tag, got, tt.ttl)
		}
		if got := c.MustVerify(tt.name, tt.tag); got != tt.verify {
			t.Errorf("MustVerify of %s:%s is %v", tt.name, tt.tag, got)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("registries: &r {a: *r}"))
	f.Add([]byte("min_free: 0.0001%\nmax_size: 1.5GiB\ngrant: 1us\nttl: {default: 0}\n"))
	f.Add([]byte("socket: \"\\u2028\"\nadmin_users: [~, 01]\n"))
	dir := f.TempDir()
	file := filepath.Join(dir, "config.yaml")
	env := []string{"CACHE_DIRECTORY=" + dir}
	load := func(t *testing.T, data []byte) (config.Config, error) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := config.Load(config.Sources{File: file, Environ: env})
		return c, err
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := load(t, data)
		if err != nil {
			if fault.ReasonOf(err) != fault.InvalidArgument {
				t.Fatalf("%v has no reason", err)
			}
			return
		}
		out, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := load(t, out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if applied, restart := config.Changes(c, again); applied != nil || restart != nil {
			t.Fatalf("%v %v differ:\n%s", applied, restart, out)
		}
	})
}
