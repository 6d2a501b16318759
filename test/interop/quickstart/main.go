// Command quickstart shows what blobd is for, in half a minute, on loopback and in a temporary folder: `make
// quickstart`. It builds blobd, starts a registry behind a proxy that counts, and a daemon; has the published library
// store a sample archive; and reads it cold, warm, from ten processes at once, and with the registry stopped. Its exit
// code is 0 when every read gave the right bytes and cost what it should.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/peer"
	"github.com/blobd/blobd/test/interop/rig"
)

const (
	readers = 10
	size    = 16 << 20
	path    = "assets/video.bin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run does all of it; nothing is left of it when it returns.
func run(ctx context.Context, out io.Writer) (err error) {
	fmt.Fprintln(out, "building blobd, starting a registry and a daemon …")
	dir, err := os.MkdirTemp("", "blobd-quickstart-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary, err := rig.Build(ctx, dir, false)
	if err != nil {
		return err
	}
	reg, err := registrytest.Open(registrytest.Options{})
	if err != nil {
		return err
	}
	defer reg.Close()
	want, err := store(ctx, reg, filepath.Join(dir, "sample"))
	if err != nil {
		return err
	}
	host, err := rig.NewHost(binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Stop(), host.Close()) }()
	if err := host.Start(ctx); err != nil {
		return err
	}
	d := &demo{ctx: ctx, host: host, reg: reg, ref: reg.Host() + "/demo/site:v1", want: want}
	return d.show(out)
}

// store has the library push the sample archive, and returns the digest of the file that is read.
func store(ctx context.Context, reg *registrytest.Registry, dir string) (want [sha256.Size]byte, err error) {
	big := archivetest.Bytes(archivetest.Compressible(1, size))
	files := map[string][]byte{
		path:         big,
		"index.html": []byte("<h1>one warm cache per host</h1>\n"),
		"robots.txt": []byte("User-agent: *\n"),
	}
	for name, data := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return want, err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return want, err
		}
	}
	_, err = peer.Push(ctx, reg.PushHost()+"/demo/site:v1", dir, peer.Zstd)
	return sha256.Sum256(big), err
}

// demo reads one file again and again.
type demo struct {
	ctx  context.Context
	host *rig.Host
	reg  *registrytest.Registry
	ref  string
	want [sha256.Size]byte
}

func (d *demo) show(out io.Writer) error {
	fmt.Fprintf(out, "\n  blobd cat %s %s   (16 MiB, compressed in the registry)\n\n", d.ref, path)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "  step\ttime\tupstream requests")
	var bad []error
	for _, s := range []struct {
		name     string
		before   func() error
		readers  int
		upstream int
	}{
		{"cold", nil, 1, 4},
		{"warm", nil, 1, 0},
		{"the daemon restarted", d.restart, 1, 0},
		{fmt.Sprintf("%d processes at once", readers), nil, readers, 0},
		{fmt.Sprintf("%d processes at once, nothing cached", readers), d.clear, readers, 4},
		{"the registry stopped", d.stopRegistry, 1, 0},
	} {
		if s.before != nil {
			if err := s.before(); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		d.reg.Reset()
		began := time.Now()
		if err := d.read(s.readers); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		took, c := time.Since(began), d.reg.Counts()
		fmt.Fprintf(table, "  %s\t%d ms\t%s\n", s.name, took.Milliseconds(), describe(c))
		if c.Total() != s.upstream {
			bad = append(bad, fmt.Errorf("%s: %d upstream requests, want %d", s.name, c.Total(), s.upstream))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(bad) == 0 {
		fmt.Fprintln(out, "\nEvery process got the right bytes. All that ran has been stopped, and the folder is removed.")
	}
	return errors.Join(bad...)
}

// read has n processes read the file at once, and checks what each got.
func (d *demo) read(n int) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			hash, stderr := sha256.New(), new(bytes.Buffer)
			cmd := d.host.Command(d.ctx, "cat", d.ref, path)
			cmd.Stdout, cmd.Stderr = hash, stderr
			if err := cmd.Run(); err != nil {
				errs[i] = fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
			} else if [sha256.Size]byte(hash.Sum(nil)) != d.want {
				errs[i] = errors.New("the wrong bytes")
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (d *demo) restart() error {
	if err := d.host.Stop(); err != nil {
		return err
	}
	return d.host.Start(d.ctx)
}

func (d *demo) clear() error {
	if r := d.host.Run(d.ctx, "cache", "clear"); r.Exit != 0 {
		return fmt.Errorf("cache clear: %s", r.Stderr)
	}
	return nil
}

func (d *demo) stopRegistry() error {
	d.reg.Stop()
	return nil
}

// describe tells how many requests there were, and of which kinds.
func describe(c registrytest.Counts) string {
	if c.Total() == 0 {
		return "0"
	}
	var kinds []string
	for _, k := range []struct {
		n    int
		name string
	}{{c.Tag, "tag"}, {c.Manifest, "manifest"}, {c.Blob, "index"}, {c.Range, "range"}, {c.Token + c.Challenge + c.Other, "other"}} {
		if k.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", k.n, k.name))
		}
	}
	return fmt.Sprintf("%d: %s", c.Total(), strings.Join(kinds, ", "))
}
