package main

import (
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/vfs"
	"github.com/blobd/blobd/pullthrough"
	"github.com/blobd/blobd/server"
)

// What follows translates the configuration for the rooms, which don't know it.

func cacheOptions(c config.Config) cache.Options {
	o := cache.Options{
		Dir: c.CacheDir, MaxSize: int64(c.MaxSize), MinFree: minFree(c), Caches: map[string]cache.Config{},
		MemorySize: memoryTier(int64(c.Caches.Memory.Size)), VerifyAlways: c.Verify == config.VerifyAlways,
		SyncAll: c.Durability == config.DurabilityFull, Now: time.Now,
	}
	for name, one := range c.Caches.OnDisk() {
		size := int64(one.Size)
		if size == 0 {
			size = o.MaxSize
		}
		o.Caches[name] = cache.Config{Dir: one.Dir, Size: size, Off: !one.Enabled}
	}
	return o
}

// minFree is in bytes; negative is the store's own rule, which is the default. Another share is one of the disk that
// holds the cache folder, which may not have been made yet; where the disk doesn't tell, the store's rule is the best
// there is.
func minFree(c config.Config) int64 {
	switch {
	case c.MinFree == config.Default().MinFree:
		return -1
	case c.MinFree.Percent == 0:
		return int64(c.MinFree.Bytes)
	}
	for dir := filepath.Clean(c.CacheDir); ; dir = filepath.Dir(dir) {
		if disk, err := vfs.OS().Disk(dir); err == nil {
			return int64(float64(disk.Size) * c.MinFree.Percent / 100)
		}
		if dir == filepath.Dir(dir) {
			return -1
		}
	}
}

// fetcherOptions fails when the logins' file, a registry's certificates or its login can't be used; s is what c was loaded
// from.
func fetcherOptions(c config.Config, s config.Sources) (fetcher.Options, error) {
	from := credentials.Options{
		File: c.Credentials.File, LoginFile: daemonsLogins(c), Docker: c.Credentials.Docker, DockerConfig: c.Credentials.DockerConfig,
		Now: time.Now,
	}
	if c.Credentials.Spin {
		from.SpinFile = credentials.DefaultSpinFile()
	}
	logins, err := credentials.New(from)
	if err != nil {
		return fetcher.Options{}, s.Mistake("credentials.file", err.Error(), "mend that file, or leave the key out")
	}
	o := fetcher.Options{
		Registries: make(map[string]fetcher.Registry, len(c.Registries)), Credentials: logins, Now: time.Now,
		URLs: fetcher.URLs{AllowHTTP: c.URLs.AllowHTTP, AllowPrivate: c.URLs.AllowPrivate, MaxSize: int64(c.URLs.MaxSize)},
	}
	for _, host := range slices.Sorted(maps.Keys(c.Registries)) {
		r, key := c.Registries[host], "registries."+host
		if err := readCertificates(r.CAFile); err != nil {
			return fetcher.Options{}, s.Mistake(key+".ca_file", err.Error(), "name a file of PEM certificates")
		}
		if r.Credential != "" && c.Credentials.File == "" {
			return fetcher.Options{}, s.Mistake(key+".credential", fmt.Sprintf("no credentials.file is set to hold the login %q", r.Credential),
				"set credentials.file, or leave the key out to use Docker's and Spin's logins")
		}
		o.Registries[host] = fetcher.Registry{
			PlainHTTP: r.PlainHTTP, CAFile: r.CAFile, Credential: r.Credential, Mirrors: r.Mirrors,
			TokenRealms: r.TokenRealms, MaxConnections: r.MaxConnections,
		}
	}
	return o, nil
}

// readCertificates does what the fetcher will, where it can still be said which key named the file.
func readCertificates(file string) error {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s holds no PEM certificate", file)
	}
	return err
}

// registryNames are the hosts that metrics tell apart: registries and their mirrors.
func registryNames(c config.Config) []string {
	names := slices.Collect(maps.Keys(c.Registries))
	for _, r := range c.Registries {
		names = append(names, r.Mirrors...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func policyOf(c config.Config) pullthrough.Policy {
	return pullthrough.Policy{
		TTL: func(ref oci.Reference) pullthrough.TTL {
			ttl := c.TTL.For(ref.Name(), ref.Tag)
			return pullthrough.TTL{For: time.Duration(ttl), Never: ttl == 0, Asks: ttl == config.Always}
		},
		RequireVerified: func(ref oci.Reference) bool { return c.MustVerify(ref.Name(), ref.Tag) },
		MaxStale:        time.Duration(c.MaxStale),
		Grant:           time.Duration(c.Grant),
		NegativeTTL:     time.Duration(c.NegativeTTL),
		MaxIndex:        int64(c.MaxIndexSize),
		MaxPinned:       maxPinned(int64(c.MaxSize)),
	}
}

// maxPinned leaves a tenth of the budget to what is not pinned: eviction goes down to 90 %, and with more than that
// pinned it could never get there.
func maxPinned(maxSize int64) int64 { return maxSize / 10 * 9 }

// serverLimits leaves a quarter of the files that the process may open to what connections ask for: files of the cache,
// and connections to registries.
func serverLimits(c config.Config) server.Limits {
	return server.Limits{
		ConnectionsPerUser: c.MaxConnectionsPerUser, CallsPerUser: c.MaxCallsPerUser, Connections: openFiles() / 4 * 3,
	}
}

// configText is the configuration as `blobd status` and `blobd config show` print it.
func configText(c config.Config) string {
	text, err := c.YAML()
	if err != nil {
		return fmt.Sprintf("# %v\n", err)
	}
	return string(text)
}
