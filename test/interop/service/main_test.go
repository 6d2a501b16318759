//go:build linux

// Package service tries blobd as a host runs it: installed, under the units of deploy/systemd, with the tools that judge
// them, and under a systemd of its own.
package service

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// made is what `make dist` has made, for all tests.
var made struct {
	root string // of the repository
	dist string
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/blobd/blobd").Output()
	if err != nil {
		return 0, fmt.Errorf("go list: %w", err)
	}
	made.root = strings.TrimSpace(string(root))
	if made.dist, err = os.MkdirTemp("", "blobd-dist-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(made.dist)
	if out, err := makeTarget(context.Background(), "dist"); err != nil {
		return 0, fmt.Errorf("make dist: %w: %s", err, out)
	}
	return m.Run(), nil
}

// makeTarget runs a target of the Makefile. It shares the build cache of the other tests.
func makeTarget(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "make", append([]string{"-s", "DIST=" + made.dist, "TRIMPATH="}, args...)...)
	cmd.Dir = made.root
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); name != "MAKEFLAGS" && name != "MAKELEVEL" && name != "MFLAGS" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// install installs into the folder below dest.
func install(t *testing.T, dest, prefix string) {
	t.Helper()
	if out, err := makeTarget(t.Context(), "install", "DESTDIR="+dest, "PREFIX="+prefix); err != nil || out != "" {
		t.Fatalf("make install: %v: %s", err, out)
	}
}

// files are all files below dir.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
