package main

import (
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/config"
)

// newServeCommand is the daemon: `blobd serve`.
func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon: one warm cache of registry content for every process of this host.

It needs no flags and no configuration. SIGTERM or an interrupt lets calls under way end, for at most drain_timeout,
cuts those that have not, with an error, and exits with 0; a second one ends the daemon at once, as a signal does (143 to a
shell). SIGHUP reads the configuration again.`,
		Example: `  blobd serve
  blobd serve --cache-dir /mnt/ssd/blobd --max-size 100GiB
  blobd serve --config blobd.yaml --log-format text`,
		Args: takes(0, 0),
	}
	sources := sourceFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context() // ends with the first signal; main has the second end the process
		d, err := startDaemon(ctx, sources(os.Environ()), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		defer redirectLogs(d.log)()
		reload := make(chan os.Signal, 1)
		if signals := reloadSignals(); len(signals) > 0 {
			signal.Notify(reload, signals...)
			defer signal.Stop(reload)
		}
		return d.run(ctx, reload)
	}
	return cmd
}

// sourceFlags gives cmd the flags that set configuration. What it returns reads them, once they are parsed.
func sourceFlags(cmd *cobra.Command) func(environ []string) config.Sources {
	var file string
	cmd.Flags().StringVar(&file, "config", "", "configuration file (default: /etc/blobd/config.yaml or the user's own, where there is one)")
	keys := map[string]string{
		"socket": "socket", "cache-dir": "cache_dir", "max-size": "max_size", "http-addr": "http_addr",
		"pprof-addr": "pprof_addr",
		"log-level":  "log.level", "log-format": "log.format",
	}
	cmd.Flags().String("socket", "", "unix socket to listen on (default: /run/blobd/blobd.sock for root, $XDG_RUNTIME_DIR/blobd/blobd.sock for others)")
	cmd.Flags().String("cache-dir", "", "cache folder (default: /var/cache/blobd for root, the user's cache folder for others)")
	cmd.Flags().String("max-size", "10GiB", "what all caches together may take on disk")
	cmd.Flags().String("http-addr", "127.0.0.1:9465", `address of the status page, /metrics, /livez and /readyz, or "off"`)
	cmd.Flags().String("pprof-addr", "", "loopback address of Go's profiles, as 127.0.0.1:6060 (default: none)")
	cmd.Flags().String("log-level", "info", "debug, info, warn or error")
	cmd.Flags().String("log-format", "json", "json or text")
	return func(environ []string) config.Sources {
		s := config.Sources{File: file, Environ: environ, Flags: map[string]string{}}
		for name, key := range keys {
			if f := cmd.Flags().Lookup(name); f.Changed {
				s.Flags[key] = f.Value.String()
			}
		}
		return s
	}
}
