package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/vfs"
)

// failure is an error as -o json prints it on stderr, in an object {"error": …}.
type failure struct {
	Exit       int    `json:"exit"`
	Reason     string `json:"reason,omitempty"`
	Message    string `json:"message"`
	Remedy     string `json:"remedy,omitempty"`
	RetryAfter string `json:"retry_after,omitempty"`
}

// describe takes from err what a person needs.
func describe(err error) failure {
	f := failure{Exit: exitCode(err), Message: err.Error()}
	if u, ok := errors.AsType[*usageError](err); ok {
		f.Message, f.Remedy = u.why, u.hint
	} else if p, ok := errors.AsType[*partialError](err); ok {
		f.Message = p.Error()
	} else if e, ok := errors.AsType[*client.Error](err); ok {
		f.Reason, f.Message, f.Remedy = e.Reason, e.Message, e.Remedy
		if e.RetryAfter > 0 {
			f.RetryAfter = short(e.RetryAfter)
		}
	} else if e, ok := errors.AsType[*fault.Error](err); ok {
		f.Reason, f.Remedy = string(e.Reason), e.Remedy
	} else if vfs.IsDiskTrouble(err) {
		f.Remedy = "write to another disk, or make room on this one"
	}
	return f
}

// line is the failure as `what: why; remedy`, whatever the message holds.
func (f failure) line() string {
	s := f.Message
	if f.Remedy != "" {
		s += "; " + f.Remedy
	} else if f.RetryAfter != "" {
		s += "; try again in " + f.RetryAfter
	}
	return oneLine(s)
}

// report prints err, if it is one, and returns its exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	f := describe(err)
	switch {
	case f.Exit == exitPipe:
	case a.format == formatJSON:
		writeJSON(a.stderr, map[string]failure{"error": f})
	default:
		a.note("%s", f.line())
	}
	return f.Exit
}

// note prints one line on stderr, an object {"note": …} with -o json.
func (a *app) note(format string, args ...any) {
	text := oneLine(fmt.Sprintf(format, args...))
	if a.format == formatJSON {
		writeJSON(a.stderr, map[string]string{"note": text})
		return
	}
	fmt.Fprintf(a.stderr, "blobd: %s\n", text)
}

// oneLine replaces what would break a line or a terminal.
func oneLine(s string) string { return strings.TrimSpace(printable(s)) }

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
