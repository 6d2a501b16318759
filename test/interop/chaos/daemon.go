package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/blobd/blobd/test/interop/rig"
)

// daemon is the daemon under test. Its methods may be called from several goroutines, but for run.
type daemon struct {
	settings *settings
	blame    *blame
	events   *events
	life     *rand.Rand // of run alone

	mu   sync.Mutex // guards what follows
	host *rig.Host
	rng  *rand.Rand
	up   bool // between a start and an end of ours
}

// startTries: the address for metrics is one that was free a moment ago, and may not be any more.
const startTries = 3

// start starts the daemon with the limits in force.
func (d *daemon) start(ctx context.Context) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.host.Config = d.settings.text(d.settings.now(), d.rng)
	for range startTries {
		if err = d.host.Start(ctx); err == nil || !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("the daemon does not start: %w", err)
	}
	d.up = true
	d.events.note("the daemon is up, process %d", d.host.PID())
	d.blame.ends(daemonDown, time.Now())
	return nil
}

// kill is kill -9, and stop is SIGTERM.
func (d *daemon) kill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blame.counted(killed)
	d.up = false
	d.events.note("kill -9")
	d.blame.begins(daemonDown, time.Now())
	return d.host.Kill()
}

func (d *daemon) stop() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blame.counted(stopped)
	d.up = false
	d.events.note("SIGTERM")
	d.blame.begins(daemonDown, time.Now())
	began := time.Now()
	err := d.host.Stop()
	if d.blame.acted(noSpace, "", began, time.Now()) || d.blame.acted(noInodes, "", began, time.Now()) {
		err = notFailed(err) // it may say by its exit code that it could not write down all
	}
	if took := time.Since(began); err == nil && took > drainTimeout+stopGrace {
		err = fmt.Errorf("it took %v, and its drain_timeout is %v", took, drainTimeout)
	}
	if err != nil {
		return fmt.Errorf("the daemon's end after SIGTERM: %w", err)
	}
	d.events.note("the daemon has ended")
	return nil
}

// notFailed is err, but nil where a process ended with exit code 1, which for a daemon is an end in good order after
// which something remains to be said.
func notFailed(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == exitOther {
		return nil
	}
	return err
}

// stopGrace is what a daemon may take to close beside draining: its own limit is 10 s.
const stopGrace = 15 * time.Second

// tell gives the daemon other limits; one that is down takes them at its start.
func (d *daemon) tell(l limits) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settings.force(l, time.Now())
	if !d.up {
		return nil
	}
	d.blame.counted(reloaded)
	d.events.note("SIGHUP: max_size %d, min_free %d, memory %d, ttl %v", l.maxSize, l.minFree, l.memory, l.ttl)
	// By rename, since the reload before this one may be reading.
	next := d.host.ConfigFile() + ".next"
	if err := os.WriteFile(next, []byte(d.settings.text(l, d.rng)), 0o600); err != nil {
		return err
	}
	if err := os.Rename(next, d.host.ConfigFile()); err != nil {
		return err
	}
	return reload(d.host)
}

// ended is closed when the running daemon has ended.
func (d *daemon) ended() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.host.Ended()
}

// metrics are those of the running daemon.
func (d *daemon) metrics(ctx context.Context) (map[string]float64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.host.Metrics(ctx)
}

// lifeLasts is how long, on average, something is done to the daemon; what is done, out of ten, is mostly a reload.
const lifeLasts = 2500 * time.Millisecond

// run kills, stops and reloads the daemon until ctx ends; it runs then.
func (d *daemon) run(ctx context.Context) error {
	for {
		wait, cancel := context.WithTimeout(ctx, time.Duration((0.2+1.6*d.life.Float64())*float64(lifeLasts)))
		select {
		case <-d.ended():
			cancel()
			return errors.New("the daemon ended by itself")
		case <-wait.Done():
		}
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		var err error
		switch n := d.life.IntN(10); {
		case n < 1:
			err = d.again(d.kill, d.killStarting)
		case n < 3:
			err = d.again(d.kill)
		case n < 5:
			err = d.again(d.stop)
		default:
			err = d.tell(someLimits(d.life))
		}
		if err != nil {
			return err
		}
	}
}

// again ends the daemon, and starts it after a while. It does so to the end: nobody may find it missing.
func (d *daemon) again(ends ...func() error) error {
	for _, end := range ends {
		if err := end(); err != nil {
			return err
		}
	}
	if d.life.IntN(3) == 0 {
		sleep(context.Background(), d.life, time.Second)
	}
	return d.start(context.Background())
}

// killStarting starts a daemon and kills it while it does.
func (d *daemon) killStarting() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events.note("kill -9 at the start")
	d.blame.counted(killed)
	if err := d.host.Launch(); err != nil {
		return err
	}
	sleep(context.Background(), d.life, 80*time.Millisecond)
	return d.host.Kill()
}
