package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/blobd/blobd/monitor"
)

var update = flag.Bool("update", false, "write the golden files anew")

// noon is when the snapshots of these tests are of; clocks on the screen are in local time, so it is that.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)

// busy is a daemon with something of everything.
func busy() topView {
	s := monitor.Snapshot{
		At: noon, Started: noon.Add(-26 * time.Hour), Version: "v0.5.0", PID: 4242, Socket: "/run/blobd/blobd.sock",
		CacheDir: "/var/cache/blobd", Bytes: 6 << 30, Limit: 10 << 30, DiskFree: 30 << 30, MinFree: 2 << 30, Upstream: 3 << 30,
		Served:   []monitor.Served{{Source: "memory", Bytes: 5 << 30}, {Source: "content", Bytes: 20 << 30}, {Source: "block"}, {Source: "upstream", Bytes: 1 << 30}},
		Problems: []string{"content: write: no space left on device"},
		Registries: []monitor.Registry{
			{Name: "ghcr.io", State: "ok", Requests: 1234, Bytes: 2 << 30, LastOK: noon.Add(-time.Second), RecentGood: 12},
			{Name: "registry.internal.example.com:5000", State: "failing", Requests: 9, LastError: noon.Add(-90 * time.Second), RecentBad: 3},
			{Name: "other", State: "unused"},
		},
		Errors: []monitor.Event{
			{At: noon.Add(-time.Minute), Kind: monitor.Upstream, Registry: "registry.internal.example.com:5000", Reason: "UPSTREAM_5XX", Count: 3,
				Text: "registry.internal.example.com:5000/team/site:v1: registry.internal.example.com:5000 answered 503"},
			{At: noon.Add(-time.Hour), Kind: monitor.Corrupt, Cache: "content", Count: 1, Text: "the content cache held something damaged"},
		},
		Flights: []monitor.Flight{
			{Kind: "blocks", What: "sha256:" + strings.Repeat("ab", 32), Since: noon.Add(-1500 * time.Millisecond), Callers: 7},
			{Kind: "tag", What: "ghcr.io/team/site:v1", Since: noon.Add(-80 * time.Millisecond), Callers: 1},
		},
		More: 3,
	}
	for i, name := range []string{"ref", "manifest", "index", "content", "block", "memory"} {
		s.Caches = append(s.Caches, monitor.Cache{
			Name: name, Enabled: name != "block", Bytes: 1 << (20 + i), Limit: 1 << 30, Entries: int64(i * 1234),
			Looks: monitor.Looks{Hits: int64(100 * i), Misses: 25}, Recent: monitor.Looks{Hits: int64(i)},
		})
	}
	for i := range 45 { // the daemon started in that hour
		looks := map[string]monitor.Looks{"content": {Hits: int64(i), Misses: int64(44 - i)}, "ref": {}}
		s.History = append(s.History, monitor.Sample{Start: noon.Add(time.Duration(i-44) * time.Minute), Looks: looks})
	}
	for i := range 40 {
		s.Artifacts = append(s.Artifacts, monitor.Artifact{
			Reference: fmt.Sprintf("ghcr.io/team/artifact-%02d@sha256:%s", i, strings.Repeat("0", 64)), Files: 3, Size: 5 << 20, Cached: 1 << 20,
			Tags: []string{"latest", fmt.Sprint("v", i)}[:i%3%2+1], Pinned: i == 0, LastUsed: noon.Add(-time.Duration(i) * time.Minute),
		})
	}
	return topView{now: s, flights: 2, served: 12 << 20, every: time.Second}
}

