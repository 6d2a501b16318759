package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
)

// deed is something that a worker does again and again.
type deed struct {
	kind   string
	weight int
	do     func(w *worker, ctx context.Context, t *attempt) error
}

// reads are the deeds that go through the client library.
var reads = []deed{
	{"read file", 20, (*worker).readFile},
	{"stream", 14, (*worker).streamFile},
	{"range", 20, (*worker).readRange},
	{"read at", 8, (*worker).readAt},
	{"list", 6, (*worker).list},
	{"stat", 4, (*worker).stat},
	{"manifest", 4, (*worker).manifest},
	{"hold", 8, (*worker).hold},
	{"prefetch", 3, (*worker).prefetch},
	{"missing file", 3, (*worker).missingFile},
	{"past the end", 2, (*worker).pastEnd},
	{"cancel", 6, (*worker).cancel},
	{"vanish", 3, (*worker).vanish},
	{"slow", 3, (*worker).slow},
	{"idle", 1, (*worker).idle},
}

// run does deeds until ctx ends.
func (w *worker) run(ctx context.Context, deeds []deed) {
	defer w.hangUp()
	total := 0
	for _, d := range deeds {
		total += d.weight
	}
	for ctx.Err() == nil && w.abort.Err() == nil {
		n := w.rng.IntN(total)
		i := 0
		for n >= deeds[i].weight {
			n -= deeds[i].weight
			i++
		}
		pause := pauseAfter
		if !w.do(w.attempt(deeds[i].kind), func(ctx context.Context, t *attempt) error { return deeds[i].do(w, ctx, t) }) {
			pause = pauseAfterFailure
		}
		sleep(ctx, w.rng, pause)
	}
}

// Pauses leave the daemon some of the processor; and failures that come at once should not be most of what is tried.
const (
	pauseAfter        = 10 * time.Millisecond
	pauseAfterFailure = 200 * time.Millisecond
)

// pull resolves the reference and holds the answer against the oracle.
func (w *worker) pull(ctx context.Context, t *attempt) (*client.Archive, *archive, error) {
	if err := w.dial(ctx); err != nil {
		return nil, nil, err
	}
	a, err := w.client.Pull(ctx, t.text, t.options()...)
	if err != nil {
		return nil, nil, err
	}
	is, err := w.resolved(t, a.Resolution)
	if err != nil {
		return nil, nil, err
	}
	if a.Files != int64(len(is.files)) || a.Size != is.size() {
		return nil, nil, violated("%s has %d files of %d bytes, the answer says %d of %d", is, len(is.files), is.size(), a.Files, a.Size)
	}
	return a.WithContext(ctx), is, nil
}

// resolved holds the answer to an attempt that just came against the oracle.
func (w *worker) resolved(t *attempt, r client.Resolution) (*archive, error) {
	t.ended = time.Now()
	t.ttl = w.settings.ttl(t.tag, t.began, t.ended)
	is, err := w.oracle.resolved(t.asked, answer{digest: digest.Digest(r.Digest), stale: r.Stale, age: r.Age})
	if err != nil {
		return nil, violated("%v", err)
	}
	if r.Stale {
		w.tally.staleServed()
		if !w.blame.excusesStale(t.repository, t.began, t.ended) {
			return nil, violated("stale, %v old, and nothing that was done explains why", r.Age)
		}
	}
	return is, nil
}

func (w *worker) someFile(a *archive) *file { return &a.files[w.rng.IntN(len(a.files))] }

// check counts bytes, and holds them against what they should be.
func (w *worker) check(t *attempt, a *archive, path string, offset int64, got []byte, verified bool) error {
	t.bytes += int64(len(got))
	if err := w.oracle.content(a, path, offset, got, verified); err != nil {
		return violated("%v", err)
	}
	return nil
}

func (w *worker) readFile(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	return w.whole(a, is, t)
}

func (w *worker) whole(a *client.Archive, is *archive, t *attempt) error {
	f := w.someFile(is)
	t.mayOverload(f)
	got, err := a.ReadFile(f.path)
	if err != nil {
		return err
	}
	if int64(len(got)) != f.size() {
		return violated("%q of %s: %d bytes, want %d", f.path, is, len(got), f.size())
	}
	return w.check(t, is, f.path, 0, got, true)
}

// mayOverload lets a read that requires to be verified fail for want of room: a file that is not read in one piece must be
// kept to be checked before it is passed on, and all that is in the cache may be in use.
func (t *attempt) mayOverload(of ...*file) {
	if t.requireVerified && !slices.ContainsFunc(of, func(f *file) bool { return f.size() <= small }) {
		t.tolerated = append(t.tolerated, fault.LocalOverload)
	}
}

