package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/publish"
)

// registryFlags are the flags of the commands that speak to registries themselves, with the caller's logins and not the
// daemon's.
type registryFlags struct {
	plainHTTP bool
	caFile    string
	moves     bool // blobs, by so many at once:
	parallel  int
}

func addRegistryFlags(cmd *cobra.Command) *registryFlags {
	f := new(registryFlags)
	cmd.Flags().BoolVar(&f.plainHTTP, "plain-http", false, "speak HTTP without TLS (default on loopback)")
	cmd.Flags().StringVar(&f.caFile, "ca-file", "", "PEM certificates to trust besides the system's")
	return f
}

// transfers adds the flags of commands that move blobs.
func (f *registryFlags) transfers(cmd *cobra.Command) {
	f.moves = true
	cmd.Flags().IntVar(&f.parallel, "parallel", 4, "how many blobs are under way at once")
}

// client returns the way to these registries. How they are reached is what the configuration says, where the flags don't.
func (f *registryFlags) client(progress func(done, total int64), registries ...string) (*publish.Client, error) {
	c, err := callersConfig()
	if err != nil {
		return nil, err
	}
	from := credentials.Options{LoginFile: callersLogins(c), Docker: c.Credentials.Docker, DockerConfig: c.Credentials.DockerConfig}
	if c.Credentials.Spin {
		from.SpinFile = credentials.DefaultSpinFile()
	}
	logins, err := credentials.New(from)
	if err != nil {
		return nil, err
	}
	if f.moves && f.parallel < 1 {
		return nil, fault.New(fault.InvalidArgument, "--parallel %d: it takes at least one", f.parallel)
	}
	o := publish.Options{
		Credentials: logins, UserAgent: "blobd/" + buildInfo().Version, Parallel: f.parallel,
		Progress: progress,
	}
	o.Registries = publishRegistries(c)
	for _, host := range registries {
		r := o.Registries[host]
		if f.plainHTTP {
			r.PlainHTTP = new(true)
		}
		if f.caFile != "" {
			r.CAFile = f.caFile
		}
		o.Registries[host] = r
	}
	return publish.New(o)
}

// publishRegistries is how registries are reached.
func publishRegistries(c config.Config) map[string]publish.Registry {
	out := make(map[string]publish.Registry, len(c.Registries))
	for host, r := range c.Registries {
		out[host] = publish.Registry{PlainHTTP: r.PlainHTTP, CAFile: r.CAFile, TokenRealms: r.TokenRealms}
	}
	return out
}

// callersConfig is the configuration that a daemon of this user would have. What systemd and OpenTelemetry tell whatever
// program runs here is not meant for it.
func callersConfig() (config.Config, error) {
	foreign := func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "OTEL_") || name == "CONFIGURATION_DIRECTORY" || name == "CREDENTIALS_DIRECTORY"
	}
	c, _, err := config.Load(config.Sources{
		Environ: slices.DeleteFunc(os.Environ(), foreign),
		Flags:   map[string]string{"cache_dir": os.TempDir()}, // no cache is needed here, and not every user has a folder for one
	})
	return c, err
}

// callersLogins is the file of this user's logins. What root's configuration names is the host's daemon's.
func callersLogins(c config.Config) string {
	if c.Credentials.LoginFile != "" && os.Geteuid() != 0 {
		return c.Credentials.LoginFile
	}
	return credentials.UserFile()
}

// parseTarget reads a reference that is written to. bare is true where it has neither tag nor digest, and stands for latest.
func parseTarget(s string) (ref oci.Reference, bare bool, err error) {
	if ref, err = oci.ParseReference(s); err != nil {
		return ref, false, err
	}
	named, err := reference.ParseNormalizedNamed(s)
	return ref, err == nil && reference.IsNameOnly(named), err
}

// checkTags refuses what no tag can be.
func checkTags(ref oci.Reference, tags []string) error {
	for _, tag := range tags {
		if got, err := oci.ParseReference(ref.Name() + ":" + tag); err != nil || got.Tag != tag || got.Digest != "" {
			return fault.New(fault.InvalidReference, "%q is no tag", tag).
				Try("write letters, digits, dots, dashes and underscores; `blobd copy` takes whole references")
		}
	}
	return nil
}

// pushed is what a push, a copy or a tag did.
type pushed struct {
	Reference string   `json:"reference"`
	Digest    string   `json:"digest"`
	Tags      []string `json:"tags,omitempty"` // besides the reference's
}

func (p pushed) String() string { return fmt.Sprintf("Pushed with digest %s", p.Digest) }
