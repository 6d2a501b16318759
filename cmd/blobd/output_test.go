package main

import (
	"testing"
	"time"
)

func TestShortDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                  "0s",
		80 * time.Millisecond:              "80ms",
		1530 * time.Millisecond:            "1.5s",
		12 * time.Second:                   "12s",
		time.Minute:                        "1m",
		90 * time.Second:                   "1m30s",
		10 * time.Minute:                   "10m",
		time.Hour:                          "1h",
		20*time.Hour + 5*time.Minute:       "20h5m",
		24 * time.Hour:                     "1d",
		76*time.Hour + 30*time.Minute:      "3d4h",
		10*time.Hour + 30*time.Millisecond: "10h",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestCounts(t *testing.T) {
	for want, got := range map[string]string{
		"0 files": count(0, "file"), "1 file": count(1, "file"), "1,234 files": count(1234, "file"),
		"1 entry": count(1, "entry"), "2 entries": count(2, "entry"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestQuotedForTerminals(t *testing.T) {
	for in, want := range map[string]string{
		"plain/ü name": "plain/ü name",
		"bell\a":       `"bell\a"`,
		"esc\x1b[2J":   `"esc\x1b[2J"`,
		"two\nlines":   `"two\nlines"`,
	} {
		if got := quoted(in); got != want {
			t.Errorf("%q is shown as %s, want %s", in, got, want)
		}
	}
}
