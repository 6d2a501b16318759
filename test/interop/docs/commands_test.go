package docs

import (
	"slices"
	"strings"
	"testing"
)

// notRun are the commands that are not run here, by how they begin after sudo; why; and how else they are tried.
var notRun = []struct{ begins, why, tried string }{
	{"make ", "takes minutes, or writes into this machine", "continuous integration runs the targets that are in .ci/run"},
	{"blobd login registry.example", "asks a person at a terminal", "with --password-stdin it is run here; TestLoginCommand of cmd/blobd"},
	{"dpkg -i", "installs into this machine", "TestPackages of test/interop/service, on a system of its own"},
	{"rpm -U", "installs into this machine", "TestPackages of test/interop/service compares what is in it with the other package"},
	{"systemctl ", "needs systemd as the first process", "TestService of test/interop/service, under a systemd of its own"},
	{"journalctl ", "needs systemd as the first process", "TestService of test/interop/service, under a systemd of its own"},
	{"systemd-sysusers ", "makes a user of this machine", "TestService of test/interop/service, under a systemd of its own"},
	{"systemd-tmpfiles ", "makes folders of this machine", "TestService of test/interop/service, under a systemd of its own"},
	{"docker ", "takes a minute, and root", "TestPage of test/interop/container types them, with podman"},
	{"kubectl ", "needs a cluster", "what it sends is judged by test/k8s, and run by test/interop/container"},
	{"usermod ", "changes users of this machine", "TestService of test/interop/service, under a systemd of its own"},
}

// TestCommands types every command of every page.
func TestCommands(t *testing.T) {
	t.Parallel()
	used := make([]bool, len(notRun))
	t.Run("pages", func(t *testing.T) {
		for _, p := range pages(t) {
			steps := sessions(t, p)
			runs := slices.DeleteFunc(slices.Clone(steps), func(s step) bool {
				i := slices.IndexFunc(notRun, func(n struct{ begins, why, tried string }) bool {
					return strings.HasPrefix(strings.TrimPrefix(s.command, "sudo "), n.begins)
				})
				if i >= 0 {
					used[i] = true
				}
				return i >= 0
			})
			if len(runs) == 0 {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				play(t, p.name, runs)
			})
		}
	})
	for i, n := range notRun {
		if !used[i] {
			t.Errorf("%q is on the list of what is not run, and in no page", n.begins)
		}
	}
}

// sessions are the commands of all blocks of kind console.
func sessions(t *testing.T, p page) (steps []step) {
	t.Helper()
	for _, b := range p.blocks {
		if b.kind == "console" {
			steps = append(steps, b.steps(t)...)
		}
	}
	return steps
}

// play runs the commands of a page in order. One that starts no daemon has one.
func play(t *testing.T, name string, steps []step) {
	t.Helper()
	w := newWorld(t)
	if !slices.ContainsFunc(steps, func(s step) bool { return startsDaemon(s.command) }) {
		if _, _, err := w.do("blobd serve &"); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range steps {
		printed, exit, err := w.do(s.command)
		switch {
		case err != nil:
			t.Fatalf("%s:%d: %s: %v\n%s", name, s.line, s.command, err, printed)
		case exit != s.exit:
			t.Errorf("%s:%d: %s: exit code %s\n%s", name, s.line, s.command, exit, printed)
		case len(s.output) > 0 && !alike(strings.Split(w.subs.Replace(strings.Join(s.output, "\n")), "\n"), printed):
			t.Errorf("%s:%d: %s printed\n%s\nand the page shows\n%s", name, s.line, s.command, printed, strings.Join(s.output, "\n"))
		}
	}
}
