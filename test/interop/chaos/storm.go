package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/rig"
)

// canary is the registry's password. It may stand in no line of the log.
const canary = "canary-3b1f9a"

const (
	// readers and commanders work at the same time: more than the processors of a small machine, so that calls meet.
	readers    = 12
	commanders = 3
	reportEach = 10 * time.Second
)

// storm is a daemon, what it serves, those who use it and those who break it.
type storm struct {
	dir        string
	events     *events
	oracle     *oracle
	blame      *blame
	tally      *tally
	settings   *settings
	registry   *registrytest.Registry
	weather    *weather
	population *population
	daemon     *daemon
	disk       *disk
	pins       *pins
	calmRNG    *rand.Rand // before and after the rage

	abort  context.Context // ends with the first violation
	cancel context.CancelCauseFunc
}

// plan says what a run is like.
type plan struct {
	seed     uint64
	duration time.Duration
	dir      string // for all that the run leaves
	client   string // the binary of commands
	daemon   string // and of daemons
}

// newStorm makes all of it and starts the daemon. close takes it down.
func newStorm(ctx context.Context, p plan) (_ *storm, err error) {
	s := &storm{
		dir: p.dir, oracle: newOracle(), blame: newBlame(), tally: newTally(), pins: &pins{},
	}
	s.abort, s.cancel = context.WithCancelCause(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	stream := uint64(0)
	rng := func() *rand.Rand { // each has a sequence of its own, which no other disturbs
		stream++
		return rand.New(rand.NewPCG(p.seed, stream))
	}
	if s.events, err = newEvents(filepath.Join(p.dir, "events")); err != nil {
		return s, err
	}
	s.registry, err = registrytest.Open(registrytest.Options{
		Dir: filepath.Join(p.dir, "registry"), Auth: registrytest.AuthToken, Username: "robot", Password: canary,
	})
	if err != nil {
		return s, err
	}
	s.calmRNG = rng()
	s.population = newPopulation(s.oracle, s.blame, s.events, s.registry.PushHost(), rng())
	s.weather = newWeather(s.registry, s.oracle, s.blame, s.events, rng(), rng())
	s.settings = &settings{host: s.registry.Host(), file: filepath.Join(p.dir, "logins.yaml")}
	logins := fmt.Sprintf("robot: {username: robot, password: %s}\n", canary)
	if err := os.WriteFile(s.settings.file, []byte(logins), 0o600); err != nil {
		return s, err
	}
	host, err := rig.NewHost(p.client)
	if err != nil {
		return s, err
	}
	host.Daemon = p.daemon
	s.daemon = &daemon{settings: s.settings, blame: s.blame, events: s.events, life: rng(), rng: rng(), host: host}
	if s.disk, err = newDisk(p.dir, s.daemon, s.blame, s.events, rng()); err != nil {
		return s, err
	}
	host.CacheDir = s.disk.cache
	s.settings.force(someLimits(rng()), time.Now())
	if err := s.population.fill(ctx); err != nil {
		return s, err
	}
	return s, s.daemon.start(ctx)
}

// close takes everything down but the events and the daemon's log, which are kept in the folder.
func (s *storm) close() error {
	s.cancel(nil)
	var errs []error
	if s.daemon != nil {
		errs = append(errs, s.daemon.host.Kill())
		if log, err := os.ReadFile(s.daemon.host.LogFile()); err == nil {
			errs = append(errs, os.WriteFile(filepath.Join(s.dir, "daemon.log"), log, 0o600))
		}
		errs = append(errs, s.daemon.host.Close())
	}
	if s.disk != nil {
		errs = append(errs, s.disk.close())
	}
	if s.registry != nil {
		s.registry.Close()
		errs = append(errs, os.RemoveAll(filepath.Join(s.dir, "registry")))
	}
	if s.events != nil {
		errs = append(errs, s.events.close())
	}
	return errors.Join(errs...)
}

// violate ends the run.
func (s *storm) violate(err error) {
	s.events.note("VIOLATION: %v", err)
	s.cancel(err)
}

// rage has all of them at it for the plan's duration. It returns the first violation.
func (s *storm) rage(p plan, out io.Writer) error {
	ctx, stop := context.WithTimeout(s.abort, p.duration)
	defer stop()
	var chaos, clients, watch sync.WaitGroup
	spawn := func(group *sync.WaitGroup, ctx context.Context, f func(context.Context) error) {
		group.Go(func() {
			if err := f(ctx); err != nil {
				s.violate(err)
			}
		})
	}
	// The last seconds are the readers' alone: what follows asks whether a daemon that went through all that is well.
	calm, still := context.WithTimeout(ctx, p.duration-min(p.duration/10, settling))
	defer still()
	for _, f := range []func(context.Context) error{s.population.run, s.weather.run, s.disk.starve, s.disk.damage} {
		spawn(&chaos, ctx, f)
	}
	spawn(&chaos, calm, s.daemon.run)
	watching, watched := context.WithCancel(s.abort)
	defer watched()
	spawn(&watch, watching, s.disk.use)
	spawn(&watch, watching, func(ctx context.Context) error { return s.reports(ctx, out) })
	for i := range readers + commanders {
		w := &worker{storm: s, rng: rand.New(rand.NewPCG(p.seed, 1000+uint64(i)))}
		deeds := reads
		if i >= readers {
			deeds = commands
		}
		clients.Go(func() { w.run(ctx, deeds) })
	}
	chaos.Wait()
	clients.Wait()
	watched()
	watch.Wait()
	return context.Cause(s.abort)
}

// reports prints a line now and then, and looks at what the daemon counts.
func (s *storm) reports(ctx context.Context, out io.Writer) error {
	began := time.Now()
	tick := time.NewTicker(reportEach)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintln(out, s.line(time.Since(began)))
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *storm) line(after time.Duration) string {
	ok, failed, bytes, stale := s.tally.sums()
	var upstream []cause
	for _, t := range troubles {
		if !slices.Contains(upstream, t.cause) {
			upstream = append(upstream, t.cause)
		}
	}
	b := s.blame
	return fmt.Sprintf("chaos: %4.0f s: %d right, %d failed as they may, %d stale, %d MiB compared; "+
		"%d kills, %d stops, %d reloads, %d faults upstream, %d outages, %d starvations, %d files damaged; disk at most %.1f %%",
		after.Seconds(), ok, failed, stale, bytes/mib, b.count(killed), b.count(stopped), b.count(reloaded),
		b.count(upstream...), b.count(regDown), b.count(noSpace, noInodes, noFree, noSize),
		b.count(flipped, truncated, rewritten, deleted), float64(s.disk.fullest.Load())/10)
}
