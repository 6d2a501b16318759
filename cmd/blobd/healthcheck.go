package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/blobd/blobd/client"
)

func newHealthcheckCommand(a *app) *cobra.Command {
	var timeout time.Duration
	var live bool
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Exit with 0 when the daemon serves, else with 6",
		Long: `Healthcheck asks the daemon whether it serves. It exits with 0 when it does and with 6 when it does not, is not there,
or does not answer in time. It is open to every user of the socket. Neither a registry that is down nor a full disk keeps
a daemon from serving.

With --live any answer will do: a daemon that is starting or stopping lives. This is for whoever restarts what is dead.`,
		Example: `  HEALTHCHECK CMD ["blobd", "healthcheck"]
  blobd healthcheck --live --timeout 10s`,
		Args: takes(0, 0),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long the answer may take")
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the daemon answers, be it starting, serving or stopping")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		state, err := a.health(cmd, timeout)
		if err != nil {
			return err
		}
		words := strings.ReplaceAll(state, "_", " ")
		if !live && state != "serving" {
			return unhealthy("the daemon is " + words)
		}
		out := struct {
			Status string `json:"status"`
		}{state}
		return a.print(out, func(w io.Writer) { fmt.Fprintln(w, words) })
	}
	return cmd
}

// health asks once, for at most timeout, and returns the state in lower case.
func (a *app) health(cmd *cobra.Command, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return "", notInTime(err, timeout)
	}
	defer c.Close()
	r, err := healthv1.NewHealthClient(c.Conn()).Check(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		return "", notInTime(err, timeout)
	}
	return strings.ToLower(r.GetStatus().String()), nil
}

// notInTime makes a time-out what it means here: a daemon that does not serve.
func notInTime(err error, timeout time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return unhealthy("no answer from the daemon within " + short(timeout))
	}
	return err
}

func unhealthy(why string) error {
	return &client.Error{
		Code: codes.Unavailable, Reason: client.DaemonUnreachable, Message: why, Remedy: "see its log",
	}
}
