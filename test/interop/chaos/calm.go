package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/client"
)

const (
	// recovery is how long after the last fault anything may still fail: breakers are open for up to 30 s, and what is
	// stalled is given up after 20 s.
	recovery = time.Minute
	// rest is how long a daemon may take to let go of what it no longer needs.
	rest = time.Minute
	// Digests that are read in the end: the last ones, and some of all.
	lastDigests = 10
	someDigests = 20
)

// idle is what a daemon has when nobody wants anything of it.
type idle struct{ goroutines, descriptors float64 }

// More than before, where some were made by a use that the first measurement did not have.
const (
	moreGoroutines  = 8
	moreDescriptors = 6
)

// quiet measures the daemon at rest: no client, no registry that could hold a connection open. It waits until there is no
// more than most, and takes the least that it sees where most is nil.
func (s *storm) quiet(most *idle) (least idle, err error) {
	s.registry.Stop()
	defer func() { err = errors.Join(err, s.registry.Start()) }()
	least = idle{1e9, 1e9}
	deadline, steady := time.Now().Add(rest), 0
	for time.Now().Before(deadline) {
		m, err := s.daemon.metrics(s.abort)
		if err != nil {
			return least, err
		}
		now := idle{m["go_goroutines"], m["process_open_fds"]}
		if now.goroutines < least.goroutines || now.descriptors < least.descriptors {
			least, steady = idle{min(least.goroutines, now.goroutines), min(least.descriptors, now.descriptors)}, 0
		}
		steady++
		if most == nil && steady > 20 || most != nil && now.goroutines <= most.goroutines+moreGoroutines && now.descriptors <= most.descriptors+moreDescriptors {
			return least, nil
		}
		sleep(s.abort, s.calmRNG, 100*time.Millisecond)
	}
	if most == nil {
		return least, nil
	}
	return least, fmt.Errorf("%v after the storm the daemon has %.0f goroutines and %.0f descriptors, and had %.0f and %.0f at rest",
		rest, least.goroutines, least.descriptors, most.goroutines, most.descriptors)
}

// before warms the daemon up and measures it.
func (s *storm) before() (idle, error) {
	if err := s.readAll(s.abort); err != nil {
		return idle{}, err
	}
	return s.quiet(nil)
}

// after holds the daemon, when all faults have ended, against what it promises.
func (s *storm) after(atRest idle) error {
	s.weather.clear()
	if err := s.daemon.tell(limits{maxSize: 32 * mib, minFree: mib, memory: mib, ttl: time.Second}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.abort, recovery)
	defer cancel()
	for {
		err := s.readAll(ctx)
		if err == nil {
			break
		}
		if v, ok := errors.AsType[*violation](err); ok {
			return v
		}
		if !sleep(ctx, s.calmRNG, time.Second) {
			return fmt.Errorf("%v after the last fault: %w", recovery, err)
		}
	}
	now, err := s.quiet(&atRest)
	if err != nil {
		return err
	}
	s.events.note("at rest: %+v, before: %+v", now, atRest)
	if err := s.verified(); err != nil {
		return err
	}
	if err := s.restarted(); err != nil {
		return err
	}
	if err := s.readAll(s.abort); err != nil {
		return fmt.Errorf("after the last start: %w", err)
	}
	return s.daemon.stop()
}

// verified finds what was damaged and not read since, and the second time nothing.
func (s *storm) verified() error {
	for i := range 2 {
		r := s.daemon.host.Run(s.abort, "cache", "verify")
		if r.Exit != 0 && (i > 0 || r.Exit != exitIntegrity) {
			return fmt.Errorf("cache verify, time %d: exit code %d: %s%s", i+1, r.Exit, r.Stdout, r.Stderr)
		}
	}
	return nil
}

