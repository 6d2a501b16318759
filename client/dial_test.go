package client_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/client/clienttest"
)

func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "blobd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestNoDaemon(t *testing.T) {
	path := filepath.Join(socketDir(t), "none.sock")
	_, err := client.Dial(t.Context(), client.WithSocket(path), client.WithStartTimeout(0))
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Reason != client.DaemonUnreachable || e.Code != codes.Unavailable ||
		!strings.Contains(e.Message, path) || !strings.Contains(e.Remedy, "blobd serve") {
		t.Errorf("got %+v", err)
	}
}

// Whether the daemon listens before or after the first attempt, Dial ends well.
func TestDialWaitsForAStart(t *testing.T) {
	path := filepath.Join(socketDir(t), "late.sock")
	dialled := make(chan error)
	go func() {
		c, err := client.Dial(t.Context(), client.WithSocket(path), client.WithStartTimeout(20*time.Second))
		if err == nil {
			err = c.Close()
		}
		dialled <- err
	}()
	d, err := clienttest.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	if err := <-dialled; err != nil {
		t.Error(err)
	}
}

func TestRestartedDaemonIsFoundAgain(t *testing.T) {
	path := filepath.Join(socketDir(t), "blobd.sock")
	first, err := clienttest.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	first.Tag(ref, files())
	c := dial(t, first)
	a := pull(t, c)
	first.Stop()
	_, err = a.ReadFile("hello.txt")
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != client.DaemonUnreachable {
		t.Fatalf("without a daemon: %v", err)
	}
	second, err := clienttest.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Stop()
	second.Tag(ref, files())
	if got, err := a.ReadFile("hello.txt"); err != nil || string(got) != "hello\n" {
		t.Errorf("after the restart: %q, %v", got, err)
	}
}

func TestTriesAgainWhatWasNotBegun(t *testing.T) {
	starting := clienttest.Status(codes.Unavailable, "STARTING", "blobd is starting", "", time.Millisecond)
	upstream := clienttest.Status(codes.Unavailable, "UPSTREAM_UNREACHABLE", "registry.example: no route", "", time.Millisecond)
	for _, row := range []struct {
		name  string
		err   error
		fails int32 // how many calls fail
		tries int32 // how many are made
		ok    bool
	}{
		{"none", starting, 0, 1, true},
		{"up to three", starting, 3, 4, true},
		{"no more than four", starting, 9, 4, false},
		{"never the registry's trouble", upstream, 1, 1, false},
	} {
		for _, method := range []string{"Pull", "ReadFile", "List"} {
			t.Run(row.name+" "+method, func(t *testing.T) {
				d := clienttest.Start(t)
				d.Tag(ref, files())
				var calls atomic.Int32
				d.Before = func(c clienttest.Call) error {
					if c.Method == method && calls.Add(1) <= row.fails {
						return row.err
					}
					return nil
				}
				a, err := dial(t, d).Pull(t.Context(), ref)
				if err == nil && method == "ReadFile" {
					_, err = a.ReadFile("big.bin")
				}
				if err == nil && method == "List" {
					_, err = a.ReadDir(".")
				}
				if (err == nil) != row.ok || calls.Load() != row.tries {
					t.Errorf("%d tries, %v; want %d, ok %v", calls.Load(), err, row.tries, row.ok)
				}
			})
		}
	}
}

// A stream that broke midway is not begun anew: its reader has seen bytes.
func TestNeverTriesAgainMidway(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, files())
	d.AfterData = func(clienttest.Call) error {
		return clienttest.Status(codes.Unavailable, "SHUTTING_DOWN", "blobd is shutting down", "", time.Millisecond)
	}
	_, err := pull(t, dial(t, d)).ReadFile("hello.txt")
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != "SHUTTING_DOWN" {
		t.Errorf("got %v", err)
	}
	reads := 0
	for _, c := range d.Calls() {
		if c.Method == "ReadFile" {
			reads++
		}
	}
	if reads != 1 {
		t.Errorf("%d reads", reads)
	}
}

func TestDeniedSocket(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may open every socket")
	}
	d := clienttest.Start(t)
	if err := os.Chmod(d.Socket, 0); err != nil {
		t.Fatal(err)
	}
	_, err := client.Dial(t.Context(), client.WithSocket(d.Socket))
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != client.SocketDenied || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}
