package page

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/blobd/blobd/monitor"
)

// view is what the template shows: a snapshot, what was asked for, and what follows from the two.
type view struct {
	monitor.Snapshot
	query
	CSS template.CSS
	JS  template.JS

	Failing []monitor.Registry // those that fail now
	Matches []monitor.Artifact
}

func newView(s monitor.Snapshot, q query) view {
	failing := slices.DeleteFunc(slices.Clone(s.Registries), func(r monitor.Registry) bool { return r.State != "failing" })
	return view{
		Snapshot: s, query: q, CSS: template.CSS(style), JS: template.JS(script),
		Failing: failing, Matches: q.artifacts(s.Artifacts),
	}
}

// Trouble is how many things are wrong now.
func (v view) Trouble() int64 { return int64(len(v.Problems) + len(v.Failing)) }

// Starting reports whether the storage is not open yet, of which there is nothing to tell before.
func (v view) Starting() bool { return v.Limit == 0 }

// Hour is the sum of the last hour.
func (v view) Hour() (sum monitor.Sample) {
	for _, m := range v.History {
		sum.Served += m.Served
		sum.Upstream += m.Upstream
		sum.Errors += m.Errors
	}
	return sum
}

// ServedInAll is how many bytes callers got since the start.
func (v view) ServedInAll() (sum int64) {
	for _, s := range v.Served {
		sum += s.Bytes
	}
	return sum
}

// Known is how many artifacts the cache knows.
func (v view) Known() int64 { return int64(len(v.Artifacts) + v.More) }

// Rows are how many of the n rows of a table are shown.
func (v view) Rows(table string, n int) int {
	if v.All {
		return n
	}
	return min(n, limitOf(table))
}

// rest leads to the rows of a table that are not shown, or away from them. It is the zero value where all always are.
type rest struct {
	Link  string
	Total int
	All   bool
}

// Rest is the rest of a table of n rows.
func (v view) Rest(table string, n int) (r rest) {
	if n > limitOf(table) {
		r = rest{v.AllLink(table), n, v.All}
	}
	return r
}

func limitOf(table string) int {
	if table == "artifacts" {
		return some
	}
	return few
}

// moment is a point in time for people, and for programs.
type moment struct{ Text, Exact, Machine string }

// Ago tells how long ago t was, in words.
func (v view) Ago(t time.Time) moment {
	if t.IsZero() {
		return moment{Text: "never"}
	}
	text := humanize.RelTime(t, v.At, "ago", "from now")
	if text == "now" {
		text = "just now"
	}
	return moment{
		Text:  text,
		Exact: t.Format("2006-01-02 15:04:05 MST"), Machine: t.Format(time.RFC3339),
	}
}

// Lasting is how long something has gone on that began at t.
func (v view) Lasting(t time.Time) string { return max(v.At.Sub(t), 0).Truncate(time.Second).String() }

// functions are what the template says things with. Names that others chose go through clean.
var functions = template.FuncMap{
	"clean":   clean,
	"count":   count,
	"percent": percent,
	"ratio":   func(l monitor.Looks) string { return percent(l.Hits, l.Hits+l.Misses) },
	"looks":   func(l monitor.Looks) string { return count(l.Hits+l.Misses, "look") },
	"number":  number,
	"add":     func(a, b int64) int64 { return a + b },
	"width":   func(part, whole int64) string { return fmt.Sprintf("%.1f", 100*share(part, whole)) },
	"tags":    func(a monitor.Artifact) []string { return a.Tags[:min(len(a.Tags), fewTags)] },
	"size":    func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
	"name":    func(a monitor.Artifact) string { name, _, _ := strings.Cut(a.Reference, "@"); return name },
	"digest":  func(a monitor.Artifact) string { _, digest, _ := strings.Cut(a.Reference, "@"); return digest },
	"digests": func(what string) bool { return !strings.Contains(what, "/") },
	"kind":    func(k monitor.Kind) string { return cmp.Or(kinds[k], clean(string(k))) },
	"about":   func(cache string) string { return caches[cache] },
}

// kinds are the kinds of events in words.
var kinds = map[monitor.Kind]string{
	monitor.Pulled: "pulled", monitor.Evicted: "evicted", monitor.Corrupt: "damaged entry",
	monitor.Upstream: "registry failed", monitor.Failed: "call failed", monitor.Degraded: "disk",
}

// caches tell what each cache is for.
var caches = map[string]string{
	"ref": "what a tag points to", "manifest": "what an artifact is made of", "index": "which files it has",
	"content": "whole files", "block": "parts of archives", "memory": "the hottest of the others",
}

func number(n int64) string { return humanize.Comma(n) }

// count writes a number of things: 1,234 files.
func count(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return number(n) + " " + thing
}

// share is a part of a whole, from 0 to 1.
func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(max(float64(part)/float64(whole), 0), 1)
}

// percent writes a part of a whole. Only all of it is 100 %, and only nothing 0 %.
func percent(part, whole int64) string {
	part = max(part, 0)
	switch {
	case whole <= 0:
		return "–"
	case part == 0:
		return "0 %"
	case part >= whole:
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", max(math.Floor(1000*share(part, whole))/10, 0.1))
}
