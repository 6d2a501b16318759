//go:build linux

package service

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/blobd/blobd/internal/testneed"
)

const (
	registry = "127.0.0.1:5000"
	artifact = registry + "/acme/app:v1"
)

// TestService runs the service under a real systemd, with all its hardening, as somebody would who follows docs/service.md.
// The steps follow one another.
func TestService(t *testing.T) {
	layer := t.TempDir()
	install(t, layer, "/usr")
	m := boot(t, layer)
	m.run("systemd-sysusers", "blobd.conf")
	m.run("systemd-tmpfiles", "--create", "blobd.conf")
	m.run("systemctl", "daemon-reload")
	serviceStory(t, m)
	m.run("systemctl", "disable", "--now", "blobd.socket", "blobd.service")
}

// serviceStory is what can be done with a service that is installed and not started.
func serviceStory(t *testing.T, m *machine) {
	m.run("useradd", "alice")
	m.run("usermod", "-a", "-G", "blobd", "alice")
	m.run("useradd", "bob")
	startRegistry(t, m)
	step := func(name string, f func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, func(t *testing.T) {
			before := m.t
			m.t = t
			defer func() { m.t = before }()
			f(t)
		}) {
			t.Fatalf("journal:\n%s", m.journal())
		}
	}

	step("it starts when it is told to, and is what the unit says", func(t *testing.T) {
		m.run("systemctl", "enable", "--now", "blobd")
		m.run("blobd", "healthcheck")
		status := m.run("cat", "/proc/"+m.property("MainPID")+"/status")
		for _, line := range []string{"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(status, line) {
				t.Errorf("no %q in its status:\n%s", line, status)
			}
		}
		if uid := strings.TrimSpace(m.run("id", "-u", "blobd")); !strings.Contains(status, "Uid:\t"+uid+"\t") || uid == "0" {
			t.Errorf("it does not run as blobd, %s:\n%s", uid, status)
		}
	})
	step("members of the group may use it, others not; root alone may administer it", func(t *testing.T) {
		if _, err := m.as("alice", "blobd", "healthcheck"); err != nil {
			t.Error(err)
		}
		if _, err := m.as("bob", "blobd", "healthcheck"); exitCode(err) != 4 {
			t.Errorf("bob: %v", err)
		}
		m.run("blobd", "status")
		if _, err := m.as("alice", "blobd", "status"); exitCode(err) != 4 {
			t.Errorf("alice asks for the status: %v", err)
		}
	})
	step("a login in /etc/credstore is the daemon's, and nobody else's", func(t *testing.T) {
		if _, err := m.as("alice", "blobd", "pull", artifact); exitCode(err) != 4 {
			t.Fatalf("without a login: %v", err)
		}
		m.write("/etc/credstore/blobd.logins", "0600", fmt.Sprintf(`{"auths": {%q: {"username": "robot", "password": "secret"}}}`, registry))
		m.restart()
		m.reads(t)
		if out, err := m.as("alice", "cat", "/etc/credstore/blobd.logins"); err == nil {
			t.Errorf("alice reads the logins: %s", out)
		}
	})
	step("so is one of login --system", func(t *testing.T) {
		m.run("rm", "/etc/credstore/blobd.logins")
		m.restart()
		cmd := m.command(t.Context(), "blobd", "login", "--system", "-u", "robot", "--password-stdin", registry)
		cmd.Stdin = strings.NewReader("secret\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("login: %v: %s", err, out)
		}
		m.run("blobd", "cache", "clear")
		m.reads(t)
		m.run("test", "-s", "/var/lib/blobd/auth.json")
	})
	step("a reload takes the configuration over", func(t *testing.T) {
		m.write("/etc/blobd/config.yaml", "0644", "max_size: 5GiB\n")
		m.run("systemctl", "reload", "blobd")
		m.eventually("the new limit is in force", func() error {
			if status := m.run("blobd", "status", "-o", "json"); !strings.Contains(status, "max_size: 5GiB") {
				return errors.New(status)
			}
			return nil
		})
		if state := m.property("ActiveState"); state != "active" {
			t.Errorf("after a reload: %s", state)
		}
	})
	step("the next caller starts one that was stopped", func(t *testing.T) {
		m.run("systemctl", "stop", "blobd.service")
		if state := m.property("ActiveState"); state != "inactive" {
			t.Fatalf("after a stop: %s", state)
		}
		m.reads(t)
		if state := m.property("ActiveState"); state != "active" {
			t.Errorf("after a call: %s", state)
		}
	})
	step("nobody is turned away while it restarts", func(t *testing.T) {
		var callers sync.WaitGroup
		defer callers.Wait()
		over := make(chan struct{})
		defer close(over)
		for range 2 {
			callers.Go(func() {
				for calls := 0; ; calls++ {
					if _, err := m.as("alice", "blobd", "cat", artifact, "hello"); err != nil {
						t.Errorf("call %d: %v", calls, err)
						return
					}
					select {
					case <-over:
						return
					default:
					}
				}
			})
		}
		for range 3 {
			m.restart()
		}
	})
	step("callers wait for the next one while a reader holds the last one up", func(t *testing.T) {
		m.write("/etc/blobd/config.yaml", "0644", "drain_timeout: 15s\n") // longer than a client tries again by itself
		m.restart()
		reader := m.command(t.Context(), "blobd", "cat", artifact, "big")
		out, err := reader.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := reader.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = out.Close() // it writes into a pipe that nobody reads
			_ = reader.Wait()
		}()
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		before := m.property("MainPID")
		m.run("systemctl", "restart", "--no-block", "blobd")
		m.eventually("it is stopping", func() error {
			if sub := m.property("SubState"); sub != "stop-sigterm" {
				return errors.New(sub)
			}
			return nil
		})
		m.reads(t)
		if now := m.property("MainPID"); now == before || now == "0" {
			t.Errorf("process %s answered, which was to stop; now %s", before, now)
		}
	})
	step("one that hangs is ended and started anew, one that works is left alone", func(t *testing.T) {
		m.write("/etc/systemd/system/blobd.service.d/test.conf", "0644", "[Service]\nWatchdogSec=10s\n")
		m.run("systemctl", "daemon-reload")
		m.restart()
		<-time.After(12 * time.Second) // longer than systemd waits for a sign of life
		if n := m.property("NRestarts"); n != "0" {
			t.Fatalf("%s restarts of a daemon that works", n)
		}
		m.run("kill", "-STOP", m.property("MainPID"))
		m.eventually("it is started anew", func() error {
			if n := m.property("NRestarts"); n != "1" {
				return fmt.Errorf("%s restarts", n)
			}
			return nil
		})
		m.reads(t)
		m.run("rm", "-r", "/etc/systemd/system/blobd.service.d")
		m.run("systemctl", "daemon-reload")
	})
	step("one that was killed comes again, with its cache", func(t *testing.T) {
		m.restart()
		m.run("kill", "-KILL", m.property("MainPID"))
		m.eventually("it is started anew", func() error {
			if n := m.property("NRestarts"); n != "1" {
				return fmt.Errorf("%s restarts", n)
			}
			return nil
		})
		out := m.run("blobd", "cache", "ls")
		if !strings.Contains(out, "acme/app") {
			t.Errorf("cache ls: %s", out)
		}
	})
	step("a mistake in the configuration is named, and mended", func(t *testing.T) {
		m.write("/etc/blobd/config.yaml", "0644", "nonsense: 1\n")
		if _, err := m.try("systemctl", "restart", "blobd"); err == nil {
			t.Error("it starts with a wrong configuration")
		}
		if log := m.journal(); !strings.Contains(log, `/etc/blobd/config.yaml:1: unknown key "nonsense"`) {
			t.Errorf("the journal: %s", log)
		}
		m.write("/etc/blobd/config.yaml", "0644", "")
		m.restart()
		m.reads(t)
	})
	step("the hardening is in nobody's way", func(t *testing.T) {
		log := strings.ToLower(m.journal())
		for _, word := range []string{"operation not permitted", "read-only file system", `"level":"error"`, "panic:"} {
			if strings.Contains(log, word) {
				t.Errorf("the journal has %q:\n%s", word, log)
			}
		}
	})
}

