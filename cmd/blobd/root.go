package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/blobd/blobd/client"
)

// app is what the commands share. It serves one run.
type app struct {
	stdout, stderr io.Writer
	socket         string
	format         format
	dialOptions    []client.Option
	started        bool // the arguments were fine: what fails from here on is not a usage error
}

func (a *app) run(ctx context.Context, args []string) int {
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started {
		err = usageOf(cmd, err)
	}
	return a.report(err)
}

// dial connects to the daemon that --socket or the socket rule names.
func (a *app) dial(ctx context.Context) (*client.Client, error) {
	return client.Dial(ctx, append([]client.Option{client.WithSocket(a.socket)}, a.dialOptions...)...)
}

const (
	groupRead    = "read"
	groupPublish = "publish"
	groupCache   = "cache"
	groupDaemon  = "daemon"
)

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "blobd",
		Short: "One warm cache of registry content per host",
		Long: `blobd keeps one warm cache of registry content per host and serves it to every process there.

A REF is registry/repository[:tag][@digest]. Data goes to stdout, everything else to stderr.
What a command has the daemon do is in the trace that $TRACEPARENT names.

Exit codes: 0 ok, 1 other, 2 usage, 3 not found, 4 denied, 5 integrity or policy, 6 daemon unreachable,
7 upstream unavailable, 8 time-out, 9 local overload.`,
		Example: `  blobd serve &
  blobd pull registry.example/team/assets:v1
  blobd ls -l registry.example/team/assets:v1
  blobd cat registry.example/team/assets:v1 index.html`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          showHelp,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.started = true
		},
	}
	root.PersistentFlags().StringVar(&a.socket, "socket", "",
		"the daemon's socket (default $"+client.SocketEnv+", else the user's own daemon, else the host's)")
	root.PersistentFlags().VarP(&a.format, "output", "o", "how to print results and errors: text or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return err })
	root.AddGroup(
		&cobra.Group{ID: groupRead, Title: "Reading:"},
		&cobra.Group{ID: groupPublish, Title: "Publishing:"},
		&cobra.Group{ID: groupCache, Title: "The cache:"},
		&cobra.Group{ID: groupDaemon, Title: "The daemon:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupRead, newPullCommand(a), newLsCommand(a), newCatCommand(a), newStatCommand(a), newCpCommand(a),
		newManifestCommand(a), newFetchCommand(a), newExportCommand(a))
	add(groupPublish, newPushCommand(a), newCopyCommand(a), newTagCommand(a), newReferrersCommand(a),
		newLoginCommand(a), newLogoutCommand(a))
	add(groupCache, newPrefetchCommand(a), newPinCommand(a), newUnpinCommand(a), newCacheCommand(a))
	add(groupDaemon, newServeCommand(), newConfigCommand(), newStatusCommand(a), newTopCommand(a), newEventsCommand(a),
		newHealthcheckCommand(a), newVersionCommand(a))
	addManCommand(root)
	return root
}

// showHelp is what a command that only groups others does: it prints its help, or says that there is no such command.
func showHelp(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	why := fmt.Errorf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		why = fmt.Errorf("unknown command %q: did you mean %s", args[0], strings.Join(near, " or "))
	}
	return usageOf(cmd, why)
}

// takes checks the number of arguments; most < 0 is any number. The command's Use line says what they are.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		_, want, _ := strings.Cut(cmd.Use, " ")
		if want == "" {
			want = "none"
		}
		return fmt.Errorf("got %s, takes %s", count(int64(len(args)), "argument"), want)
	}
}

// usageError is a command line that can't be run.
type usageError struct {
	why  string
	hint string
}

func (e *usageError) Error() string { return e.why }

// usageOf makes err a usage error of cmd.
func usageOf(cmd *cobra.Command, err error) error {
	if u, ok := errors.AsType[*usageError](err); ok {
		return u
	}
	why := err.Error()
	if cmd.HasParent() {
		why = strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ") + ": " + why
	}
	return &usageError{why: why, hint: "see `" + cmd.CommandPath() + " --help`"}
}
