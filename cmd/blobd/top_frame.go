package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/blobd/blobd/monitor"
)

// topView is what `blobd top` shows, and where in it one is.
type topView struct {
	now      monitor.Snapshot // the last one
	flights  int64            // all, also those that the snapshot has no place for
	served   float64          // bytes a second, since the snapshot before
	upstream float64
	gone     string // why there is no newer one
	scroll   int    // the first artifact shown
	colour   bool
	every    time.Duration
}

// take shows a new answer, or says that there was none.
func (v *topView) take(r answer) {
	if r.err != nil {
		v.gone = describe(r.err).Message
		return
	}
	before := v.now
	v.now, v.gone, v.flights = snapshotOf(r.status), "", r.status.GetFlights()
	v.served, v.upstream = 0, 0
	if d := v.now.At.Sub(before.At).Seconds(); d > 0 && before.Started.Equal(v.now.Started) {
		v.served = float64(totalServed(v.now)-totalServed(before)) / d
		v.upstream = float64(v.now.Upstream-before.Upstream) / d
	}
}

func totalServed(s monitor.Snapshot) (n int64) {
	for _, v := range s.Served {
		n += v.Bytes
	}
	return n
}

// press goes through the artifacts, of which a page is on the screen. The frame bounds where that ends.
func (v *topView) press(k key, page int) {
	switch k {
	case keyUp:
		v.scroll--
	case keyDown:
		v.scroll++
	case keyPageUp:
		v.scroll -= max(page, 1)
	case keyPageDown:
		v.scroll += max(page, 1)
	case keyFirst:
		v.scroll = 0
	case keyLast:
		v.scroll = len(v.now.Artifacts)
	}
}

// How lines look, where there are colours.
const (
	plain   = ""
	titled  = "\x1b[1m"
	alarmed = "\x1b[31m"
	dimmed  = "\x1b[2m"
	noStyle = "\x1b[0m"
)

// line is one of the screen.
type line struct{ text, style string }

// section is a table of the screen, of which some rows may have to be left out.
type section struct {
	title string
	rows  []line
	shown int // rows there is room for
}

// frame draws the view for a terminal of that size: at most height lines, none longer than width. It returns the first
// artifact that it shows, and how many.
func (v *topView) frame(width, height int) (lines []string, from, page int) {
	head := v.head(width)
	caches := cacheTable(v.now, width, chartWidth(width))
	head = append(head, line{}, line{caches[0], titled})
	for _, row := range caches[1:] {
		head = append(head, line{row, plain})
	}
	sections := v.sections(width)
	room := height - len(head) - 1 // for the foot
	gap := 0                       // between sections
	if room >= 18 {
		gap = 1
	}
	share(sections, room, gap)
	artifacts := &sections[len(sections)-1]
	page = artifacts.shown
	from = max(min(v.scroll, len(artifacts.rows)-page), 0)
	artifacts.rows = artifacts.rows[from:]
	all := head
	for _, s := range sections {
		if s.shown == 0 {
			continue
		}
		for range gap {
			all = append(all, line{})
		}
		all = append(all, line{s.title, titled})
		rows := s.rows[:s.shown]
		if left := len(s.rows) - s.shown; left > 0 && s.shown > 1 && s.title != artifacts.title {
			rows = append(rows[:s.shown-1:s.shown-1], line{fmt.Sprintf("… and %d more", left+1), dimmed})
		}
		all = append(all, rows...)
	}
	all = all[:max(min(len(all), height-1), 0)]
	for len(all) < height-1 {
		all = append(all, line{})
	}
	all = append(all, v.foot(from, page))
	for _, l := range all[len(all)-height:] {
		lines = append(lines, v.style(l, width))
	}
	return lines, from, page
}

// style makes a line fit for the terminal.
func (v *topView) style(l line, width int) string {
	text := cut(printable(l.text), width)
	if !v.colour || l.style == plain || text == "" {
		return text
	}
	return l.style + text + noStyle
}

// chartWidth is what is left for the chart beside the caches' figures.
func chartWidth(width int) int {
	const figures = 54
	return max(min(width-figures, hour), 0)
}

// head is what stands above all tables.
func (v *topView) head(width int) []line {
	s := v.now
	first := fmt.Sprintf("blobd %s   pid %d   up %s", s.Version, s.PID, short(max(s.At.Sub(s.Started), 0).Truncate(time.Second)))
	clock := s.At.Local().Format(time.TimeOnly)
	if space := width - utf8.RuneCountInString(first) - len(clock); space > 0 {
		first += strings.Repeat(" ", space) + clock
	}
	const gaugeWidth = 20
	lines := []line{
		{first, titled},
		{fmt.Sprintf("disk     %s %s of %s, %s free", gauge(s.Bytes, s.Limit, gaugeWidth), human(s.Bytes), human(s.Limit), human(s.DiskFree)), plain},
		{fmt.Sprintf("served   %s/s, in all %s", human(int64(v.served)), servedLine(s)), plain},
		{fmt.Sprintf("fetched  %s/s, in all %s from registries", human(int64(v.upstream)), human(s.Upstream)), plain},
	}
	for _, p := range s.Problems {
		lines = append(lines, line{"problem: " + oneLine(p), alarmed})
	}
	if s.Scanning {
		lines = append(lines, line{"the folders are still being counted", dimmed})
	}
	return lines
}

// gauge is how full something is.
func gauge(n, limit int64, width int) string {
	full := 0
	if limit > 0 {
		full = int(max(min(n, limit), 0) * int64(width) / limit)
	}
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// sections are the tables below the caches; the artifacts are the last.
func (v *topView) sections(width int) []section {
	s := v.now
	of := func(table []string, style func(i int) string) section {
		out := section{title: table[0]}
		for i, row := range table[1:] {
			out.rows = append(out.rows, line{row, style(i)})
		}
		return out
	}
	registries := worstFirst(s.Registries)
	none := func(int) string { return plain }
	list := []section{
		of(registryTable(s, width), func(i int) string {
			if registries[i].State == "failing" {
				return alarmed
			}
			return plain
		}),
		of(flightTable(s, width), none),
	}
	failures := section{title: fit("ERRORS LATELY", width)}
	for _, e := range s.Errors {
		text := fmt.Sprintf("%5s  %s: %s", ago(s.At, e.At), errorWord(e.Kind), eventWhat(e))
		failures.rows = append(failures.rows, line{text, alarmed})
	}
	return append(list, failures, of(artifactTable(s, s.Artifacts, width), none))
}

// share gives the sections rows of the room, each in turn. A section with rows takes one for its title, and the gap before.
func share(sections []section, room, gap int) {
	for more := true; more; {
		more = false
		for i := range sections {
			s := &sections[i]
			cost := 1
			if s.shown == 0 {
				cost = 2 + gap
			}
			if s.shown < len(s.rows) && cost <= room {
				s.shown++
				room -= cost
				more = true
			}
		}
	}
}

// foot is the last line: that the daemon is gone, or where one is and what the keys do.
func (v *topView) foot(from, page int) line {
	if v.gone != "" {
		return line{fmt.Sprintf("as of %s; trying again each %s: %s", v.now.At.Local().Format(time.TimeOnly), short(v.every), v.gone), alarmed}
	}
	text := "q quits"
	if all := len(v.now.Artifacts) + v.now.More; page < all {
		text += fmt.Sprintf("   ↑↓ scroll   artifacts %d to %d of %d", from+1, from+page, all)
	}
	return line{text, dimmed}
}
