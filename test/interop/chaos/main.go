// Command chaos is a model check of the whole of blobd: `make chaos DURATION=20m`. Clients of every kind read at random,
// through a daemon that is killed, stopped, reloaded and starved of disk, whose files are damaged while it runs, and whose
// registry fails in every way that it knows, while its tags move. An oracle knows every byte that the registry ever served
// for each reference, and when each tag was what: each read that succeeds must be one of those, each that fails must have
// a reason that something explains which was done, and none may take longer than its caller has patience. When all faults
// have ended, everything must be right again within a bound, and the daemon must be as it was: goroutines, descriptors,
// temporary files, the disk's budget, its log.
//
// A run is made from a seed, which it prints: the same seed makes the same archives and the same schedule of faults and
// clients, as far as the machine's own timing allows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/blobd/blobd/test/interop/rig"
)

func main() {
	p := plan{}
	flag.DurationVar(&p.duration, "duration", time.Minute, "how long clients read and things fail")
	flag.Uint64Var(&p.seed, "seed", 0, "what the run is made from; 0 is a random one")
	race := flag.Bool("race", false, "run a daemon with the race detector; needs a C compiler")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for p.seed == 0 {
		p.seed = rand.Uint64() >> 32
	}
	if err := run(ctx, p, *race, os.Stdout); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// run does all of it. Its folder is removed unless something was wrong.
func run(ctx context.Context, p plan, race bool, out io.Writer) (err error) {
	if p.dir, err = os.MkdirTemp("", "blobd-chaos-"); err != nil {
		return err
	}
	fmt.Fprintf(out, "chaos: seed %d, %v, race detector: %v; building blobd …\n", p.seed, p.duration, race)
	if p.client, err = rig.Build(ctx, p.dir, false); err != nil {
		return err
	}
	p.daemon = p.client
	if race {
		if p.daemon, err = rig.Build(ctx, p.dir+"/race", true); err != nil {
			return err
		}
	}
	s, err := newStorm(ctx, p)
	if err != nil {
		return errors.Join(err, os.RemoveAll(p.dir))
	}
	if !s.disk.own {
		fmt.Fprintln(out, "chaos: no disk of its own (that needs Linux and root): the daemon is starved by its limits alone")
	}
	began := time.Now()
	atRest, err := s.before()
	if err == nil {
		err = s.rage(p, out)
	}
	raged := time.Since(began)
	if err == nil {
		err = s.after(atRest)
	}
	err = errors.Join(err, s.readLog())
	fmt.Fprintln(out, s.line(raged))
	err = errors.Join(err, s.tally.write(out))
	fmt.Fprintf(out, "  done: %s\n", s.blame.all())
	recent := s.events.recent()
	err = errors.Join(err, s.close())
	if ctx.Err() != nil {
		return errors.Join(err, os.RemoveAll(p.dir))
	}
	if err == nil {
		fmt.Fprintf(out, "chaos: every read was right, every failure had its reason, and all is as it was: %v in all\n",
			time.Since(began).Round(time.Second))
		return os.RemoveAll(p.dir)
	}
	fmt.Fprintf(out, "the last events:\n")
	for _, e := range recent {
		fmt.Fprintln(out, "  "+e)
	}
	return fmt.Errorf("seed %d; events and the daemon's log are kept in %s: %w", p.seed, p.dir, err)
}
