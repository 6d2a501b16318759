package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// minSize is the least max_size: below it the four small caches and one block of each of a few blobs don't fit.
const minSize = 1 << 20

// validate checks what one value's text can't tell. where says where a key's value was set.
func (c Config) validate(where func(key string) string) error {
	v := validator{where: where}
	v.that(c.CacheDir != "", "cache_dir", "this user has no cache folder", "name one with --cache-dir, or set $HOME")
	v.atLeast("max_size", c.MaxSize, minSize)
	v.atLeast("max_index_size", c.MaxIndexSize, 1)
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "json", "text")
	v.oneOf("durability", c.Durability, DurabilityMetadata, DurabilityFull)
	v.oneOf("verify", c.Verify, VerifyOpen, VerifyAlways)
	v.oneOf("status_page", c.StatusPage, StatusPageLocal, StatusPageOn, StatusPageOff)
	v.positive("idle_timeout", c.IdleTimeout)
	v.positive("drain_timeout", c.DrainTimeout)
	v.someOf("max_connections_per_user", c.MaxConnectionsPerUser)
	v.someOf("max_calls_per_user", c.MaxCallsPerUser)
	if !c.HTTPOff() {
		v.address("http_addr", c.HTTPAddr, `write it as 127.0.0.1:9465 or :9465, or "off"`)
	}
	if c.PprofAddr != "" {
		v.loopback("pprof_addr", c.PprofAddr)
	}
	v.tracing(c.Tracing)
	v.folders(c)
	for i, rule := range c.TTL.Rules {
		v.pattern(fmt.Sprintf("ttl.rules[%d].match", i), rule.Match)
	}
	for i, pattern := range c.RequireVerified {
		v.pattern(fmt.Sprintf("require_verified[%d]", i), pattern)
	}
	for i, user := range c.AdminUsers {
		v.that(user != "", fmt.Sprintf("admin_users[%d]", i), "it is empty", "write a name or a uid")
	}
	v.atLeast("urls.max_size", c.URLs.MaxSize, 1)
	v.hosts("urls.allow_http", c.URLs.AllowHTTP)
	v.hosts("urls.allow_private", c.URLs.AllowPrivate)
	for _, host := range slices.Sorted(maps.Keys(c.Registries)) {
		v.registry("registries."+host, host, c.Registries[host])
	}
	return v.err
}

// validator keeps the first thing that is wrong.
type validator struct {
	where func(key string) string
	err   error
}

func (v *validator) that(ok bool, key, why, remedy string) {
	if !ok && v.err == nil {
		v.err = failure(v.where(key), key, why, remedy)
	}
}

func (v *validator) atLeast(key string, size, least Size) {
	v.that(size >= least, key, fmt.Sprintf("%s is too small", size), fmt.Sprintf("write at least %s", least))
}

func (v *validator) oneOf(key, value string, choices ...string) {
	v.that(slices.Contains(choices, value), key, strconv.Quote(value)+" is not a choice",
		"write one of "+strings.Join(choices, ", "))
}

func (v *validator) positive(key string, d Duration) {
	v.that(d > 0, key, "0 would end everything at once", "write a duration such as 25s")
}

func (v *validator) someOf(key string, n int) {
	v.that(n > 0, key, strconv.Itoa(n)+" would let nobody in", "write a number above 0, such as 1000")
}

func (v *validator) address(key, value, remedy string) {
	_, port, err := net.SplitHostPort(value)
	n, portErr := strconv.ParseUint(port, 10, 16)
	v.that(err == nil && portErr == nil && n <= 65535, key, strconv.Quote(value)+" is not a host and a port", remedy)
}

// loopback refuses what others than this host can reach: profiles tell what the daemon does, and making them costs it time.
func (v *validator) loopback(key, value string) {
	const remedy = "write it as 127.0.0.1:6060 or [::1]:6060"
	v.address(key, value, remedy)
	host, _, _ := net.SplitHostPort(value)
	ip, err := netip.ParseAddr(host)
	v.that(host == "localhost" || err == nil && ip.IsLoopback(), key, strconv.Quote(value)+" is not an address of this host alone", remedy)
}

func (v *validator) tracing(t Tracing) {
	v.hosts("tracing.propagate_to", t.PropagateTo)
	v.oneOf("tracing.protocol", t.Protocol, TracingGRPC, TracingHTTP)
	if t.Endpoint == "" {
		return
	}
	u, err := url.Parse(t.Endpoint)
	v.that(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "", "tracing.endpoint",
		"it is not the URL of a collector", "write it as http://127.0.0.1:4317")
	v.that(err != nil || u.User == nil && u.RawQuery == "", "tracing.endpoint", "it holds a login or a query", "name what the collector wants in tracing.headers_file")
}

// folders must be apart: two caches in one folder would each take the other's files for foreign.
func (v *validator) folders(c Config) {
	taken := map[string]string{filepath.Clean(c.CacheDir): "cache_dir"}
	for name, cache := range c.Caches.OnDisk() {
		if cache.Dir == "" {
			continue
		}
		key, dir := "caches."+name+".dir", filepath.Clean(cache.Dir)
		other, twice := taken[dir]
		v.that(!twice, key, fmt.Sprintf("%q is the folder of %s too", cache.Dir, other), "give each a folder of its own")
		taken[dir] = key
	}
}

func (v *validator) pattern(key, pattern string) {
	_, err := path.Match(pattern, "registry.example/repository")
	v.that(pattern != "" && err == nil, key, strconv.Quote(pattern)+" is not a pattern",
		`write it as "registry.example/team/*"; a "*" stays between two slashes`)
}

func (v *validator) hosts(key string, list []string) {
	for i, host := range list {
		v.that(isHost(host), fmt.Sprintf("%s[%d]", key, i), strconv.Quote(host)+" is not a host",
			"write a host, or host:port, without scheme and path")
	}
}

func (v *validator) registry(key, host string, r Registry) {
	const remedy = "write a host, or host:port, without scheme and path"
	v.that(isHost(host), key, strconv.Quote(host)+" is not a registry", remedy)
	for i, mirror := range r.Mirrors {
		v.that(isHost(mirror), fmt.Sprintf("%s.mirrors[%d]", key, i), strconv.Quote(mirror)+" is not a registry", remedy)
	}
	v.that(r.MaxConnections >= 0, key+".max_connections", fmt.Sprintf("%d is negative", r.MaxConnections),
		"write a number, or 0 for the default")
}

// isHost reports whether s is what stands before the first slash of a reference.
func isHost(s string) bool {
	u, err := url.Parse("//" + s)
	return err == nil && u.Host == s && u.Hostname() != "" && !strings.ContainsAny(s, " \t") && !strings.HasSuffix(s, ":")
}
