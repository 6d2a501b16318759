package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/blobd/blobd/monitor"
)

// The tables of `blobd status` and `blobd top`. None is longer in a line than width, where that is above 0.

// cacheTable shows how full each cache is and how it does; with a width for a chart, over the last hour too.
func cacheTable(s monitor.Snapshot, width, chart int) []string {
	columns := []column{
		{title: "CACHE"}, {title: "USED", right: true}, {title: "LIMIT", right: true}, {title: "ENTRIES", right: true},
		{title: "HITS", right: true}, {title: "5 MIN", right: true},
	}
	if chart > 0 {
		columns = append(columns, column{title: cut("LAST HOUR", chart)})
	}
	var rows [][]string
	for _, c := range s.Caches {
		row := []string{c.Name, human(c.Bytes), human(c.Limit), humanize.Comma(c.Entries), percent(c.Looks), percent(c.Recent)}
		if !c.Enabled {
			row[1], row[2] = "off", ""
		}
		if chart > 0 {
			row = append(row, sparkline(s.History, s.At, c.Name, chart))
		}
		rows = append(rows, row)
	}
	return grid(columns, rows, width)
}

// percent is the part of looks that were hits; "-" where there were none.
func percent(l monitor.Looks) string {
	ratio, ok := l.Ratio()
	switch {
	case !ok:
		return "-"
	case ratio > 0.999 && ratio < 1: // 100 % are those without a miss
		return "99.9%"
	case ratio > 0.995 && ratio < 1, ratio > 0 && ratio < 0.005:
		return fmt.Sprintf("%.1f%%", 100*ratio)
	}
	return fmt.Sprintf("%.0f%%", 100*ratio)
}

// bars are the ratios from 0 to 1.
var bars = []rune("▁▂▃▄▅▆▇█")

// hour is how many minutes a chart shows.
const hour = 60

// sparkline draws the hit ratio of a cache over the last hour, oldest first, in width characters; a dot where nobody
// looked, nothing before the start.
func sparkline(history []monitor.Sample, now time.Time, cache string, width int) string {
	width = min(width, hour)
	looks, known := make([]monitor.Looks, width), make([]bool, width)
	for _, sample := range history {
		ago := int(now.Sub(sample.Start) / time.Minute)
		if ago < 0 || ago >= hour {
			continue
		}
		at := (hour - 1 - ago) * width / hour
		l := sample.Looks[cache]
		looks[at].Hits, looks[at].Misses, known[at] = looks[at].Hits+l.Hits, looks[at].Misses+l.Misses, true
	}
	out := make([]rune, width)
	for i := range out {
		ratio, ok := looks[i].Ratio()
		switch {
		case !known[i]:
			out[i] = ' '
		case !ok:
			out[i] = '·'
		default:
			out[i] = bars[min(int(ratio*float64(len(bars))), len(bars)-1)]
		}
	}
	return string(out)
}

// servedLine says how much callers got, and where from.
func servedLine(s monitor.Snapshot) string {
	var total int64
	var parts []string
	for _, v := range s.Served {
		total += v.Bytes
		if v.Bytes > 0 {
			parts = append(parts, human(v.Bytes)+" "+v.Source)
		}
	}
	if total == 0 {
		return "nothing yet"
	}
	return human(total) + " (" + strings.Join(parts, ", ") + ")"
}

// worstFirst sorts registries that fail before those that work, and those that nobody asked behind.
func worstFirst(list []monitor.Registry) []monitor.Registry {
	order := []string{"failing", "ok"}
	rank := func(r monitor.Registry) int {
		if i := slices.Index(order, r.State); i >= 0 {
			return i
		}
		return len(order)
	}
	return slices.SortedStableFunc(slices.Values(list), func(a, b monitor.Registry) int { return rank(a) - rank(b) })
}

// registryTable shows registries in the order of worstFirst.
func registryTable(s monitor.Snapshot, width int) []string {
	columns := []column{
		{title: "REGISTRY", flexible: true}, {title: "STATE"}, {title: "REQUESTS", right: true}, {title: "BYTES", right: true},
		{title: "BAD 5 MIN", right: true}, {title: "LAST OK", right: true}, {title: "ERROR", right: true},
	}
	var rows [][]string
	for _, r := range worstFirst(s.Registries) {
		rows = append(rows, []string{
			r.Name, r.State, humanize.Comma(r.Requests), human(r.Bytes), humanize.Comma(r.RecentBad),
			ago(s.At, r.LastOK), ago(s.At, r.LastError),
		})
	}
	return grid(columns, rows, width)
}

func flightTable(s monitor.Snapshot, width int) []string {
	columns := []column{{title: "FLIGHT"}, {title: "FOR", right: true}, {title: "CALLERS", right: true}, {title: "WHAT", flexible: true}}
	var rows [][]string
	for _, f := range s.Flights {
		rows = append(rows, []string{f.Kind, short(max(s.At.Sub(f.Since), 0)), fmt.Sprint(f.Callers), f.What})
	}
	return grid(columns, rows, width)
}

func artifactTable(s monitor.Snapshot, list []monitor.Artifact, width int) []string {
	columns := []column{
		{title: "ARTIFACT", flexible: true}, {title: "TAGS", flexible: true}, {title: "FILES", right: true}, {title: "SIZE", right: true},
		{title: "CACHED", right: true}, {title: "USED", right: true}, {title: ""},
	}
	var rows [][]string
	for _, a := range list {
		name, digest, _ := strings.Cut(a.Reference, "@")
		tags, pinned := strings.Join(a.Tags, ","), ""
		if tags == "" {
			tags = shortDigest(digest)
		}
		if a.Pinned {
			pinned = "pinned"
		}
		rows = append(rows, []string{
			name, tags, humanize.Comma(a.Files), human(a.Size), human(a.Cached), ago(s.At, a.LastUsed), pinned,
		})
	}
	return grid(columns, rows, width)
}

// ago is how long ago something was; "-" where it never was.
func ago(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	d := max(now.Sub(then), 0)
	if d < time.Minute {
		d = d.Truncate(time.Second)
	}
	return short(d)
}

// eventLine is one event in a line: when, of what kind, how many, what.
func eventLine(e monitor.Event, at string) string {
	return strings.TrimSpace(fmt.Sprintf("%s  %-16s  %s", at, e.Kind, eventWhat(e)))
}

// eventWhat says what an event is about, and what happened to it.
func eventWhat(e monitor.Event) string {
	var parts []string
	if e.Reference != "" {
		name, digest, _ := strings.Cut(e.Reference, "@")
		parts = append(parts, strings.TrimSuffix(name+"@"+shortDigest(digest), "@"))
	}
	if e.Registry != "" {
		parts = append(parts, e.Registry)
	}
	if e.Count > 1 && e.Kind != monitor.Evicted { // whose text has the number
		parts = append(parts, fmt.Sprintf("×%d", e.Count))
	}
	if e.Reason != "" && (e.Kind == monitor.Upstream || e.Kind == monitor.Failed) {
		parts = append(parts, e.Reason)
	}
	what := strings.Join(parts, " ")
	if what != "" && e.Text != "" {
		what += ": "
	}
	return oneLine(what + e.Text)
}
