package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
)

// commands are the deeds that go through the command line, each a process of its own.
var commands = []deed{
	{"cat", 10, (*worker).cat},
	{"cat range", 5, (*worker).catRange},
	{"ls -R", 4, (*worker).ls},
	{"pull --all", 3, (*worker).pullAll},
	{"kill cat", 3, (*worker).killCat},
	{"status", 1, (*worker).status},
	{"pin", 3, (*worker).pin},
	{"unpin", 3, (*worker).unpin},
	{"prune", 2, (*worker).prune},
	{"clear", 1, (*worker).clear},
	{"rm", 3, (*worker).remove},
	{"verify", 1, (*worker).verify},
	{"cache ls", 1, (*worker).listArtifacts},
}

// failed is a command that failed, and what it said of that.
type failed struct {
	exit   int
	reason string
	stderr string
}

func (f *failed) Error() string { return fmt.Sprintf("exit code %d: %s", f.exit, f.stderr) }

// As makes it the error that the client library would have returned.
func (f *failed) As(target any) bool {
	e, ok := target.(**client.Error)
	if ok {
		*e = &client.Error{Reason: f.reason, Message: f.Error()}
	}
	return ok
}

// Exit codes of commands, as far as they are looked at here.
const (
	exitOther     = 1
	exitIntegrity = 5
	exitTimeout   = 8
)

