package storetest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/blobd/blobd/internal/testneed"
)

// AwaitKiller is a victim's first call: from here on it does all its work on one thread, of which KillAtEveryCall counts
// the system calls.
func AwaitKiller() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_PTRACER, ^uintptr(0), 0, 0, 0) // not known where nobody restricts ptrace
	fmt.Println(syscall.Gettid())
	_, _ = syscall.Read(0, make([]byte, 1))
}

// call is the count-th call of one kind.
type call struct {
	name  string
	count int
}

// KillAtEveryCall runs the test called name, of this binary, as a victim again and again: to its end first, to see which
// system calls on files and descriptors it makes, and then once for each of them, killed as it enters that one. prepare
// makes the folder that each begins with; check looks at what it left, and gets the lines that it had said.
func KillAtEveryCall(t *testing.T, name string, prepare func(dir string), check func(at, dir string, said []string)) {
	strace := testneed.Command(t, "strace", "Debian package strace")
	template, trace := fastDir(t), filepath.Join(t.TempDir(), "trace")
	prepare(template)
	run := func(at string, inject ...string) (killed bool) {
		dir := fastDir(t)
		if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
			t.Fatal(err)
		}
		said, killed := traced(t, name, dir, append([]string{strace, "-o", trace, "-e", "signal=none"}, inject...))
		check(at, dir, said)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		return killed
	}
	if run("the end", "-e", "trace=%file,%desc") {
		t.Fatal("the victim was killed by somebody else")
	}
	calls := readTrace(t, trace)
	kills := 0
	for _, c := range calls {
		at := fmt.Sprintf("%s %d", c.name, c.count)
		if run(at, "-e", "trace="+c.name, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", c.name, c.count)) {
			kills++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("killed at %d of %d system calls", kills, len(calls))
	if kills < len(calls)*9/10 { // how often the runtime asks its poller differs from run to run
		t.Error("too few kills")
	}
}

// readTrace returns the calls in the output of strace.
func readTrace(t *testing.T, file string) []call {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var calls []call
	counts := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, "("); ok && !strings.ContainsAny(name, " +") {
			counts[name]++
			calls = append(calls, call{name, counts[name]})
		}
	}
	return calls
}

// traced runs a victim under strace.
func traced(t *testing.T, name, dir string, strace []string) (said []string, killed bool) {
	t.Helper()
	victim := StartVictim(t, name, dir)
	tracer := exec.Command(strace[0], append(strace[1:], "-p", victim.Next(t))...)
	notes, err := tracer.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	note := bufio.NewReader(notes)
	if line, err := note.ReadString('\n'); !strings.Contains(line, "attached") {
		t.Fatalf("strace says %q, %v", line, err)
	}
	victim.Go(t)
	said, killed = victim.Ended(t)
	_, _ = io.Copy(io.Discard, note) // it ends with what it traces
	_ = tracer.Wait()
	return said, killed
}
