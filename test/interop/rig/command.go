package rig

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
)

// Result is what a command did.
type Result struct {
	Stdout []byte
	Stderr string
	Exit   int // -1 when a signal ended it, or it never ran
}

// Command is a client command of blobd, on the host's socket.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.Binary, args...)
	cmd.Env = append(h.environ(), "BLOBD_SOCKET="+h.Socket())
	return cmd
}

// Run runs a client command to its end.
func (h *Host) Run(ctx context.Context, args ...string) Result { return Run(h.Command(ctx, args...)) }

// Run runs a command of Host.Command to its end.
func Run(cmd *exec.Cmd) Result {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := Result{Stdout: stdout.Bytes(), Stderr: stderr.String()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.Exit = exit.ExitCode()
	} else if err != nil {
		r.Exit, r.Stderr = -1, err.Error()
	}
	return r
}