// command runs one to its end and returns its stdout. It knows no deadline, and so has the longest that there is.
func (w *worker) command(t *attempt, args ...string) ([]byte, error) {
	t.deadline = patience
	var stdout, stderr bytes.Buffer
	cmd := w.daemon.host.Command(w.abort, append([]string{"-o", "json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	hung := time.AfterFunc(patience+overtime, func() { _ = cmd.Process.Kill() })
	err := cmd.Run()
	hung.Stop()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return stdout.Bytes(), err
	}
	f := &failed{exit: exit.ExitCode(), stderr: strings.TrimSpace(stderr.String())}
	for line := range strings.Lines(stderr.String()) {
		var said struct {
			Error struct {
				Reason string `json:"reason"`
			} `json:"error"`
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Error.Reason != "" {
			f.reason = said.Error.Reason
		}
	}
	if f.exit == exitTimeout && f.reason == "" {
		f.reason = string(deadlineExceeded)
	}
	if f.exit == exitOther {
		return nil, violated("%v", f)
	}
	return stdout.Bytes(), f
}

// flags are those of the command line for what the attempt asks.
func (t *attempt) flags(files bool) (out []string) {
	if t.noCache {
		out = append(out, "--no-cache")
	}
	if t.maxAge >= 0 {
		out = append(out, "--max-age", t.maxAge.String())
	}
	if t.requireFresh {
		out = append(out, "--require-fresh")
	}
	if files && t.requireVerified {
		out = append(out, "--require-verified")
	}
	return out
}

// meant are the archives that an answer that has just come may be of.
func (w *worker) meant(t *attempt) []*archive {
	t.ended = time.Now()
	t.ttl = w.settings.ttl(t.tag, t.began, t.ended)
	return w.oracle.candidates(t.asked)
}

func (w *worker) cat(_ context.Context, t *attempt) error {
	var names []string
	for range 1 + w.rng.IntN(3) {
		names = append(names, paths[w.rng.IntN(len(paths))])
	}
	t.tolerated = append(t.tolerated, fault.FileUnknown)
	t.mayOverload()
	got, err := w.command(t, slices.Concat([]string{"cat"}, t.flags(true), []string{t.text}, names)...)
	may := w.meant(t)
	if err != nil {
		if reasonOf(err) == fault.FileUnknown && !slices.ContainsFunc(may, func(a *archive) bool { return a.lacks(names) }) {
			return violated("%q are in each of %v: %v", names, may, err)
		}
		return err
	}
	t.bytes += int64(len(got))
	return w.oneOf(may, func(a *archive) error {
		rest := got
		for _, name := range names {
			f := a.file(name)
			if f == nil || int64(len(rest)) < f.size() {
				return fmt.Errorf("%s does not have %q, or not %d bytes of them", a, names, len(got))
			}
			if err := w.oracle.content(a, name, 0, rest[:f.size()], true); err != nil {
				return err
			}
			rest = rest[f.size():]
		}
		if len(rest) > 0 {
			return fmt.Errorf("%q of %s: %d bytes too many", names, a, len(rest))
		}
		return nil
	})
}

// lacks reports whether one of the files is not in the archive.
func (a *archive) lacks(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return a.file(name) == nil })
}

// oneOf wants one of the archives to be what was read: all of it, not a part of this one and a part of that.
func (w *worker) oneOf(may []*archive, is func(*archive) error) error {
	errs := []error{fmt.Errorf("of %v, none is what came", may)}
	for _, a := range may {
		err := is(a)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return violated("%v", errors.Join(errs...))
}

func (w *worker) catRange(_ context.Context, t *attempt) error {
	name := paths[w.rng.IntN(len(paths))]
	offset, length := w.rng.Int64N(small), w.rng.Int64N(2*block)
	t.tolerated = append(t.tolerated, fault.FileUnknown, fault.OutOfRange)
	t.mayOverload()
	got, err := w.command(t, slices.Concat([]string{"cat"}, t.flags(true),
		[]string{"--offset", fmt.Sprint(offset), "--length", fmt.Sprint(length), t.text, name})...)
	may := w.meant(t)
	if err != nil {
		return err
	}
	t.bytes += int64(len(got))
	return w.oneOf(may, func(a *archive) error {
		f := a.file(name)
		if f == nil || int64(len(got)) != min(length, f.size()-offset) {
			return fmt.Errorf("%s does not have %q, or not %d bytes from %d on", a, name, len(got), offset)
		}
		return w.oracle.content(a, name, offset, got, t.requireVerified)
	})
}

func (w *worker) ls(_ context.Context, t *attempt) error {
	got, err := w.command(t, slices.Concat([]string{"ls", "-R"}, t.flags(false), []string{t.text})...)
	may := w.meant(t)
	if err != nil {
		return err
	}
	var names strings.Builder
	for line := range strings.Lines(string(got)) {
		var e struct{ Path, Type string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return violated("ls printed %q: %v", line, err)
		}
		if e.Type == "directory" {
			e.Path += "/"
		}
		fmt.Fprintln(&names, e.Path)
	}
	return w.oneOf(may, func(a *archive) error {
		if want := a.listing(); names.String() != want {
			return fmt.Errorf("ls lists %q, and %s has %q", names.String(), a, want)
		}
		return nil
	})
}

func (w *worker) pullAll(_ context.Context, t *attempt) error {
	t.mayOverload()
	got, err := w.command(t, slices.Concat([]string{"pull", "--all"}, t.flags(true), []string{t.text})...)
	if err != nil {
		return err
	}
	var out struct{ Digest string }
	if err := json.Unmarshal(got, &out); err != nil {
		return violated("pull printed %q: %v", got, err)
	}
	_, err = w.resolvedSometime(t, client.Resolution{Digest: out.Digest})
	return err
}

// killCat kills a reader while it reads.
func (w *worker) killCat(ctx context.Context, t *attempt) error {
	cmd := w.daemon.host.Command(w.abort, "cat", t.text, paths[0], paths[9])
	if err := cmd.Start(); err != nil {
		return err
	}
	sleep(ctx, w.rng, 60*time.Millisecond)
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
	return nil
}

func (w *worker) status(_ context.Context, t *attempt) error {
	_, err := w.command(t, "status")
	return err
}

// durably runs a command that changes what must outlive the daemon, which a full disk does not let it.
func (w *worker) durably(t *attempt, args ...string) ([]byte, error) {
	out, err := w.command(t, args...)
	if now := time.Now(); w.blame.acted(noSpace, "", t.began, now) || w.blame.acted(noInodes, "", t.began, now) {
		t.tolerated = append(t.tolerated, fault.LocalOverload)
	}
	return out, err
}

// pins are the archives that are pinned, as far as is known. They are few and small, so that limits that shrink don't make
// them too many.
type pins struct {
	mu   sync.Mutex // guards list
	list []string   // references by digest
}

const (
	pinsMost    = 4
	pinLargest  = 400 << 10
	pinLookedAt = 20
)

func (w *worker) pin(ctx context.Context, t *attempt) error {
	var a *archive
	for range pinLookedAt {
		if a = w.someArchive(""); a.size() <= pinLargest {
			break
		}
	}
	w.byDigest(t, a)
	t.text = w.registry.Host() + "/" + t.text
	w.pins.mu.Lock()
	full := len(w.pins.list) >= pinsMost
	if !full {
		w.pins.list = append(w.pins.list, t.text) // also if it fails: the answer may be lost, and the pin stand
	}
	w.pins.mu.Unlock()
	if full || a.size() > pinLargest {
		return w.unpin(ctx, t)
	}
	t.tolerated = append(t.tolerated, fault.PinBudget, fault.ArtifactUnknown) // of one that is removed meanwhile
	_, err := w.durably(t, "pin", t.text)
	return err
}

func (w *worker) unpin(_ context.Context, t *attempt) error {
	w.pins.mu.Lock()
	if n := len(w.pins.list); n > 0 {
		t.text = w.pins.list[0]
	}
	w.pins.mu.Unlock()
	t.tolerated = append(t.tolerated, fault.ArtifactUnknown)
	_, err := w.durably(t, "unpin", t.text)
	if err == nil || reasonOf(err) == fault.ArtifactUnknown {
		w.pins.mu.Lock()
		w.pins.list = slices.DeleteFunc(w.pins.list, func(one string) bool { return one == t.text })
		w.pins.mu.Unlock()
	}
	return err
}

func (w *worker) prune(_ context.Context, t *attempt) error {
	args := [][]string{{}, {"--target", "2MiB"}, {"--target", "0"}, {"--unused-for", "3s"}, {"--dry-run"}}[w.rng.IntN(5)]
	_, err := w.command(t, append([]string{"cache", "prune"}, args...)...)
	return err
}

func (w *worker) clear(_ context.Context, t *attempt) error {
	args := [][]string{{}, {"ref"}, {"content", "memory"}, {"block"}, {"manifest", "index"}}[w.rng.IntN(5)]
	_, err := w.command(t, append([]string{"cache", "clear"}, args...)...)
	return err
}

func (w *worker) remove(_ context.Context, t *attempt) error {
	t.tolerated = append(t.tolerated, fault.ArtifactUnknown, fault.Pinned)
	_, err := w.durably(t, "cache", "rm", t.text)
	return err
}

// verify finds what the disk or the registry made of the entries, and nothing else.
func (w *worker) verify(_ context.Context, t *attempt) error {
	out, err := w.command(t, "cache", "verify")
	if f, ok := errors.AsType[*failed](err); ok && f.exit == exitIntegrity {
		if w.blame.count(flipped, truncated, rewritten, deleted) == 0 && !w.oracle.lying() {
			return violated("verify finds something bad, and nothing was damaged: %s", out)
		}
		return nil
	}
	return err
}

func (w *worker) listArtifacts(_ context.Context, t *attempt) error {
	out, err := w.command(t, "cache", "ls")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		var a struct{ Digest string }
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			return violated("cache ls printed %q: %v", line, err)
		}
		if w.oracle.archive(digest.Digest(a.Digest)) == nil {
			return violated("cache ls lists %s, which was never pushed", a.Digest)
		}
	}
	return nil
}
