// Command bench runs blobd beside the published library, github.com/meigma/blob, in one run on one machine, and writes
// what it measured as Markdown: `make bench`. Times are reports, their ratios are what to look at; counts are exact.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/rig"
)

func main() {
	out := flag.String("out", "", "file to write the report to; stdout when empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string) error {
	var r report
	err := withBench(ctx, func(b *bench) error {
		for _, part := range []struct {
			name    string
			measure func(*report) error
		}{
			{"warm reads", b.warmReads},
			{"cold reads", b.coldReads},
			{"requests", b.requests},
		} {
			fmt.Fprintln(os.Stderr, "bench:", part.name, "…")
			if err := part.measure(&r); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if out == "" {
		_, err := os.Stdout.WriteString(r.markdown())
		return err
	}
	return os.WriteFile(out, []byte(r.markdown()), 0o644)
}

// bench is a registry, a daemon and a client of it, and a folder for all else.
type bench struct {
	ctx    context.Context
	dir    string
	reg    *registrytest.Registry
	host   *rig.Host
	client *client.Client
	made   int // folders of caches for the library
}

// withBench runs f with a bench of which nothing is left afterwards.
func withBench(ctx context.Context, f func(*bench) error) (err error) {
	b := &bench{ctx: ctx}
	if b.dir, err = os.MkdirTemp("", "blobd-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	binary, err := rig.Build(ctx, b.dir, false)
	if err != nil {
		return err
	}
	if b.reg, err = registrytest.Open(registrytest.Options{Dir: filepath.Join(b.dir, "registry")}); err != nil {
		return err
	}
	defer b.reg.Close()
	if b.host, err = rig.NewHost(binary); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.host.Stop(), b.host.Close()) }()
	if err := b.host.Start(ctx); err != nil {
		return err
	}
	if b.client, err = client.Dial(ctx, client.WithSocket(b.host.Socket())); err != nil {
		return err
	}
	defer b.client.Close()
	return f(b)
}

// ref is a reference to the registry as readers are told it, where requests are counted.
func (b *bench) ref(name string) string { return b.reg.Host() + "/" + name }

// clear empties blobd's caches.
func (b *bench) clear() error {
	if r := b.host.Run(b.ctx, "cache", "clear"); r.Exit != 0 {
		return fmt.Errorf("cache clear: %s", r.Stderr)
	}
	return nil
}

// cacheDir is a new folder for caches of the library.
func (b *bench) cacheDir() string {
	b.made++
	return filepath.Join(b.dir, fmt.Sprintf("cache-%d", b.made))
}
