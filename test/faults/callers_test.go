package faults

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	. "github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/pullthrough"
)

// A caller's own deadline ends its call at the deadline, and nobody else's: the fetch goes on for the others.
func TestDeadlines(t *testing.T) {
	for _, at := range everywhere {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			inWorld(t, setup{}, func(w *world) {
				if places[at].before == 0 && at != tag {
					w.pull(reference, nil)
				}
				w.reg.Reset()
				w.reg.On(places[at].asked(w.content), Delay(10*time.Second, Well))
				var all sync.WaitGroup
				for _, deadline := range []time.Duration{time.Second, 3 * time.Second, time.Minute} {
					all.Go(func() {
						ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
						defer cancel()
						o := w.readIn(ctx, reference, bigFile, 0, -1)
						switch {
						case deadline == time.Minute:
							if o.err != nil || string(o.data) != string(w.files[bigFile]) {
								t.Error(o)
							}
						case o.code() != codes.DeadlineExceeded || o.took > deadline+10*time.Millisecond:
							t.Errorf("deadline %v: %v", deadline, o)
						}
					})
				}
				all.Wait()
				want := 4
				if places[at].before == 0 && at != tag {
					want = 1
				}
				if got := w.reg.Counts().Total(); got != want {
					t.Errorf("%d requests, want %d", got, want)
				}
			})
		})
	}
}

// The last caller to leave ends the fetch; what came is kept, and the next caller goes on from there.
func TestLastCallerLeaves(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		w.pull(reference, nil)
		w.reg.Reset()
		w.reg.On(Blob(w.data), StallAt(3*block))
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if o := w.readIn(ctx, reference, bigFile, 0, -1); o.code() != codes.DeadlineExceeded {
			t.Fatal(o)
		}
		time.Sleep(10 * time.Second) // longer than a flight lingers without followers
		if n := w.service.Status().Flights; n != 0 {
			t.Errorf("%d flights, and nobody waits", n)
		}
		before := w.reg.Counts().Bytes
		w.mustRead(bigFile, 0, -1)
		if got := w.reg.Counts(); got.Range != 2 || got.Bytes-before > bigSize+2000-3*block {
			t.Errorf("%+v after %d bytes", got, before)
		}
		w.sound()
	})
}

// What a caller can get wrong costs the registry nothing.
func TestBadRequests(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		w.pull(reference, nil)
		w.reg.Reset()
		for _, c := range []struct {
			ref, path string
			offset    int64
			want      want
		}{
			{"Not A Reference", smallOne, 0, want{codes.InvalidArgument, fault.InvalidReference, 0, 0, soon}},
			{"", smallOne, 0, want{codes.InvalidArgument, fault.InvalidReference, 0, 0, soon}},
			{registryName + "/" + repository + "@sha256:12", smallOne, 0, want{codes.InvalidArgument, fault.InvalidReference, 0, 0, soon}},
			{reference, "../etc/passwd", 0, want{codes.InvalidArgument, fault.InvalidPath, 0, 0, soon}},
			{reference, "/" + smallOne, 0, want{codes.InvalidArgument, fault.InvalidPath, 0, 0, soon}},
			{reference, smallOne, -1, want{codes.InvalidArgument, fault.InvalidArgument, 0, 0, soon}},
			{reference, smallOne, 1001, want{codes.OutOfRange, fault.OutOfRange, 0, 0, soon}},
			{reference, "none", 0, want{codes.NotFound, fault.FileUnknown, 0, 0, soon}},
		} {
			w.hold(w.readIn(w.t.Context(), c.ref, c.path, c.offset, -1), c.want)
		}
		if got := w.reg.Counts().Total(); got != 0 {
			t.Errorf("%d requests", got)
		}
	})
}

// A daemon that stops refuses new calls, lets those under way end, and says so to those that can't.
func TestStopping(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		w.pull(reference, nil)
		w.reg.On(Blob(w.data), Delay(5*time.Second, Well))
		var calls sync.WaitGroup
		calls.Go(func() { w.mustRead(bigFile, 0, -1) })
		time.Sleep(time.Second)
		calls.Go(func() {
			if err := w.server.Shutdown(w.t.Context()); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		w.hold(w.pull(reference, nil), want{codes.Unavailable, fault.ShuttingDown, time.Millisecond, 0, soon})
		calls.Wait()
	})
	inWorld(t, setup{}, func(w *world) {
		w.pull(reference, nil)
		w.reg.On(Blob(w.data), Stall)
		var calls sync.WaitGroup
		for range 3 {
			calls.Go(func() {
				w.hold(w.read(bigFile, 0, -1), want{codes.Unavailable, fault.ShuttingDown, time.Millisecond, 0, soon})
			})
		}
		time.Sleep(time.Second)
		if err := w.service.Close(w.t.Context()); err != nil {
			t.Error(err)
		}
		calls.Wait()
	})
}

// A file that has to be checked before it is read, and that no cache has room for, is refused with a time to come back.
func TestNoRoom(t *testing.T) {
	inWorld(t, setup{maxSize: 128 << 10, policy: func(p *pullthrough.Policy) { p.MaxIndex = 1 << 20 }}, func(w *world) {
		stream, err := w.client.ReadFile(w.t.Context(), &blobdv1.ReadFileRequest{
			Reference: reference, Path: bigFile, Options: &blobdv1.ReadOptions{RequireVerified: true},
		})
		for err == nil {
			_, err = stream.Recv()
		}
		w.hold(outcome{err: err}, want{codes.ResourceExhausted, fault.LocalOverload, time.Millisecond, 0, soon})
		w.mustRead(bigFile, 0, -1) // unchecked beforehand it passes through
	})
}

// Bodies that were cut and resumed leave nothing behind that 64 parallel reads would have to wait for: neither a slot, nor
// a goroutine, nor a connection. (fetcher has a thousand of them.)
func TestCutBodies(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		w.pull(reference, nil)
		const bodies = 150
		for range bodies {
			synctest.Wait() // who holds a block still, keeps it from being cleared
			w.reg.Heal()
			if _, err := w.service.Clear(w.t.Context(), []string{"content", "block", "memory"}); err != nil {
				t.Fatal(err)
			}
			w.reg.On(Blob(w.data), Cut(4*block+100))
			w.mustRead(bigFile, 4*block, 200)
		}
		if got := w.reg.Counts(); got.Range != 2*bodies {
			t.Fatalf("%+v", got)
		}
		synctest.Wait()
		if _, err := w.service.Clear(w.t.Context(), []string{"content", "block", "memory"}); err != nil {
			t.Fatal(err)
		}
		w.reg.Heal()
		w.reg.Always(Blob(w.data), Delay(time.Second, Well))
		began := time.Now()
		errs := make(chan error, 64)
		for i := range 64 {
			go func() {
				o := w.read(bigFile, int64(i%6)*block, 100)
				errs <- o.err
			}()
		}
		var all error
		for range 64 {
			all = errors.Join(all, <-errs)
		}
		if took := time.Since(began); all != nil || took > 1100*time.Millisecond {
			t.Fatalf("64 parallel reads of one second took %v: %v", took, all)
		}
	})
}