func TestFrame(t *testing.T) {
	first := busy()
	first.now = monitor.Snapshot{At: noon, Started: noon.Add(-time.Second), Version: "v0.5.0", PID: 1, Limit: 10 << 30}
	gone := busy()
	gone.gone = "no daemon at /run/blobd/blobd.sock: connection refused"
	coloured := busy()
	coloured.colour = true
	scrolled := busy()
	scrolled.scroll = 1000
	for name, tt := range map[string]struct {
		view          topView
		width, height int
	}{
		"busy":     {busy(), 120, 50},
		"usual":    {busy(), 80, 24},
		"narrow":   {busy(), 60, 30},
		"first":    {first, 80, 24},
		"gone":     {gone, 80, 24},
		"scrolled": {scrolled, 100, 40},
		"coloured": {coloured, 80, 24},
	} {
		t.Run(name, func(t *testing.T) {
			lines, _, _ := tt.view.frame(tt.width, tt.height)
			got := strings.Join(lines, "\n") + "\n"
			golden := filepath.Join("testdata", "top", name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != strings.ReplaceAll(string(want), "\r\n", "\n") {
				t.Errorf("not as %s has it (-update writes it anew):\n%s", golden, got)
			}
		})
	}
}

// A frame fits every terminal, down to the smallest, wherever in it one is.
func TestFrameFits(t *testing.T) {
	for width := 1; width <= 140; width += 3 {
		for height := 1; height <= 60; height++ {
			v := busy()
			v.scroll = width * height % 50
			lines, from, page := v.frame(width, height)
			if len(lines) != height {
				t.Fatalf("%d lines for a height of %d", len(lines), height)
			}
			for _, line := range lines {
				if n := utf8.RuneCountInString(line); n > width {
					t.Fatalf("%d places of %d: %q", n, width, line)
				}
			}
			if from < 0 || from+page > len(v.now.Artifacts) {
				t.Fatalf("artifacts %d to %d of %d", from, from+page, len(v.now.Artifacts))
			}
		}
	}
}

// What registries and callers wrote does nothing to the terminal.
func TestFrameOfHostileTexts(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\u202e\n\r"
	v := busy()
	v.now.Problems = []string{evil}
	v.now.Registries[0].Name = evil
	v.now.Errors[0].Text, v.now.Errors[0].Registry = evil, evil
	v.now.Flights[0].What = evil
	v.now.Artifacts[0].Reference, v.now.Artifacts[0].Tags = evil, []string{evil}
	v.now.Version = evil
	v.gone = evil
	lines, _, _ := v.frame(120, 50)
	if i := slices.IndexFunc(lines, func(line string) bool { return strings.ContainsAny(line, "\x1b\x07\u202e\n\r") }); i >= 0 {
		t.Errorf("line %d: %q", i, lines[i])
	}
}

func TestScrolling(t *testing.T) {
	v := busy()
	for _, step := range []struct {
		key  key
		want int // the first artifact shown
	}{
		{keyUp, 0}, {keyDown, 1}, {keyDown, 2}, {keyUp, 1}, {keyLast, -1}, {keyDown, -1}, {keyUp, -2}, {keyFirst, 0}, {keyPageDown, -3}, {keyPageUp, 0},
	} {
		_, _, page := v.frame(100, 30)
		last := len(v.now.Artifacts) - page
		v.press(step.key, page)
		_, v.scroll, _ = v.frame(100, 30)
		want := map[int]int{-1: last, -2: last - 1, -3: page}[step.want]
		if step.want >= 0 {
			want = step.want
		}
		if v.scroll != want {
			t.Fatalf("key %d shows artifacts from %d, want %d", step.key, v.scroll, want)
		}
	}
}

func TestKeys(t *testing.T) {
	for in, want := range map[string][]key{
		"q":                      {keyQuit},
		"\x03":                   {keyQuit},
		"jk\x1b[A\x1b[Bxyz":      {keyDown, keyUp, keyUp, keyDown},
		"\x1bOA\x1b[5~\x1b[6~gG": {keyUp, keyPageUp, keyPageDown, keyFirst, keyLast},
		"\x1b\x1b[9;5u":          nil,
		"":                       nil,
	} {
		if got := splitKeys(in); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
	pressed := make(chan key, 10)
	readKeys(strings.NewReader("jq"), pressed)
	if len(pressed) != 2 || <-pressed != keyDown || <-pressed != keyQuit {
		t.Error("keys that were read got lost")
	}
}

// Rates are those between two looks at one daemon; of a new one there are none yet, and a failure changes nothing shown.
func TestTake(t *testing.T) {
	v := busy()
	v.served = 0
	next := busy().now
	r := statusOf(next)
	r.At = stampOf(next.At.Add(2 * time.Second))
	r.Served[0].Bytes += 4 << 20
	r.UpstreamBytes += 2 << 20
	v.take(answer{status: r})
	if v.served != 2<<20 || v.upstream != 1<<20 {
		t.Errorf("%v and %v bytes a second", v.served, v.upstream)
	}
	v.take(answer{err: errors.New("gone")})
	if v.gone != "gone" || v.now.PID != 4242 {
		t.Errorf("%q, pid %d", v.gone, v.now.PID)
	}
	r.Started, r.At = stampOf(next.At.Add(3*time.Second)), stampOf(next.At.Add(4*time.Second))
	r.Served[0].Bytes = 1
	v.take(answer{status: r})
	if v.served != 0 || v.gone != "" {
		t.Errorf("of a new daemon: %v bytes a second, %q", v.served, v.gone)
	}
}

func TestSparkline(t *testing.T) {
	looks := func(minute int, l monitor.Looks) monitor.Sample {
		return monitor.Sample{Start: noon.Add(time.Duration(minute) * time.Minute), Looks: map[string]monitor.Looks{"c": l}}
	}
	for name, tt := range map[string]struct {
		history []monitor.Sample
		width   int
		want    string
	}{
		"none":          {nil, 3, "   "},
		"now":           {[]monitor.Sample{looks(0, monitor.Looks{Hits: 1})}, 3, "  █"},
		"nobody looked": {[]monitor.Sample{looks(-30, monitor.Looks{}), looks(0, monitor.Looks{Misses: 1})}, 3, " ·▁"},
		"together":      {[]monitor.Sample{looks(-1, monitor.Looks{Hits: 1}), looks(0, monitor.Looks{Misses: 1})}, 1, "▅"},
		"too old":       {[]monitor.Sample{looks(-60, monitor.Looks{Hits: 1}), looks(1, monitor.Looks{Hits: 1})}, 2, "  "},
		"nearly all":    {[]monitor.Sample{looks(0, monitor.Looks{Hits: 999, Misses: 1})}, 1, "█"},
		"wider":         {[]monitor.Sample{looks(0, monitor.Looks{Hits: 1})}, 100, strings.Repeat(" ", 59) + "█"},
	} {
		if got := sparkline(tt.history, noon, "c", tt.width); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestPercent(t *testing.T) {
	for want, l := range map[string]monitor.Looks{
		"-": {}, "100%": {Hits: 5}, "0%": {Misses: 5}, "50%": {Hits: 1, Misses: 1}, "99.9%": {Hits: 99999, Misses: 1},
		"99.8%": {Hits: 998, Misses: 2}, "0.1%": {Hits: 1, Misses: 999}, "98%": {Hits: 98, Misses: 2},
	} {
		if got := percent(l); got != want {
			t.Errorf("%+v: %s, want %s", l, got, want)
		}
	}
}

func TestGrid(t *testing.T) {
	columns := []column{{title: "NAME", flexible: true}, {title: "N", right: true}, {title: "LAST"}}
	rows := [][]string{{"a-very-long-name", "1", "x"}, {"ü", "234", ""}}
	for width, want := range map[int]string{
		0:  "NAME                N  LAST\na-very-long-name    1  x\nü                 234",
		22: "NAME           N  LAST\na-very-lon…    1  x\nü            234",
		15: "NAME        N …\na-very-…    1 …\nü         234",
	} {
		if got := strings.Join(grid(columns, rows, width), "\n"); got != want {
			t.Errorf("in %d places:\n%s\nwant:\n%s", width, got, want)
		}
	}
	if got := strings.Join(wrap("one two three sha256:0123456789 four", 14, "  "), "\n"); got != "  one two\n  three\n  sha256:01234\n  56789 four" {
		t.Errorf("wrapped:\n%s", got)
	}
}
