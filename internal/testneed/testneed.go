// Package testneed says what a test needs of the machine that it runs on: to be root, a command, a kind of file system.
// Where that is missing, the test skips and says why; where BLOBD_REQUIRE_ROOT_TESTS=1 it fails instead, so that
// continuous integration can't lose a test without a sign.
//
// go test hides why a test that passed over was skipped. With BLOBD_TEST_SKIPS naming a file, each reason is appended to
// it: `make test` prints them at its end.
package testneed

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

const (
	requireEnv = "BLOBD_REQUIRE_ROOT_TESTS"
	skipsEnv   = "BLOBD_TEST_SKIPS"
)

// Linux asks for Linux.
func Linux(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		Missing(t, "it needs Linux")
	}
}

// Root asks for Linux and to be root there.
func Root(t testing.TB) {
	t.Helper()
	Linux(t)
	if os.Geteuid() != 0 {
		Missing(t, "it needs root")
	}
}

// Command asks for a command and returns its path. from is where it comes from, such as "Debian package strace".
func Command(t testing.TB, name, from string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, "it needs "+name+" ("+from+")")
	}
	return path
}

// Missing skips the test, or fails it where nothing may be missing. why completes "skipped: …".
func Missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(requireEnv) == "1" {
		t.Fatalf("%s, and %s=1 lets no test be skipped", why, requireEnv)
	}
	report(t, why)
	t.Skip(why)
}

// report appends the reason to the file of reasons, if there is one.
func report(t testing.TB, why string) {
	t.Helper()
	name := os.Getenv(skipsEnv)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatalf("%s: %v", skipsEnv, err)
	}
	defer f.Close()
	if _, err := f.WriteString(t.Name() + ": " + why + "\n"); err != nil {
		t.Fatalf("%s: %v", skipsEnv, err)
	}
}
