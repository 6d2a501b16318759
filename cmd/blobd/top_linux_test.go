package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blobd/blobd/client/clienttest"
	"github.com/blobd/blobd/internal/testneed"
)

// typeAt has this test binary be blobd, with these arguments.
const typeAt = "BLOBD_TEST_ARGS"

// TestAsBlobd is blobd where another test started it as that.
func TestAsBlobd(t *testing.T) {
	args := os.Getenv(typeAt)
	if args == "" {
		t.Skip("for tests in a terminal")
	}
	os.Args = append([]string{"blobd"}, strings.Fields(args)...)
	main()
}

// tty is a terminal, and what it shows.
type tty struct {
	t             *testing.T
	master, slave *os.File

	mu   sync.Mutex // guards seen
	seen bytes.Buffer
}

func newTTY(t *testing.T) *tty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		testneed.Missing(t, "it needs a terminal: "+err.Error())
	}
	x := &tty{t: t, master: master}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		x.slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	x.resize(100, 30)
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := master.Read(buf)
			x.mu.Lock()
			x.seen.Write(buf[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		x.slave.Close() // which ends the read, as nobody else has it by then
		reading.Wait()
		master.Close()
	})
	return x
}

func (x *tty) resize(width, height uint16) {
	x.t.Helper()
	if err := unix.IoctlSetWinsize(int(x.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tty) settings() unix.Termios {
	x.t.Helper()
	s, err := unix.IoctlGetTermios(int(x.slave.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return *s
}

// output is all that was shown since the last call.
func (x *tty) output() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.seen.Reset()
	return x.seen.String()
}

// shows waits until one frame holds all of these.
func (x *tty) shows(what ...string) {
	x.t.Helper()
	all := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		all += x.output()
		frames := strings.Split(all, homeCursor)
		for _, frame := range frames {
			holds := strings.Contains(frame, clearBelow) // it is whole
			for _, s := range what {
				holds = holds && strings.Contains(frame, s)
			}
			if holds {
				return
			}
		}
	}
	x.t.Fatalf("no frame shows %q; the last output: %q", what, all[max(len(all)-4000, 0):])
}

// ends waits until the last that is shown is this.
func (x *tty) ends(what string) {
	x.t.Helper()
	all := ""
	for deadline := time.Now().Add(time.Minute); !strings.HasSuffix(all, what); time.Sleep(5 * time.Millisecond) {
		if all += x.output(); time.Now().After(deadline) {
			x.t.Fatalf("it ends in %q", all[max(len(all)-100, 0):])
		}
	}
}

// blobd starts blobd in the terminal. The returned func waits for its end and returns its exit code.
func (x *tty) blobd(args string, environ ...string) (process *os.Process, exit func() int) {
	x.t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestAsBlobd$")
	cmd.Env = append(append(os.Environ(), "TERM=xterm", typeAt+"="+args), environ...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.slave, x.slave, x.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		x.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // its exit code tells
	}()
	x.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	return cmd.Process, func() int {
		select {
		case <-ended:
		case <-time.After(time.Minute):
			x.t.Fatal("it does not end")
		}
		return cmd.ProcessState.ExitCode()
	}
}

// TestTop uses blobd top as a person does: it draws, follows the terminal's size and keys, bears that the daemon goes away,
// and however it ends gives the terminal back as it was.
func TestTop(t *testing.T) {
	d, _ := start(t)
	service := &eventful{state: busy().now}
	d.SetAdmin(service)
	x := newTTY(t)
	before := x.settings()
	for _, end := range []struct {
		how string
		do  func(*os.Process) error
	}{
		{"q", func(*os.Process) error { _, err := x.master.WriteString("q"); return err }},
		{"Ctrl-C", func(*os.Process) error { _, err := x.master.WriteString("\x03"); return err }},
		{"SIGTERM", func(p *os.Process) error { return p.Signal(syscall.SIGTERM) }},
	} {
		t.Run(end.how, func(t *testing.T) {
			x.t = t
			x.resize(100, 30)
			process, exit := x.blobd("top --interval 100ms --socket "+d.Socket, "NO_COLOR=")
			x.shows("blobd v0.5.0", titled, "registry.internal.example.com:5000", "ghcr.io/team/artifact-00", "artifacts 1 to")
			x.resize(60, 12)
			x.shows("LAST …")
			x.resize(100, 30)
			if _, err := x.master.WriteString("\x1b[BG"); err != nil {
				t.Fatal(err)
			}
			x.shows("ghcr.io/team/artifact-39", "to 40 of 43")
			if x.settings() == before {
				t.Error("the terminal is not raw")
			}
			if err := end.do(process); err != nil {
				t.Fatal(err)
			}
			if code := exit(); code != 0 {
				t.Errorf("exit %d", code)
			}
			if x.settings() != before {
				t.Error("the terminal's settings are not as they were")
			}
			x.ends(leaveScreen)
		})
	}
	t.Run("a daemon that goes and comes", func(t *testing.T) {
		x.t = t
		_, exit := x.blobd("top --interval 100ms --socket "+d.Socket, "NO_COLOR=1")
		x.shows("blobd v0.5.0")
		d.Stop()
		x.shows("trying again each 100ms", "artifact-00")
		if out := x.output(); strings.Contains(out, titled) {
			t.Error("colours, though NO_COLOR is set")
		}
		again, err := clienttest.Listen(d.Socket + "2")
		if err != nil {
			t.Fatal(err)
		}
		defer again.Stop()
		again.SetAdmin(service) // before anybody finds it
		if err := os.Rename(again.Socket, d.Socket); err != nil {
			t.Fatal(err)
		}
		x.shows("q quits")
		if _, err := x.master.WriteString("q"); err != nil {
			t.Fatal(err)
		}
		if code := exit(); code != 0 {
			t.Errorf("exit %d", code)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		x.t = t
		_, exit := x.blobd("top --socket " + t.TempDir() + "/none")
		if code := exit(); code != exitUnreachable || x.settings() != before || strings.Contains(x.output(), enterScreen) {
			t.Errorf("exit %d", code)
		}
	})
}
