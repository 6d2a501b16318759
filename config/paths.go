package config

import (
	"os"
	"path/filepath"

	"github.com/blobd/blobd/internal/fault"
)

// makeAbsolute has every path mean the same wherever it is printed and used.
func (c *Config) makeAbsolute() (err error) {
	absolute := func(path string) string {
		if path == "" {
			return ""
		}
		abs, failed := filepath.Abs(path)
		if failed != nil && err == nil {
			err = fault.Wrap(fault.InvalidArgument, failed, "config: %s", path).Try("write an absolute path")
		}
		return abs
	}
	caches := &c.Caches
	for _, path := range []*string{
		&c.Socket, &c.CacheDir, &caches.Ref.Dir, &caches.Manifest.Dir, &caches.Index.Dir, &caches.Content.Dir, &caches.Block.Dir,
		&c.Credentials.File, &c.Credentials.LoginFile, &c.Credentials.DockerConfig,
		&c.Tracing.HeadersFile,
	} {
		*path = absolute(*path)
	}
	for host, r := range c.Registries {
		r.CAFile = absolute(r.CAFile)
		c.Registries[host] = r
	}
	return err
}

// configFile is where a configuration is looked for when none is named: in systemd's folder (the first, where it has
// several), else in the host's for root and in the user's own for others; "" where the user has no such place.
func (e environ) configFile(goos string, root bool) string {
	if dirs := filepath.SplitList(e.get("CONFIGURATION_DIRECTORY")); len(dirs) > 0 {
		return filepath.Join(dirs[0], "config.yaml")
	}
	if root {
		return "/etc/blobd/config.yaml"
	}
	if base := e.userDir(goos, "XDG_CONFIG_HOME", "AppData", "Library/Application Support", ".config"); base != "" {
		return filepath.Join(base, "blobd", "config.yaml")
	}
	return ""
}

// cacheDir is the cache folder when no key names one: systemd's (the first, where it made several), else the host's for
// root and the user's own for others; "" where the user has none.
func (e environ) cacheDir(goos string, root bool) string {
	if dirs := filepath.SplitList(e.get("CACHE_DIRECTORY")); len(dirs) > 0 {
		return dirs[0]
	}
	if root {
		return "/var/cache/blobd"
	}
	if base := e.userDir(goos, "XDG_CACHE_HOME", "LocalAppData", "Library/Caches", ".cache"); base != "" {
		return filepath.Join(base, "blobd")
	}
	return ""
}

// systemdLogins is the file of logins that systemd hands to a service with LoadCredential=; "" where it hands over none.
func (e environ) systemdLogins() string {
	dir := e.get("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return ""
	}
	file := filepath.Join(dir, "blobd.logins")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}

// userDir is what the platform calls the user's folder for something: a variable of its own, or a folder below the
// home; "" when the environment names neither.
func (e environ) userDir(goos, xdg, windows, darwin, other string) string {
	if goos == "windows" {
		return e.get(windows)
	}
	if base := e.get(xdg); base != "" {
		return base
	}
	home := e.get("HOME")
	switch {
	case home == "":
		return ""
	case goos == "darwin":
		return filepath.Join(home, darwin)
	default:
		return filepath.Join(home, other)
	}
}
