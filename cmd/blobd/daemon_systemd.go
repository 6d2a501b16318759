package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	systemd "github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/config"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/server"
)

// handedSocket is the socket that systemd listens on for this process (socket activation); nil where it does not.
func handedSocket() (*server.Socket, error) {
	files := activation.Files(true)
	switch len(files) {
	case 0:
		return nil, nil
	case 1:
		s, err := server.TakeOver(files[0])
		if err != nil {
			return nil, handedError(err.Error())
		}
		return s, nil
	}
	for _, f := range files {
		_ = f.Close()
	}
	return nil, handedError(fmt.Sprintf("%d sockets were handed over, and blobd serves one", len(files)))
}

func handedError(what string) error {
	return (&fault.Error{Reason: fault.InvalidArgument, What: what}).
		Try("leave one ListenStream= in blobd.socket, with the path of a unix socket")
}

// withSocket is s with the path of the socket that is served, whatever else names one: it is there already.
func withSocket(s config.Sources, path string) config.Sources {
	s.Flags = maps.Clone(s.Flags)
	if s.Flags == nil {
		s.Flags = map[string]string{}
	}
	s.Flags["socket"] = path
	return s
}

// watchdogTries is how often in the time that systemd gives it the daemon asks itself: on a busy host some answers may come late.
const watchdogTries = 4

// watchdog tells systemd that the daemon works. It is the main loop that has it do so, and only when the gRPC server has
// answered a question that came through the socket; whether disk and registries are well does not matter. A nil one is for
// a daemon that nobody watches: its methods do nothing.
type watchdog struct {
	socket string
	every  time.Duration
	due    *time.Ticker
	log    *zap.Logger
	// client is one connection for all questions: it was there before the limits of connections are reached.
	client *client.Client
}

func newWatchdog(socket string, log *zap.Logger) *watchdog {
	limit, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the environment for a watchdog can't be understood; there is none", zap.Error(err))
	}
	if limit <= 0 {
		return nil
	}
	every := limit / watchdogTries
	return &watchdog{socket: socket, every: every, due: time.NewTicker(every), log: log}
}

// tick comes when it is time to ask.
func (w *watchdog) tick() <-chan time.Time {
	if w == nil {
		return nil
	}
	return w.due.C
}

// ask asks the daemon once, and passes it on when it answers.
func (w *watchdog) ask(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	switch err := w.answered(ctx); {
	case err == nil:
		notify(systemd.SdNotifyWatchdog)
	case ctx.Err() != context.Canceled: // the daemon is to stop
		w.log.Warn("the daemon does not answer itself; systemd restarts it when that goes on", zap.Error(err))
	}
}

// answered returns nil for every answer, one that refuses too.
func (w *watchdog) answered(ctx context.Context) (err error) {
	if w.client == nil {
		if w.client, err = client.Dial(ctx, client.WithSocket(w.socket), client.WithStartTimeout(0)); err != nil {
			return err
		}
	}
	_, err = healthv1.NewHealthClient(w.client.Conn()).Check(ctx, &healthv1.HealthCheckRequest{})
	if e, ok := errors.AsType[*client.Error](err); ok && e.Reason != "" && e.Reason != client.DaemonUnreachable {
		return nil
	}
	return err
}

func (w *watchdog) close() {
	if w == nil {
		return
	}
	w.due.Stop()
	if w.client != nil {
		_ = w.client.Close()
	}
}