func (w *worker) streamFile(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	f := w.someFile(is)
	return w.stream(a, is, t, f, 0, -1, io.Copy)
}

func (w *worker) readRange(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	return w.part(a, is, t)
}

func (w *worker) part(a *client.Archive, is *archive, t *attempt) error {
	f := w.someFile(is)
	offset, length := w.somePart(f)
	return w.stream(a, is, t, f, offset, length, io.Copy)
}

// somePart of a file may pass its end.
func (w *worker) somePart(f *file) (offset, length int64) {
	offset = w.rng.Int64N(f.size() + 1)
	if w.rng.IntN(3) == 0 {
		offset = offset / block * block
	}
	return offset, w.rng.Int64N([]int64{100, block, 2 * block, 1 << 20}[w.rng.IntN(4)])
}

// stream reads a part of a file to its end with copy. What arrives before an error counts only where it was to be checked
// before it is passed on.
func (w *worker) stream(
	a *client.Archive, is *archive, t *attempt, f *file, offset, length int64, copy func(io.Writer, io.Reader) (int64, error),
) error {
	t.mayOverload(f)
	s, err := a.OpenRange(f.path, offset, length)
	if err != nil {
		return err
	}
	defer s.Close()
	want := f.size() - offset
	if length >= 0 {
		want = min(want, length)
	}
	var got bytes.Buffer
	_, err = copy(&got, s)
	if err != nil {
		if t.requireVerified {
			err = errors.Join(w.check(t, is, f.path, offset, got.Bytes(), true), err)
		}
		return err
	}
	if s.Len() != want || int64(got.Len()) != want {
		return violated("%q of %s from %d: %d bytes came and %d were announced, want %d", f.path, is, offset, got.Len(), s.Len(), want)
	}
	whole := want == f.size()
	if !s.Verified() && (whole && want > 0 || t.requireVerified) {
		return violated("%q of %s: %d bytes from %d are not verified", f.path, is, want, offset)
	}
	return w.check(t, is, f.path, offset, got.Bytes(), s.Verified())
}

