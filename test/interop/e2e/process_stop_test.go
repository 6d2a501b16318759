package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
)

// TestStopUnderStreams stops a daemon while fifty processes read from a registry that is too slow for most of them to come
// to their end within the drain limit. Each gets all bytes and exit code 0, or the first of them and an error: none takes
// a part for the whole. The daemon ends in time, with exit code 0.
func TestStopUnderStreams(t *testing.T) {
	t.Parallel()
	const (
		drain = 3 * time.Second
		slack = 15 * time.Second // for storage to close, on a busy machine; far below what the slow reads would take
	)
	w := newWorld(t, setup{config: fmt.Sprintf("drain_timeout: %s\n", drain)})
	var files []archivetest.File
	for i := range crowd {
		size := int64(mib)
		if i%5 == 0 {
			size = 64 << 10 // may come to its end
		}
		files = append(files, file(fmt.Sprintf("f%02d", i), uint64(i), size))
	}
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, files...)
	ref := w.ref("acme/app:v1")
	w.run("pull", ref)
	w.reg.Throttle(mib) // all of it in 40 s

	dest := filepath.Join(t.TempDir(), "dest")
	var copying sync.WaitGroup
	copying.Go(func() {
		if r := w.Run(t.Context(), "cp", ref, dest); r.Exit == 0 {
			t.Error("cp of everything says that it is done")
		}
	})
	results := w.atOnce(crowd, func(i int) []string { return []string{"cat", ref, files[i].Path} }, "ReadFile", func() {
		eventually(t, "bytes are on their way", func() bool { return w.reg.Counts().Bytes > 2*mib })
		if err := w.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	})
	copying.Wait()
	if err := w.AwaitExit(drain + slack); err != nil {
		t.Errorf("the daemon's end: %v", err)
	}
	took := w.logged(`"stopped"`).Sub(w.logged("calls under way may end"))
	t.Logf("the daemon ended %v after SIGTERM, with a drain limit of %v", took, drain)
	if took > drain+slack {
		t.Errorf("the daemon took %v to end", took)
	}

	whole := 0
	for i, r := range results {
		want := content(files[i])
		switch {
		case r.Exit == 0:
			whole++
			same(t, "cat that says it is done", r.Stdout, want)
		case r.Exit != 6 || r.Stderr == "":
			t.Errorf("cat that was cut: exit code %d, want 6: %q", r.Exit, r.Stderr)
		case len(r.Stdout) >= len(want) || !bytes.HasPrefix(want, r.Stdout):
			t.Errorf("cat that was cut wrote %d bytes that are not the first of the file", len(r.Stdout))
		}
	}
	if whole == crowd {
		t.Error("no stream was cut: this test shows nothing")
	}
	t.Logf("%d streams came to their end, %d were cut and say so", whole, crowd-whole)
	for _, f := range files { // what cp left is whole
		got, err := os.ReadFile(filepath.Join(dest, f.Path))
		if err == nil {
			same(t, "the copy of "+f.Path, got, content(f))
		} else if !os.IsNotExist(err) {
			t.Error(err)
		}
	}
	w.reg.Throttle(0)
	w.start()
	w.run("cp", "--force", ref, dest) // checks each against its digest
	for _, f := range files {
		got, err := os.ReadFile(filepath.Join(dest, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "after a restart, "+f.Path, got, content(f))
	}
}

// logged is when the daemon wrote the first line with text.
func (w *world) logged(text string) time.Time {
	w.t.Helper()
	for line := range strings.Lines(w.Log()) {
		var entry struct{ Time time.Time }
		if strings.Contains(line, text) && json.Unmarshal([]byte(line), &entry) == nil {
			return entry.Time.Round(time.Millisecond)
		}
	}
	w.t.Fatalf("the log has no line with %s", text)
	return time.Time{}
}

// TestSecondSignal stops a daemon that would drain for an hour, and insists.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{config: "drain_timeout: 1h\n"})
	f := file("f", 1, 8*mib)
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, f)
	ref := w.ref("acme/app:v1")
	w.run("pull", ref)
	w.reg.HoldAfter(mib)
	cat := w.Command(t.Context(), "cat", ref, "f")
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	begin := make([]byte, 100_000)
	if _, err := io.ReadFull(out, begin); err != nil {
		t.Fatal(err)
	}
	signal := func() {
		t.Helper()
		if err := w.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	signal()
	eventually(t, "the daemon drains", func() bool { return strings.Contains(w.Log(), "calls under way may end") })
	signal()
	second := time.Now()
	err = w.AwaitExit(within)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != -1 {
		t.Errorf("the daemon's end: %v, want one by the signal", err)
	}
	t.Logf("the daemon ended %v after the second SIGTERM", time.Since(second).Round(time.Millisecond))
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if got := append(begin, rest...); len(got) >= 8*mib || !bytes.HasPrefix(content(f), got) {
		t.Errorf("cat wrote %d bytes that are not the first of the file", len(got))
	}
	if exit, ok := errors.AsType[*exec.ExitError](cat.Wait()); !ok || exit.ExitCode() != 6 {
		t.Errorf("cat: %v, want exit code 6", exit)
	}
	w.reg.Release()
	w.start() // nothing that it left is in the way
	w.reads(content(f), "cat", ref, "f")
}
