package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"
)

// format is how results are printed: for people, or for programs. It is a pflag.Value.
type format string

const (
	formatText format = "" // the zero value
	formatJSON format = "json"
)

func (f *format) String() string {
	if *f == formatJSON {
		return "json"
	}
	return "text"
}

func (f *format) Set(s string) error {
	switch s {
	case "text":
		*f = formatText
	case "json":
		*f = formatJSON
	default:
		return fmt.Errorf("%q is neither text nor json", s)
	}
	return nil
}

func (*format) Type() string { return "format" }

// print writes one result: value as a line of JSON, or what text writes.
func (a *app) print(value any, text func(w io.Writer)) error {
	w := bufio.NewWriter(a.stdout)
	if a.format == formatJSON {
		if err := writeJSON(w, value); err != nil {
			return err
		}
	} else {
		text(w)
	}
	return w.Flush()
}

func writeJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// field is one line of a description.
type field struct{ name, value string }

// fields writes a description, its values aligned. Empty values are left out.
func fields(w io.Writer, list ...field) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range list {
		if f.value != "" {
			fmt.Fprintf(tw, "%s\t%s\n", f.name, oneLine(f.value))
		}
	}
	tw.Flush()
}

// isTerminal reports whether a person looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// human writes a size as people do: 3.4 MiB.
func human(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// count writes a number of things: 1,234 files.
func count(n int64, thing string) string {
	plural := thing + "s"
	if stem, ok := strings.CutSuffix(thing, "y"); ok {
		plural = stem + "ies"
	}
	if n == 1 {
		plural = thing
	}
	return humanize.Comma(n) + " " + plural
}

// short writes a duration in its one or two largest units: 3d4h, 2h5m, 1m30s, 1.5s, 80ms.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(large, small time.Duration, names string) string {
		s := fmt.Sprintf("%d%c", d/large, names[0])
		if rest := d % large / small; rest > 0 {
			s += fmt.Sprintf("%d%c", rest, names[1])
		}
		return s
	}
	switch {
	case d >= day:
		return two(day, time.Hour, "dh")
	case d >= time.Hour:
		return two(time.Hour, time.Minute, "hm")
	case d >= time.Minute:
		return two(time.Minute, time.Second, "ms")
	case d >= time.Second:
		return d.Truncate(100 * time.Millisecond).String()
	}
	return d.Truncate(time.Millisecond).String()
}

// quoted writes a path for a terminal: as it is, or as a Go string where it holds what a terminal would act on.
func quoted(path string) string {
	for _, r := range path {
		if !strconv.IsPrint(r) {
			return strconv.Quote(path)
		}
	}
	return path
}
