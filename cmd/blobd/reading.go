package main

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/config"
)

// readFlags are the flags of all commands that read.
type readFlags struct {
	noCache         bool
	maxAge          age
	requireFresh    bool
	requireVerified bool
}

func addReadFlags(cmd *cobra.Command) *readFlags {
	r := new(readFlags)
	r.freshness(cmd.Flags())
	cmd.Flags().BoolVar(&r.requireVerified, "require-verified", false,
		"check a file's digest before its first byte is passed on")
	return r
}

// freshness adds the flags of commands that read no file.
func (r *readFlags) freshness(flags *pflag.FlagSet) {
	flags.BoolVar(&r.noCache, "no-cache", false, "fetch everything anew, and cache what comes")
	flags.Var(&r.maxAge, "max-age", "the oldest a tag's last check may be, as in 15m; 0 asks the registry now")
	flags.BoolVar(&r.requireFresh, "require-fresh", false, "fail rather than use a stale tag while the registry can't be had")
}

func (r *readFlags) options() []client.ReadOption {
	var opts []client.ReadOption
	if r.noCache {
		opts = append(opts, client.NoCache())
	}
	if r.maxAge.set {
		opts = append(opts, client.MaxAge(r.maxAge.value))
	}
	if r.requireFresh {
		opts = append(opts, client.RequireFresh())
	}
	if r.requireVerified {
		opts = append(opts, client.RequireVerified())
	}
	return opts
}

// open dials the daemon and pulls an archive. Closing the client is the caller's, unless it fails.
func (a *app) open(ctx context.Context, ref string, flags *readFlags) (*client.Client, *client.Archive, error) {
	c, err := a.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	archive, err := c.Pull(ctx, ref, flags.options()...)
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return c, archive, nil
}

// age is a duration of zero or more that knows whether it was given. It is a pflag.Value.
type age struct {
	value time.Duration
	set   bool
}

func (a *age) String() string {
	if !a.set {
		return ""
	}
	return a.value.String()
}

func (a *age) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration such as 90s, 15m or 0", s)
	}
	a.value, a.set = d, true
	return nil
}

func (*age) Type() string { return "duration" }

// size is a number of bytes that knows whether it was given. It is a pflag.Value.
type size struct {
	value int64
	set   bool
}

func (s *size) String() string {
	if !s.set {
		return ""
	}
	return config.Size(s.value).String()
}

func (s *size) Set(text string) error {
	n, err := config.ParseSize(text)
	if err != nil {
		return fmt.Errorf("%q is not a size; write 0 or more bytes, as 4096, 512KiB or 10GiB, and less than 8 EiB", text)
	}
	s.value, s.set = int64(n), true
	return nil
}

func (*size) Type() string { return "size" }

// inside makes an argument a path inside an archive: "/" and "" are its root, a slash at either end is taken off.
func inside(arg string) (string, error) {
	path := strings.TrimSuffix(strings.TrimPrefix(arg, "/"), "/")
	if path == "" {
		path = "."
	}
	if !fs.ValidPath(path) {
		return "", &usageError{
			why:  fmt.Sprintf("%q is no path inside an archive", arg),
			hint: "write it from the archive's root, without . and .. and doubled slashes",
		}
	}
	return path, nil
}

// noteStale says when the answer is an old one.
func (a *app) noteStale(r client.Resolution) {
	if r.Stale {
		a.note("the registry can't be had; this is what the tag was %s ago: %s", short(r.Age), r.Digest)
	}
}

// where lists where the steps of an answer were answered from.
func where(steps []client.Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, s.Step+" from "+s.Source)
	}
	return strings.Join(out, ", ")
}

// jsonStep is one step of an answer, for programs.
type jsonStep struct {
	Step   string `json:"step"`
	Source string `json:"source"`
}

func jsonSteps(steps []client.Step) []jsonStep {
	out := make([]jsonStep, 0, len(steps))
	for _, s := range steps {
		out = append(out, jsonStep(s))
	}
	return out
}