func (w *worker) readAt(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	f := w.someFile(is)
	t.mayOverload(f)
	opened, err := a.Open(f.path)
	if err != nil {
		return err
	}
	defer opened.Close()
	for range 1 + w.rng.IntN(4) {
		offset, length := w.somePart(f)
		p := make([]byte, length)
		n, err := opened.(io.ReaderAt).ReadAt(p, offset)
		if err != nil && err != io.EOF {
			return err
		}
		if want := min(length, f.size()-offset); int64(n) != want || (err == io.EOF) != (int64(n) < length) && length > 0 {
			return violated("%q of %s: ReadAt(%d, %d) gave %d bytes, %v", f.path, is, length, offset, n, err)
		}
		if err := w.check(t, is, f.path, offset, p[:n], t.requireVerified || int64(n) == f.size()); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) list(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	var names []string
	for e, err := range a.List(ctx, ".", true) {
		if err != nil {
			return err
		}
		if e.Directory {
			continue
		}
		names = append(names, e.Path)
		if f := is.file(e.Path); f == nil || f.size() != e.Size {
			return violated("%s: the list has %q of %d bytes", is, e.Path, e.Size)
		}
	}
	if len(names) != len(is.files) {
		return violated("%s has %d files, the list %d: %q", is, len(is.files), len(names), names)
	}
	return nil
}

func (w *worker) stat(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	f := w.someFile(is)
	info, err := a.Stat(f.path)
	if err != nil {
		return err
	}
	if info.Size() != f.size() || info.IsDir() {
		return violated("%q of %s: stat says %d bytes, want %d", f.path, is, info.Size(), f.size())
	}
	return nil
}

func (w *worker) manifest(ctx context.Context, t *attempt) error {
	if err := w.dial(ctx); err != nil {
		return err
	}
	r, raw, err := w.client.Manifest(ctx, t.text, t.options()...)
	if err != nil {
		return err
	}
	is, err := w.resolved(t, r)
	if err != nil {
		return err
	}
	if !bytes.Equal(raw, is.manifest) {
		return violated("the manifest of %s is %q", is, raw)
	}
	return nil
}

// hold opens an archive and reads on in it for some seconds, whatever becomes of the tag and the daemon.
func (w *worker) hold(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	for range 2 + w.rng.IntN(6) {
		if !sleep(ctx, w.rng, 300*time.Millisecond) {
			return nil // all was well as long as it had time
		}
		read := w.part
		if w.rng.IntN(2) == 0 {
			read = w.whole
		}
		if err := read(a, is, t); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) prefetch(ctx context.Context, t *attempt) error {
	if err := w.dial(ctx); err != nil {
		return err
	}
	var patterns []string
	if w.rng.IntN(2) == 0 {
		patterns = []string{"css", "docs/*", paths[w.rng.IntN(len(paths))]}
		t.tolerated = append(t.tolerated, fault.FileUnknown) // of a pattern that nothing matches
	}
	t.mayOverload()
	r, p, err := w.client.Prefetch(ctx, t.text, patterns, nil, t.options()...)
	if err != nil {
		return err
	}
	is, err := w.resolvedSometime(t, r)
	if err != nil {
		return err
	}
	if p.FilesDone != p.FilesTotal || p.BytesDone != p.BytesTotal || patterns == nil && p.FilesTotal != int64(len(is.files)) {
		return violated("%s: prefetched %+v", is, p)
	}
	return nil
}

// resolvedSometime is resolved for an answer whose moment is not known, since much was done after it: all that its reference
// may have meant since the call began is right.
func (w *worker) resolvedSometime(t *attempt, r client.Resolution) (*archive, error) {
	if is := w.oracle.archive(digest.Digest(r.Digest)); is != nil {
		t.ended = time.Now()
		t.ttl = w.settings.ttl(t.tag, t.began, t.ended)
		if slices.Contains(w.oracle.candidates(t.asked), is) {
			return is, nil
		}
	}
	return nil, violated("%s is not what the reference was: %s", r.Digest, w.oracle.history(t.name))
}

func (w *worker) missingFile(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	name := []string{"no/such/file", "css/missing", "index.html/x", "zzz"}[w.rng.IntN(4)]
	t.tolerated = append(t.tolerated, fault.FileUnknown)
	got, err := a.ReadFile(name)
	if err == nil {
		return violated("%s has no %q, and %d bytes of it came", is, name, len(got))
	}
	return err
}

func (w *worker) pastEnd(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	f := w.someFile(is)
	t.tolerated = append(t.tolerated, fault.OutOfRange)
	s, err := a.OpenRange(f.path, f.size()+1+w.rng.Int64N(1000), 10)
	if err == nil {
		s.Close()
		return violated("%q of %s has %d bytes, and was read past them", f.path, is, f.size())
	}
	return err
}

// cancel breaks off, in the midst of a read if it takes long enough.
func (w *worker) cancel(ctx context.Context, t *attempt) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := time.AfterFunc(time.Duration(w.rng.IntN(60))*time.Millisecond, cancel)
	defer stop.Stop()
	t.gaveUp = true
	return w.readFile(ctx, t)
}

// vanish has the connection go away in the midst of a read.
func (w *worker) vanish(ctx context.Context, t *attempt) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	f := w.someFile(is)
	t.mayOverload(f)
	s, err := a.OpenRange(f.path, 0, -1)
	if err != nil {
		return err
	}
	_, _ = s.Read(make([]byte, 1000))
	w.hangUp()
	return nil
}

// slow reads in small pieces, with pauses.
func (w *worker) slow(ctx context.Context, t *attempt) error {
	return w.paced(ctx, t, 20*time.Millisecond, 0)
}

// idle reads, and then for longer than the daemon waits takes nothing.
func (w *worker) idle(ctx context.Context, t *attempt) error {
	t.tolerated = append(t.tolerated, readerIdle)
	return w.paced(ctx, t, time.Millisecond, idleTimeout*3/2)
}

func (w *worker) paced(ctx context.Context, t *attempt, pause, rest time.Duration) error {
	a, is, err := w.pull(ctx, t)
	if err != nil {
		return err
	}
	t.tolerated = append(t.tolerated, fault.LocalOverload) // who is too slow for what can't be kept is left behind
	return w.stream(a, is, t, w.someFile(is), 0, -1, func(to io.Writer, from io.Reader) (n int64, err error) {
		p := make([]byte, 32<<10)
		for {
			k, err := from.Read(p)
			_, _ = to.Write(p[:k]) // into memory
			n += int64(k)
			if err == io.EOF {
				return n, nil
			}
			if err != nil {
				return n, err
			}
			sleep(ctx, w.rng, max(pause, rest))
			rest = 0
		}
	})
}
