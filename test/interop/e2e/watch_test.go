package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
)

// event is a line of `blobd events -o json`.
type event struct {
	Kind, Reference, Cache, Registry, Reason, Source, Text string
	Bytes, Count                                           int64
}

// follower is `blobd events -f`, and what it printed.
type follower struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr bytes.Buffer // whole once done

	mu   sync.Mutex // guards seen
	seen []event
	done chan struct{}
}

func follow(t *testing.T, w *world, args ...string) *follower {
	t.Helper()
	f := &follower{t: t, done: make(chan struct{}), cmd: w.Command(t.Context(), append([]string{"events", "-f", "-o", "json", "-n", "0"}, args...)...)}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.cmd.Stderr = &f.stderr
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e event
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("%v in %s", err, lines.Bytes())
			}
			f.mu.Lock()
			f.seen = append(f.seen, e)
			f.mu.Unlock()
		}
	}()
	t.Cleanup(func() { _ = f.cmd.Process.Kill() })
	return f
}

// sees waits for an event, and returns it.
func (f *follower) sees(what string, is func(event) bool) (found event) {
	f.t.Helper()
	eventually(f.t, "an event: "+what, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.seen {
			if is(e) {
				found = e
				return true
			}
		}
		return false
	})
	if found.Text == "" || found.Count < 1 {
		f.t.Errorf("%s: %+v", what, found)
	}
	return found
}

// interrupt ends it as Ctrl-C does.
func (f *follower) interrupt() (stderr string) {
	f.t.Helper()
	if err := f.cmd.Process.Signal(os.Interrupt); err != nil {
		f.t.Fatal(err)
	}
	<-f.done
	if err := f.cmd.Wait(); err != nil {
		f.t.Errorf("interrupted: %v", err)
	}
	return f.stderr.String()
}

// TestWatching follows a daemon while it pulls, evicts, meets a damaged file and a registry that is down, and restarts; and
// holds what status says against it.
func TestWatching(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	host := w.reg.Host()
	config := fmt.Sprintf("caches: {memory: {size: 0}}\nttl: {default: always}\nmax_stale: 0\nregistries: {%q: {}}\n", host)
	w.restart(config)
	f := file("f", 1, 1<<20)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, f)
	ref := w.ref("acme/app:v1")

	all := follow(t, w)
	few := follow(t, w, "--kind", "corruption,upstream_failure")
	pulled := func(source string) func(event) bool {
		return func(e event) bool {
			return e.Kind == "pull" && strings.HasPrefix(e.Reference, ref+"@sha256:") && e.Source == source
		}
	}
	// A follower may not be there yet at the first pull.
	eventually(t, "followers", func() bool {
		w.run("cache", "clear")
		w.run("pull", ref)
		all.mu.Lock()
		defer all.mu.Unlock()
		return len(all.seen) > 0
	})
	all.sees("a cold pull", pulled("upstream"))
	w.run("pull", ref)
	all.sees("a warm pull", pulled("checked"))

	w.reads(content(f), "cat", ref, "f")
	w.reads(content(f), "cat", ref, "f")
	if err := damages[0].do(cached(t, w.Cache(), "content")[0]); err != nil {
		t.Fatal(err)
	}
	w.reads(content(f), "cat", ref, "f")
	all.sees("a damaged file", func(e event) bool { return e.Kind == "corruption" && e.Cache == "content" })

	w.run("cache", "clear", "content")
	all.sees("an eviction", func(e event) bool {
		return e.Kind == "eviction" && e.Cache == "content" && e.Reason == "removed" && e.Bytes >= 1<<20
	})

	w.reg.Stop()
	if r := w.Run(t.Context(), "pull", ref); r.Exit != 7 {
		t.Errorf("a registry that is down: %+v", r)
	}
	down := func(e event) bool {
		return e.Kind == "upstream_failure" && e.Registry == host && e.Reason == "UPSTREAM_UNREACHABLE"
	}
	all.sees("a registry that is down", down)
	few.sees("the same, by kind", down)
	few.sees("the damaged file, by kind", func(e event) bool { return e.Kind == "corruption" })
	state := w.watched()
	if s := state.registry(host); s != "failing" {
		t.Errorf("status says that the registry is %q", s)
	}
	if !state.tells("corruption", "") || !state.tells("upstream_failure", host) {
		t.Errorf("status tells of %+v", state.Errors)
	}
	if c := state.cache("content"); c.HitRatio == nil || c.Hits == 0 || c.Misses == 0 {
		t.Errorf("content: %+v", c)
	}
	if n := len(state.History); n == 0 || len(state.LastUsed) != 1 || !strings.HasPrefix(state.LastUsed[0].Reference, host+"/acme/app@") {
		t.Errorf("%d minutes, %+v", n, state.LastUsed)
	}

	if err := w.reg.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the registry is well again", func() bool {
		return w.Run(t.Context(), "pull", ref).Exit == 0 && w.watched().registry(host) == "ok"
	})

	w.stop()
	w.start()
	again := func() int {
		all.mu.Lock()
		defer all.mu.Unlock()
		n := 0
		for _, e := range all.seen {
			if pulled("checked")(e) {
				n += int(e.Count)
			}
		}
		return n
	}
	before := again()
	w.run("pull", ref)
	eventually(t, "the follower goes on with the new daemon", func() bool { return again() > before })
	said := all.interrupt()
	if strings.Count(said, "has gone") != 1 || strings.Count(said, "is back") != 1 {
		t.Errorf("the follower said %q", said)
	}
	few.interrupt()
	for _, e := range few.seen {
		if e.Kind != "corruption" && e.Kind != "upstream_failure" {
			t.Errorf("asked for two kinds, told %+v", e)
		}
	}
}