// restart restarts the daemon. systemd counts that among the starts of which only some may be in ten seconds.
func (m *machine) restart() {
	m.t.Helper()
	m.run("systemctl", "reset-failed", "blobd.service", "blobd.socket")
	m.run("systemctl", "restart", "blobd")
}

// reads has alice read a file, anew from the registry or from the cache.
func (m *machine) reads(t *testing.T) {
	t.Helper()
	if out, err := m.as("alice", "blobd", "cat", artifact, "hello"); err != nil || out != "world\n" {
		t.Fatalf("cat: %q, %v\njournal:\n%s", out, err, m.journal())
	}
}

// startRegistry starts Debian's registry, which wants a login, and publishes an archive.
func startRegistry(t *testing.T, m *machine) {
	t.Helper()
	binary := testneed.Command(t, "docker-registry", "Debian package docker-registry")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	m.write("/root/registry/htpasswd", "0600", "robot:"+string(hash)+"\n")
	m.write("/root/registry/config.yml", "0600", fmt.Sprintf(`version: 0.1
storage: {inmemory: {}}
http: {addr: %q}
auth: {htpasswd: {realm: test, path: /root/registry/htpasswd}}
`, registry))
	m.start(binary, "serve", "/root/registry/config.yml")
	m.write("/root/site/hello", "0644", "world\n")
	m.run("truncate", "-s", "64M", "/root/site/big") // more than is on its way to a reader that takes nothing
	m.write("/root/.docker/config.json", "0600", fmt.Sprintf(`{"auths": {%q: {"username": "robot", "password": "secret"}}}`, registry))
	m.eventually("an archive is published", func() error {
		_, err := m.try("blobd", "push", "/root/site", artifact)
		return err
	})
}

