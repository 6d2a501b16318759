package pullthrough

import (
	"context"
	"errors"
	"hash/maphash"
	"io"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// restartsMost bounds how often one stream begins anew because it was too slow for a file that can't be kept.
const restartsMost = 8

// flightSource follows a content flight. When the flight leaves it behind, or turns out wrong, it begins anew, and goes
// on only when the bytes that it handed out stand there too.
type flightSource struct {
	ctx        context.Context
	svc        *Service
	scope      oci.Scope
	entry      *archive.Entry
	rng        archive.Range
	pos, limit int64
	whole      bool // all of the file is read, if not all from the flight: it ends only when the flight has ended well
	mustVerify bool // no byte of a flight before its end, where the file was checked

	flight   *contentFlight
	follower *follower
	checked  bool // with mustVerify: the flight has ended well
	restarts int
	retried  bool // after wrong bytes
	chunk    []byte

	sent int64 // bytes handed out, which end at pos
	seen maphash.Hash
	// How many of the bytes handed out were found in the flight that is followed now, and their hash: less than sent
	// only after a restart.
	passed int64
	again  maphash.Hash
}

func (f *flightSource) start(key contentKey) {
	f.flight, f.follower = f.svc.joinContent(f.ctx, key, f.scope, f.entry, f.rng)
	f.checked = false
}

func (f *flightSource) Read(p []byte) (int, error) {
	for {
		if err := f.awaitVerified(); err != nil {
			return 0, err
		}
		n, err := f.advance(p)
		if err == nil || err == io.EOF {
			return n, err
		}
		if err := f.restart(err); err != nil {
			return 0, err
		}
	}
}

// advance hands out what has come since; at the end of a whole file it waits for the flight's verdict.
func (f *flightSource) advance(p []byte) (int, error) {
	if err := f.catchUp(); err != nil {
		return 0, err
	}
	if f.pos < f.limit {
		n, err := f.copy(p[:min(int64(len(p)), f.limit-f.pos)], f.pos)
		f.pos += int64(n)
		f.sent += int64(n)
		f.passed = f.sent
		f.seen.Write(p[:n])
		return n, err
	}
	if f.whole {
		if err := f.awaitEnd(); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// catchUp passes over the bytes that were handed out before a restart, and compares them.
func (f *flightSource) catchUp() error {
	if f.passed == f.sent {
		return nil
	}
	buf := make([]byte, blockSize)
	for f.passed < f.sent {
		n, err := f.copy(buf[:min(blockSize, f.sent-f.passed)], f.pos-f.sent+f.passed)
		if err != nil {
			return err
		}
		f.again.Write(buf[:n])
		f.passed += int64(n)
	}
	if f.again.Sum64() != f.seen.Sum64() {
		f.retried = true // another try can't call back what was handed out
		return fault.New(fault.DigestMismatch, "file %q: bytes that were handed out turned out wrong", f.entry.Path).Try("read it again")
	}
	return nil
}

// copy copies bytes from pos, as many as have come.
func (f *flightSource) copy(p []byte, pos int64) (int, error) {
	chunk := int(pos / blockSize)
	next, err := f.flight.feed.await(f.ctx, f.follower, chunk)
	if err != nil {
		return 0, err
	}
	if file := f.flight.file; file != nil {
		have := min(int64(next)*blockSize, f.entry.Size)
		n, err := file.ReadAt(p[:min(int64(len(p)), have-pos)], pos)
		if n == 0 {
			return 0, errors.Join(errLagged, err)
		}
		return n, nil
	}
	if f.chunk == nil {
		f.chunk = make([]byte, blockSize)
	}
	n, ok := f.flight.feed.copyWindow(chunk, f.chunk)
	if !ok {
		return 0, errLagged
	}
	return copy(p, f.chunk[pos-int64(chunk)*blockSize:n]), nil
}

func (f *flightSource) awaitEnd() error {
	_, err := f.flight.feed.await(f.ctx, f.follower, blocksOf(f.entry.Size))
	return err
}

// awaitVerified waits, where the call requires it, for the end of the flight before a byte of it is handed out: of the
// first one, and of those that take over where the disk spoils what was checked. It fails for a file that nothing can hold
// until then.
func (f *flightSource) awaitVerified() error {
	for f.mustVerify && !f.checked {
		_, err := f.flight.feed.await(f.ctx, f.follower, 0)
		if err == nil && f.flight.file == nil {
			return fault.New(fault.LocalOverload, "file %q can't be verified before it is read: the cache has no room for it",
				f.entry.Path).Try("raise max_size, or read it without requiring that")
		}
		if err == nil {
			err = f.awaitEnd()
		}
		if err == nil {
			f.checked = true
			return nil
		}
		if err := f.restart(err); err != nil {
			return err
		}
	}
	return nil
}

// restart follows another flight, or returns the error to hand out.
func (f *flightSource) restart(cause error) error {
	key := f.flight.key
	switch {
	case f.ctx.Err() != nil:
		return f.ctx.Err()
	case errors.Is(cause, errDeserted): // it was given up just as this one joined
	case errors.Is(cause, errLagged):
		if f.restarts++; f.restarts > restartsMost {
			return fault.Wrap(fault.LocalOverload, cause, "file %q: its reader is too slow for a file that the cache has no room for", f.entry.Path)
		}
		key.unkept, key.fresh = !f.mustVerify, false // what nothing keeps can't be checked first
	case errors.Is(cause, fault.DigestMismatch) && !f.retried:
		f.retried, key.fresh = true, true
	case f.flight.scope != f.scope: // what it may not read, this one may
		key.scope = f.scope
	default:
		return cause
	}
	f.close()
	f.start(key)
	f.passed = 0
	f.again.SetSeed(f.seen.Seed())
	return nil
}

func (f *flightSource) from() string {
	if f.verified() {
		return f.flight.from
	}
	return "upstream"
}

func (f *flightSource) verified() bool {
	_, ended, err := f.flight.feed.progress()
	return ended && err == nil
}

func (f *flightSource) close() {
	f.flight.feed.leave(f.follower)
	f.flight.release()
}