// watchedStatus is of `blobd status -o json` what is watched.
type watchedStatus struct {
	Caches []watchedCache
	Errors []event
	// Of History its length alone is looked at.
	History    []json.RawMessage
	Registries []struct{ Name, State string }
	LastUsed   []struct{ Reference string } `json:"artifacts_last_used"`
	Flights    []struct {
		Kind, What string
		Callers    int
	} `json:"flights_under_way"`
}

type watchedCache struct {
	Name         string
	Hits, Misses int64
	HitRatio     *float64 `json:"hit_ratio"`
}

func (w *world) watched() (s watchedStatus) {
	w.t.Helper()
	if err := json.Unmarshal(w.run("status", "-o", "json"), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (s watchedStatus) registry(name string) string {
	for _, r := range s.Registries {
		if r.Name == name {
			return r.State
		}
	}
	return ""
}

func (s watchedStatus) cache(name string) watchedCache {
	for _, c := range s.Caches {
		if c.Name == name {
			return c
		}
	}
	return watchedCache{}
}

func (s watchedStatus) tells(kind, registry string) bool {
	for _, e := range s.Errors {
		if e.Kind == kind && e.Registry == registry {
			return true
		}
	}
	return false
}

// TestFlightsAreShown looks at a daemon while it fetches for several callers: what, and for how many.
func TestFlightsAreShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	f := file("f", 1, 8<<20)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
	ref := w.ref("acme/app:v1")
	w.run("pull", ref)
	w.reg.HoldAfter(1 << 20)
	const callers = 3
	var reads sync.WaitGroup
	for range callers {
		reads.Go(func() {
			if r := w.Run(t.Context(), "cat", ref, "f"); r.Exit != 0 || !bytes.Equal(r.Stdout, content(f)) {
				t.Errorf("exit %d, %d bytes: %s", r.Exit, len(r.Stdout), r.Stderr)
			}
		})
	}
	eventually(t, "a flight with all callers", func() bool {
		for _, flight := range w.watched().Flights {
			if flight.Kind == "content" && flight.Callers == callers && strings.HasPrefix(flight.What, "sha256:") {
				return true
			}
		}
		return false
	})
	if text := string(w.run("status")); !strings.Contains(text, "FLIGHT") || !strings.Contains(text, "blocks") {
		t.Errorf("status shows no flights: %s", text)
	}
	w.reg.Release()
	reads.Wait()
	eventually(t, "no flights", func() bool { return len(w.watched().Flights) == 0 })
}
