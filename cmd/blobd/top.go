package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

const (
	// topEvery is how often the screen is drawn where nobody says how often.
	topEvery = time.Second
	// topFastest keeps a typo from asking a daemon thousands of times a second.
	topFastest = 100 * time.Millisecond
	// topPatience is how long one answer may take before the screen says that the daemon does not answer.
	topPatience = 10 * time.Second
)

func newTopCommand(a *app) *cobra.Command {
	every := topEvery
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the daemon live in a terminal",
		Long: `Top shows in a terminal what ` + "`blobd status`" + ` shows, live: how full the caches are and how they do, now and over the last hour,
registries, what is being fetched, recent errors, and the artifacts last used. When the daemon goes away it says so, and goes
on once it is back.

Keys: q ends it; up and down, j and k, page up and page down, g and G go through the artifacts. No colours where NO_COLOR is
set.`,
		Example: `  blobd top
  blobd top --interval 5s`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < topFastest {
				return &usageError{why: fmt.Sprintf("top: --interval %s is below %s", every, topFastest), hint: "see `blobd top --help`"}
			}
			out, ok := a.stdout.(*os.File)
			if !ok || !isTerminal(out) || !term.IsTerminal(int(os.Stdin.Fd())) || os.Getenv("TERM") == "dumb" || a.format == formatJSON {
				return &usageError{why: "top: it needs a terminal", hint: "`blobd status` shows the same once, with -o json for programs"}
			}
			return a.top(cmd.Context(), out, every)
		},
	}
	cmd.Flags().DurationVar(&every, "interval", every, "how often to look")
	return cmd
}

// answer is what a look at the daemon brought.
type answer struct {
	status *blobdv1.StatusResponse
	err    error
	panics any // of the goroutine that looked: the terminal is to be given back before the program ends
}

func (a *app) top(ctx context.Context, out *os.File, every time.Duration) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	look := func() (r answer) {
		defer func() {
			if r.panics = recover(); r.panics != nil {
				r.panics = fmt.Sprintf("%v\n%s", r.panics, debug.Stack())
			}
		}()
		ctx, cancel := context.WithTimeout(ctx, topPatience)
		defer cancel()
		r.status, r.err = c.Admin().Status(ctx, &blobdv1.StatusRequest{ListArtifacts: true})
		return r
	}
	first := look()
	if first.err != nil { // nobody there, or no right to look: said where it can be read later
		return first.err
	}

	s, err := openScreen(os.Stdin, out)
	if err != nil {
		return err
	}
	defer s.close()
	pressed := make(chan key)
	go readKeys(os.Stdin, pressed) // ends with the process: nothing else ends a read
	resized, stop := resizes()
	defer stop()
	looks, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer)
	go func() {
		for looks.Err() == nil {
			select {
			case <-time.After(every):
			case <-looks.Done():
				return
			}
			r := look()
			select {
			case answers <- r:
			case <-looks.Done():
			}
		}
	}()

	view := topView{colour: os.Getenv("NO_COLOR") == "", every: every}
	view.take(first)
	for {
		width, height := s.size()
		text, from, page := view.frame(width, height)
		view.scroll = from
		if err := draw(out, text); err != nil {
			return err
		}
		select {
		case r := <-answers:
			if r.panics != nil {
				panic(r.panics)
			}
			view.take(r)
		case k := <-pressed:
			if k == keyQuit {
				return nil
			}
			view.press(k, page)
		case <-resized:
		case <-ctx.Done():
			return nil
		}
	}
}

// draw puts the lines of a frame on the screen, in one go.
func draw(out *os.File, lines []string) error {
	w := bufio.NewWriterSize(out, 64<<10)
	w.WriteString(homeCursor)
	for i, line := range lines {
		if i > 0 {
			w.WriteString("\r\n")
		}
		w.WriteString(line)
		w.WriteString(clearRest)
	}
	w.WriteString(clearBelow)
	return w.Flush()
}
