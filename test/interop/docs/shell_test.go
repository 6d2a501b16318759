package docs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// within is how long a command may take, on a machine that is busy with other tests.
const within = time.Minute

// shell is one bash for all commands of a page, as a reader has one: folders, variables and jobs stay from one to the next.
type shell struct {
	t     *testing.T
	stdin io.WriteCloser
	lines chan string // of stdout and stderr; closed at the end
}

// mark stands before the exit code of a command in the shell's output.
const mark = "\x01end-of-command"

func newShell(t *testing.T, bash, dir string, env []string) *shell {
	t.Helper()
	cmd := exec.Command(bash, "--noprofile", "--norc")
	cmd.Dir, cmd.Env = dir, env
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, stdin: stdin, lines: make(chan string)}
	go func() {
		defer close(s.lines)
		for scan := bufio.NewReader(out); ; {
			line, err := scan.ReadString('\n')
			if err != nil {
				return
			}
			s.lines <- line
		}
	}()
	t.Cleanup(func() {
		_, _ = io.WriteString(stdin, "kill $(jobs -p) 2>/dev/null; wait; exit\n")
		_ = stdin.Close()
		force := time.AfterFunc(within, func() { _ = cmd.Process.Kill() })
		defer force.Stop()
		for range s.lines { // whoever still writes is let end
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
	})
	return s
}

// run runs a command, and returns what it printed and its exit code.
func (s *shell) run(command string) (printed, exit string, err error) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.stdin, "{ %s\n} </dev/null\nprintf '\\n%s %%s\\n' $?\n", command, mark); err != nil {
		return "", "", err
	}
	limit := time.NewTimer(within)
	defer limit.Stop()
	var out strings.Builder
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return out.String(), "", errors.New("the shell has ended")
			}
			if code, found := strings.CutPrefix(line, mark+" "); found {
				return strings.TrimSuffix(out.String(), "\n"), strings.TrimSpace(code), nil
			}
			out.WriteString(line)
		case <-limit.C:
			return out.String(), "", fmt.Errorf("it did not end within %v", within)
		}
	}
}

// serving has a daemon write its log to a file, so that it is not taken for what a later command prints.
func serving(command, log string) string {
	return regexp.MustCompile(`(blobd serve[^&#\n]*)&`).ReplaceAllString(command, "${1}>>"+log+" 2>&1 &")
}