// restarted stops and starts the daemon: no temporary file is left, and nothing is wrong.
func (s *storm) restarted() error {
	if err := errors.Join(s.daemon.stop(), s.daemon.start(s.abort)); err != nil {
		return err
	}
	var status struct {
		Scanning bool     `json:"scanning"`
		Problems []string `json:"problems"`
	}
	for deadline := time.Now().Add(rest); ; sleep(s.abort, s.calmRNG, 100*time.Millisecond) {
		r := s.daemon.host.Run(s.abort, "status", "-o", "json")
		if err := json.Unmarshal(r.Stdout, &status); err != nil {
			return fmt.Errorf("status: %w: %s%s", err, r.Stdout, r.Stderr)
		}
		if !status.Scanning {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the daemon still scans %v after its start", rest)
		}
	}
	if len(status.Problems) > 0 {
		return fmt.Errorf("the daemon says that something is wrong: %q", status.Problems)
	}
	return filepath.WalkDir(s.disk.cache, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (filepath.Base(filepath.Dir(path)) == "tmp" || strings.HasSuffix(path, ".tmp")) {
			err = fmt.Errorf("%s is left after a clean start", path)
		}
		return err
	})
}

// readAll reads every tag and some digests, freshly: all must be right.
func (s *storm) readAll(ctx context.Context) error {
	c, err := client.Dial(ctx, client.WithSocket(s.daemon.host.Socket()))
	if err != nil {
		return err
	}
	defer c.Close()
	host := s.registry.Host() + "/"
	for _, repository := range repositories {
		for _, tag := range tags {
			if err := s.readOne(ctx, c, host+repository+":"+tag, asked{name: repository + ":" + tag}); err != nil {
				return err
			}
		}
	}
	var digests []*archive
	s.oracle.some("", func(all []*archive) *archive {
		digests = append(digests, all[max(0, len(all)-lastDigests):]...)
		for range someDigests {
			digests = append(digests, all[s.calmRNG.IntN(len(all))])
		}
		return nil
	})
	for _, a := range digests {
		if err := s.readOne(ctx, c, host+a.repository+"@"+a.digest.String(), asked{digest: a.digest}); err != nil {
			return err
		}
	}
	return nil
}

func (s *storm) readOne(ctx context.Context, c *client.Client, ref string, q asked) error {
	q.requireFresh, q.began = true, time.Now() // and as old as 0
	got, err := c.Pull(ctx, ref, client.MaxAge(0), client.RequireFresh())
	if err != nil {
		return fmt.Errorf("%s: %w", ref, err)
	}
	q.ended = time.Now()
	a, err := s.oracle.resolved(q, answer{digest: digest.Digest(got.Digest), stale: got.Stale, age: got.Age})
	if err != nil {
		return violated("%s: %v", ref, err)
	}
	got = got.WithContext(ctx)
	for _, f := range a.files {
		data, err := got.ReadFile(f.path)
		if err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
		if int64(len(data)) != f.size() {
			return violated("%s: %q has %d bytes, want %d", ref, f.path, len(data), f.size())
		}
		if err := s.oracle.content(a, f.path, 0, data, true); err != nil {
			return violated("%s: %v", ref, err)
		}
	}
	return nil
}

// readLog looks for what must not be in the daemon's log.
func (s *storm) readLog() error {
	text, err := os.ReadFile(s.daemon.host.LogFile())
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if bad := badLine(line); bad != "" {
			return fmt.Errorf("the daemon's log holds %q: %s", bad, strings.TrimSpace(line))
		}
	}
	return nil
}

// badLine is what must not be in a line of the log; "" where all is well.
func badLine(line string) string {
	for _, bad := range []string{canary, "DATA RACE", "panic", "fatal error", "bug of its own", `"reason":"INTERNAL"`} {
		if strings.Contains(line, bad) {
			return bad
		}
	}
	var said struct{ Level, Msg string }
	if json.Unmarshal([]byte(line), &said) == nil && said.Level == "error" && !strings.HasPrefix(said.Msg, "the disk refuses writes") {
		return said.Level
	}
	return ""
}
