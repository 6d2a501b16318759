package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
)

func newFetchCommand(a *app) *cobra.Command {
	var digest string
	var force, noCache, requireVerified bool
	cmd := &cobra.Command{
		Use:   "fetch URL [DEST] --digest sha256:HEX",
		Short: "Fetch a file by its address and digest",
		Long: `Fetch writes the file at an address to stdout, or to DEST. Its bytes are checked against the digest that you name, and
kept by it: once the cache has that file nobody is asked again, whatever the address.

A file becomes DEST, or goes into DEST where that is a folder or ends in a slash; it appears whole and checked, and nothing
is overwritten without --force. To stdout bytes are written as they arrive; when they turn out wrong, the exit code
tells (--require-verified checks first).

Addresses are https, on the public internet. Others are for the daemon's configuration to allow (urls). No login is ever sent.`,
		Example: `  blobd fetch https://example.com/app.wasm --digest sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae >app.wasm
  blobd fetch https://example.com/app.wasm ./lib/ --digest "$DIGEST"`,
		Args: takes(1, 2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "the file's digest, sha256:HEX (required)")
	cmd.Flags().BoolVar(&force, "force", false, "overwrite a file that exists")
	cmd.Flags().BoolVar(&noCache, "no-cache", false, "fetch it anew, and cache what comes")
	cmd.Flags().BoolVar(&requireVerified, "require-verified", false, "check the digest before the first byte is passed on")
	if err := cmd.RegisterFlagCompletionFunc("digest", cobra.FixedCompletions([]cobra.Completion{"sha256:"}, cobra.ShellCompDirectiveNoSpace)); err != nil {
		panic(err) // there is no such flag
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if digest == "" {
			return &usageError{why: "fetch: the file's digest is missing", hint: "name it with --digest sha256:…; nothing is fetched unchecked"}
		}
		var opts []client.ReadOption
		if noCache {
			opts = append(opts, client.NoCache())
		}
		if requireVerified {
			opts = append(opts, client.RequireVerified())
		}
		dest := "-"
		if len(args) > 1 {
			dest = args[1]
		}
		return a.fetch(cmd.Context(), args[0], digest, dest, force, opts)
	}
	return cmd
}

// fetchReport is what a fetch did.
type fetchReport struct {
	Digest      string     `json:"digest"`
	Size        int64      `json:"size"`
	Destination string     `json:"destination"`
	Steps       []jsonStep `json:"steps"`
}

func (a *app) fetch(ctx context.Context, address, digest, dest string, force bool, opts []client.ReadOption) error {
	var to *destination
	if dest != "-" {
		var err error
		if to, err = openFetchDest(dest, address, force); err != nil {
			return err
		}
		defer to.root.Close()
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.FetchURL(ctx, address, digest, opts...)
	if err != nil {
		return err
	}
	defer s.Close()
	if to == nil {
		_, err = s.WriteTo(a.stdout)
		return err
	}
	n, err := to.write(s)
	if err != nil {
		return err
	}
	out := fetchReport{Digest: digest, Size: n, Destination: to.path, Steps: jsonSteps(s.Steps())}
	return a.print(out, func(w io.Writer) { fmt.Fprintf(w, "%s, %s\n", quoted(to.path), human(n)) })
}

// destination is where a file goes.
type destination struct {
	extractor
	name string // in root
	path string
}

// openFetchDest finds the place for the file at an address, before anything is fetched.
func openFetchDest(dest, address string, force bool) (*destination, error) {
	fi, err := os.Stat(dest)
	dir, name := filepath.Dir(dest), filepath.Base(dest)
	if endsInSlash(dest) || err == nil && fi.IsDir() {
		dir = dest
		u, err := url.Parse(address)
		if err == nil {
			name, err = filepath.Localize(path.Base(path.Clean("/" + u.Path)))
		}
		if err != nil || u.Path == "" || strings.HasSuffix(u.Path, "/") {
			return nil, &usageError{why: "fetch: the address has no name for the file", hint: "give one: " + filepath.Join(dest, "NAME")}
		}
	}
	root, err := openDest(dir, endsInSlash(dest))
	if err != nil {
		return nil, err
	}
	d := &destination{extractor: extractor{root: root, force: force}, name: name, path: filepath.Join(dir, name)}
	if fi, err := root.Lstat(name); err == nil && (fi.IsDir() || !force) {
		_ = root.Close()
		if fi.IsDir() {
			return nil, fmt.Errorf("%s: %w", quoted(d.path), errFolder)
		}
		return nil, fmt.Errorf("%s: %w", quoted(d.path), errExists)
	}
	return d, nil
}

// write brings the file to its place.
func (d *destination) write(s *client.Stream) (n int64, err error) {
	temp := ".blobd-" + rand.Text() + ".tmp"
	defer func() {
		if err != nil {
			err = diskError(errors.Join(err, ignore(d.root.Remove(temp), fs.ErrNotExist)))
		}
	}()
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return 0, err
	}
	n, err = s.WriteTo(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return n, err
	}
	return n, d.publish(temp, d.name)
}
