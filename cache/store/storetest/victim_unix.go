//go:build unix

package storetest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// victimDir, in the environment, makes a test a process that works in that folder until it is killed.
const victimDir = "BLOBD_TEST_VICTIM_DIR"

// VictimDir returns the folder that this process is to work in as somebody's victim; "" when it is no victim.
func VictimDir() string { return os.Getenv(victimDir) }

// Victim is a process of the test binary that is going to be killed.
type Victim struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner // what it says
}

// StartVictim runs the test called name as a victim that works in dir.
func StartVictim(t testing.TB, name, dir string) *Victim {
	t.Helper()
	v := &Victim{cmd: exec.Command(os.Args[0], "-test.run=^"+name+"$")}
	v.cmd.Env = append(os.Environ(), victimDir+"="+dir)
	v.cmd.Stderr = os.Stderr
	in, err := v.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.in, v.out = in, bufio.NewScanner(out)
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return v
}

// Next returns the next line that the victim says; it fails when there is none.
func (v *Victim) Next(t testing.TB) string {
	t.Helper()
	if !v.out.Scan() {
		t.Fatalf("the victim says nothing: %v", v.cmd.Wait())
	}
	return v.out.Text()
}

// Go lets a victim that awaits its killer go on.
func (v *Victim) Go(t testing.TB) {
	t.Helper()
	if _, err := v.in.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
}

// Kill kills the victim.
func (v *Victim) Kill() { _ = v.cmd.Process.Kill() }

// Ended waits for the victim's end, and returns what it said before and whether it was killed. It fails when the victim
// did.
func (v *Victim) Ended(t testing.TB) (said []string, killed bool) {
	t.Helper()
	for v.out.Scan() {
		said = append(said, v.out.Text())
	}
	_ = v.in.Close()
	err := v.cmd.Wait()
	status, ok := v.cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("the victim failed: %v: %q", err, said)
	}
	return said, killed
}
