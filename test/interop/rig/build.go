// Package rig runs the real blobd: it builds the binary, starts daemons in folders of their own, runs client commands as
// processes, and reads what a daemon says of itself. Tests, the quickstart and the benchmarks share it.
package rig

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Build compiles blobd into the folder dir, which it makes, and returns the binary's path; with the race detector when
// race says so.
func Build(ctx context.Context, dir string, race bool) (string, error) {
	root, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/blobd/blobd"))
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "blobd")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	args := []string{"build", "-o", binary}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/blobd")...)
	cmd.Dir = strings.TrimSpace(root)
	if !race {
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	}
	_, err = output(cmd)
	return binary, err
}

// output runs cmd and returns its stdout; the error holds its stderr.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
