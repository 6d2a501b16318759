package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"github.com/blobd/blobd/access"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/metrics"
	"github.com/blobd/blobd/monitor"
	"github.com/blobd/blobd/pullthrough"
	"github.com/blobd/blobd/server"
	"github.com/blobd/blobd/tracing"
)

// closeLimit is how long storage may take to close after the last call has ended. What takes time there is flights that
// nobody waits for any more, which end at once, and a snapshot of some megabytes; after it the next start scans instead.
const closeLimit = 10 * time.Second

// daemon is a running blobd. Its rooms stand in the order in which they are made; they are taken down from the
// other end: first what takes calls, then, when no call is left, what they used.
type daemon struct {
	build   build
	sources config.Sources
	mu      sync.Mutex // guards config
	config  config.Config

	log      *zap.Logger
	logLevel zap.AtomicLevel
	metrics  *metrics.Metrics
	tracing  *tracing.Tracing // nil when it is off
	monitor  *monitor.Monitor
	caches   *cache.Caches
	fetcher  *fetcher.Fetcher
	service  *pullthrough.Service
	server   *server.Server
	socket   *server.Socket
	http     *httpServer  // nil when it is off
	pprof    *pprofServer // nil when it is off
}

// startDaemon makes every room but the storage, and opens the sockets; run does the rest. When it fails, nothing is left
// behind.
func startDaemon(ctx context.Context, sources config.Sources, stderr io.Writer) (_ *daemon, err error) {
	started := time.Now()
	handed, err := handedSocket()
	if err != nil {
		return nil, err
	}
	if handed != nil {
		defer func() {
			if err != nil {
				_ = handed.Close()
			}
		}()
		sources = withSocket(sources, handed.Path())
	}
	c, warnings, err := loadConfig(sources)
	if err != nil {
		return nil, err
	}
	admins, err := c.AdminUIDs(sources)
	if err != nil {
		return nil, err
	}
	d := &daemon{build: buildInfo(), sources: sources, config: c}
	defer func() {
		if err != nil {
			d.close()
		}
	}()

	d.log, d.logLevel = newLogger(stderr, c.Log)
	for _, w := range warnings {
		d.log.Warn(w)
	}
	if limit := limitMemory(os.DirFS("/")); limit > 0 {
		d.log.Info("memory limit set, from that of the cgroup", zap.Int64("bytes", limit))
	}
	d.metrics = metrics.New(metrics.Options{
		Registries: registryNames(c), Version: d.build.Version, Revision: d.build.Commit,
	})
	d.monitor = monitor.New(monitor.Options{
		Started: started, Version: d.build.Version, PID: os.Getpid(), Socket: c.Socket, CacheDir: c.CacheDir,
		Registries: registryNames(c),
	})
	if d.tracing, err = d.startTracing(ctx, c); err != nil {
		return nil, err
	}
	upstream, err := d.fetcherOptions(c)
	if err != nil {
		return nil, err
	}
	if d.fetcher, err = fetcher.New(upstream); err != nil {
		return nil, err
	}

	limits := serverLimits(c)
	if limits.Connections > 0 && limits.ConnectionsPerUser > limits.Connections {
		d.log.Warn("max_connections_per_user is more than all users may have together, which the limit of open files sets",
			zap.Int("max_connections_per_user", limits.ConnectionsPerUser), zap.Int("all_users", limits.Connections))
	}
	d.server, err = server.New(server.Options{
		Logins: systemLogins{d}, Monitor: d.monitor,
		Daemon: server.Daemon{
			Version: d.build.Version, Started: started, Socket: c.Socket, CacheDir: c.CacheDir,
			Config: func() string { return configText(d.inForce()) },
		},
		Policy: access.Policy{Admins: admins}, Limits: limits, IdleTimeout: time.Duration(c.IdleTimeout),
		Observer: d.observers(), Logger: d.log, Registerer: d.metrics.Registerer(), Stats: d.traceCalls(),
	})
	if err != nil {
		return nil, err
	}
	if d.socket = handed; d.socket == nil {
		if d.socket, err = server.Listen(ctx, c.Socket, server.DefaultSocketMode); err != nil {
			return nil, socketError(err)
		}
	}
	if !c.HTTPOff() {
		d.http, err = listenHTTP(ctx, c, d.metrics, d.monitor, d.log)
		if c.HTTPAddr == config.Default().HTTPAddr && errors.Is(err, syscall.EADDRINUSE) {
			// The host's daemon or another user's has it. Nobody asked for this address, and files come without it.
			d.log.Warn("no metrics and probes: the default address is taken; give another with --http-addr", zap.Error(err))
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
	if d.pprof, err = listenPprof(ctx, c, d.log); err != nil {
		return nil, err
	}
	return d, nil
}

// run serves until ctx ends, which drains the daemon, or something fails. What comes on reload has the configuration read
// again. Nothing of the daemon is left when run returns.
//
// The sockets are served before the storage is open, which takes as long as the disk does: callers are told that the
// daemon is starting and come again, and probes see a process that lives and is not ready yet.
func (d *daemon) run(ctx context.Context, reload <-chan os.Signal) error {
	failed := make(chan error, 3) // one for each that serves
	var serving sync.WaitGroup
	serving.Go(func() { failed <- d.server.Serve(d.socket) })
	if d.http != nil {
		serving.Go(func() { failed <- d.http.serve() })
	}
	if d.pprof != nil {
		serving.Go(func() { failed <- d.pprof.serve() })
	}
	if err := d.open(); err != nil {
		err = errors.Join(err, d.shutdown(closeLimit))
		serving.Wait()
		return errors.Join(err, d.close())
	}
	err := d.wait(ctx, reload, failed)
	d.drain()
	serving.Wait()
	err = errors.Join(err, d.close())
	d.log.Info("stopped", zap.Error(err))
	return err
}

// open opens the storage and lets calls in.
func (d *daemon) open() (err error) {
	c := d.inForce()
	opts := cacheOptions(c)
	opts.Observer, opts.Trust = newDiskObserver(d.observers(), d.log, d.monitor.Degraded), trustFolder
	if d.caches, err = cache.Open(opts); err != nil {
		return cacheError(c, err)
	}
	d.metrics.WatchCaches(func() metrics.Usage { return cacheUsage(d.caches) })
	d.service = pullthrough.New(d.caches, d.fetcher, policyOf(c), d.observers(), time.Now)
	d.monitor.Watch(monitored(d.service))
	d.traceFlights()
	d.server.Ready(server.ReaderOf(d.service), d.service)
	d.http.setReady()
	d.log.Info("serving", zap.String("version", d.build.Version), zap.Int("pid", os.Getpid()),
		zap.String("socket", c.Socket), zap.String("cache_dir", c.CacheDir), zap.Stringer("max_size", c.MaxSize),
		zap.String("http_addr", d.http.addr()))
	notify(systemd.SdNotifyReady)
	return nil
}

func (d *daemon) wait(ctx context.Context, reload <-chan os.Signal, failed <-chan error) error {
	dog := newWatchdog(d.socket.Path(), d.log)
	defer dog.close()
	for {
		select {
		case <-reload:
			d.reload()
		case <-dog.tick():
			dog.ask(ctx)
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// drain refuses new calls and lets those under way end, for as long as the configuration gives them. Probes see it at
// once; their listener goes last. At a socket that was handed over, new callers wait for the next daemon.
func (d *daemon) drain() {
	notify(systemd.SdNotifyStopping)
	limit := time.Duration(d.inForce().DrainTimeout)
	d.log.Info("stopping; calls under way may end", zap.Stringer("drain_timeout", limit))
	d.http.setDraining()
	if d.socket.Handed() {
		_ = d.socket.Close() // nobody has asked for it to work, and close tells
	}
	if err := d.shutdown(limit); err != nil {
		d.log.Warn("drained", zap.Error(err))
	}
}

// shutdown ends what listens.
func (d *daemon) shutdown(limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	defer d.http.close()
	defer d.pprof.close()
	return d.server.Shutdown(ctx)
}

// close takes down the rooms that hold something, storage last. It takes whatever of them startDaemon had made.
func (d *daemon) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	d.http.close() // both are closed already, unless startDaemon failed
	d.pprof.close()
	var errs []error
	if d.socket != nil {
		errs = append(errs, d.socket.Close())
	}
	if d.service != nil {
		errs = append(errs, d.service.Close(ctx))
	}
	if d.fetcher != nil {
		d.fetcher.Close()
	}
	d.endTracing()
	if d.caches != nil {
		errs = append(errs, d.caches.Close())
	}
	if d.monitor != nil {
		d.monitor.Close()
	}
	return errors.Join(errs...)
}

// reload takes over what a running daemon can of a new configuration, all of it or, when something of it is wrong, none.
func (d *daemon) reload() {
	notify(systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec())
	defer notify(systemd.SdNotifyReady)
	applied, needRestart, err := d.applyConfig()
	d.metrics.Reloaded(err)
	if err != nil {
		d.log.Error("the configuration is not taken over; the old one stays in force", errorFields(err)...)
		return
	}
	d.log.Info("configuration taken over", zap.Strings("applied", applied))
	if len(needRestart) > 0 {
		d.log.Warn("some changes need a restart", zap.Strings("keys", needRestart))
	}
}

func (d *daemon) applyConfig() (applied, needRestart []string, err error) {
	read, _, err := loadConfig(d.sources)
	if err != nil {
		return nil, nil, err
	}
	old := d.inForce()
	applied, needRestart = config.Changes(old, read)
	c := config.Reload(old, read)

	upstream, err := d.fetcherOptions(c)
	if err != nil {
		return nil, nil, err
	}
	if err := d.fetcher.Reload(upstream); err != nil {
		return nil, nil, err
	}
	d.metrics.SetRegistries(registryNames(c))
	d.monitor.SetRegistries(registryNames(c))
	d.caches.SetLimits(cacheOptions(c))
	d.server.SetLimits(serverLimits(c))
	d.service.SetPolicy(policyOf(c))
	d.logLevel.SetLevel(zapLevel(c.Log.Level))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config = c
	return applied, needRestart, nil
}

// fetcherOptions adds to what is configured what of it is the daemon's.
func (d *daemon) fetcherOptions(c config.Config) (fetcher.Options, error) {
	o, err := fetcherOptions(c, d.sources)
	o.Observer, o.Log, o.UserAgent = d.observers(), slogOf(d.log, "fetcher"), "blobd/"+d.build.Version
	o.Failed = d.observers().upstreamFailed
	d.traceRequests(&o)
	return o, err
}

// observers tell those who want to know what happens.
func (d *daemon) observers() observers { return observers{d.metrics, d.monitor} }

// inForce is the configuration as it is now.
func (d *daemon) inForce() config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config
}

// loadConfig is config.Load with the socket's default, whose rule is the client's. A file of logins that is not there is
// a warning: it may come later, when a secret is mounted or rotated.
func loadConfig(sources config.Sources) (config.Config, []string, error) {
	c, warnings, err := config.Load(sources)
	if err == nil && c.Socket == "" {
		if c.Socket = client.DefaultSocket(); c.Socket == "" {
			err = (&fault.Error{Reason: fault.InvalidArgument, What: "this user has no place for a socket"}).
				Try("name one with --socket, or set $XDG_RUNTIME_DIR")
		}
	}
	if file := c.Credentials.File; file != "" {
		if _, statErr := os.Stat(file); errors.Is(statErr, fs.ErrNotExist) {
			warnings = append(warnings, fmt.Sprintf("credentials.file %s is not there yet; logins named in it can't be used", file))
		}
	}
	return c, warnings, err
}

// cacheUsage is what metrics tell of the caches.
func cacheUsage(caches *cache.Caches) metrics.Usage {
	now := caches.Store.Usage()
	usage := metrics.Usage{
		Bytes: now.Bytes, Limit: now.Limit, DiskFree: now.DiskFree, MinFree: now.MinFree, Scanning: now.Scanning,
		Caches: map[string]metrics.CacheUsage{},
	}
	for _, class := range now.Classes {
		usage.Caches[cache.Name(class.Name)] = metrics.CacheUsage{Bytes: class.Bytes, Limit: class.Limit, Entries: class.Entries}
	}
	bytes, limit, entries := caches.Memory.Stats()
	usage.Caches[cache.NameMemory] = metrics.CacheUsage{Bytes: bytes, Limit: limit, Entries: entries}
	return usage
}

// cacheError and socketError say what to do about a daemon that can't start.
func cacheError(c config.Config, err error) error {
	if locked, ok := errors.AsType[*store.LockedError](err); ok {
		key, _, flag := folderOf(c, locked.Dir)
		what := fmt.Sprintf("%s: the folder %s is in use by another blobd, process %d", key, locked.Dir, locked.PID)
		return (&fault.Error{What: what}).Try("stop it, or give this one a folder of its own with %s", flag)
	}
	if unsafe, ok := errors.AsType[*folderError](err); ok {
		key, _, flag := folderOf(c, unsafe.dir)
		return (&fault.Error{What: key + ": " + unsafe.Error()}).Try("%s, or give another folder with %s", unsafe.mend, flag)
	}
	failed, ok := errors.AsType[*fs.PathError](err)
	if !ok {
		return &fault.Error{What: "cache folder " + c.CacheDir, Err: err}
	}
	key, dir, flag := folderOf(c, failed.Path)
	return (&fault.Error{What: fmt.Sprintf("%s: can't use the folder %s", key, dir), Err: failed}).
		Try("give a folder that this user can write with %s", flag)
}

// folderOf is the key whose folder is in path, or holds it, that folder, and how to give another.
func folderOf(c config.Config, path string) (key, dir, flag string) {
	if !within(c.CacheDir, path) { // that one is made first
		for name, one := range c.Caches.OnDisk() {
			if one.Dir != "" && (within(one.Dir, path) || within(path, one.Dir)) {
				key = "caches." + name + ".dir"
				return key, one.Dir, key
			}
		}
	}
	return "cache_dir", c.CacheDir, "--cache-dir"
}

// within reports whether path is dir, or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func socketError(err error) error {
	if errors.Is(err, server.ErrInUse) {
		return (&fault.Error{What: err.Error()}).Try("stop that one, or give this one a socket of its own with --socket")
	}
	return (&fault.Error{What: err.Error()}).Try("give a path that this user can write with --socket")
}

// notify tells systemd, where it started us, how we are; elsewhere it does nothing.
func notify(state string) { _, _ = systemd.SdNotify(false, state) }