// TestPackages installs Debian's package in a machine, tries the service, and purges it; RPM's has the same files. It takes
// what `make packages` makes, which `make service-test` runs before.
func TestPackages(t *testing.T) {
	dir := os.Getenv("BLOBD_TEST_PACKAGES")
	if dir == "" {
		t.Skip("for `make service-test`")
	}
	one := func(pattern string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %q, %v", pattern, found, err)
		}
		return found[0]
	}
	layer := t.TempDir()
	for name, file := range map[string]string{"blobd.deb": one("*.deb"), "blobd.rpm": one("*.rpm")} {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(layer, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m := boot(t, layer)
	m.run("dpkg", "-i", "/blobd.deb")
	if state := m.property("ActiveState"); state != "inactive" {
		t.Errorf("the package has started the daemon: %s", state)
	}
	deb := m.run("dpkg", "-L", "blobd")
	for _, name := range strings.Fields(m.run("rpm", "-qlp", "/blobd.rpm")) {
		name = strings.Replace(name, "zsh/site-functions", "zsh/vendor-completions", 1)
		if !strings.Contains(deb, name+"\n") {
			t.Errorf("%s is in RPM's package and not in Debian's", name)
		}
	}
	m.run("dpkg", "--verify", "blobd")
	serviceStory(t, m)

	pid := m.property("MainPID")
	m.run("dpkg", "-i", "/blobd.deb") // an upgrade
	if now := m.property("MainPID"); now == pid || now == "0" {
		t.Errorf("after an upgrade process %s runs, before it was %s", now, pid)
	}
	m.run("dpkg", "-P", "blobd")
	for _, name := range []string{"/usr/bin/blobd", "/etc/blobd", "/var/cache/blobd", "/var/lib/blobd", "/run/blobd/blobd.sock"} {
		if out, err := m.try("ls", "-d", name); err == nil {
			t.Errorf("the purge leaves %s", out)
		}
	}
}
