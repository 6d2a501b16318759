package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// report is what was measured.
type report struct {
	warm     []warmRow
	cold     []coldRow
	requests []requestsRow
}

// markdown is the page.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

Written by `+"`make bench`"+`: blobd and github.com/meigma/blob v1.1.2 in one run on one machine, against one registry on
loopback behind a proxy that counts. Requests and bytes are exact. Times depend on the machine and on what else it does: look
at the ratios, and run it where you want to know.

- %s, %s/%s, %d processors%s
- %s

`, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), processor(), time.Now().UTC().Format(time.DateOnly))

	fmt.Fprint(&b, `## Requests upstream

| | blobd | meigma/blob |
|---|---|---|
`)
	for _, row := range r.requests {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.name, row.blobd, row.peer)
	}

	fmt.Fprintf(&b, `
## Warm ReadFile

blobd: `+"`Archive.ReadFile`"+` of the client library, through the socket to the daemon, which is another process. meigma/blob:
`+"`Archive.ReadFile`"+` with all its caches, in the same process. Each time is the median of %d rounds in which the two take
turns; CPU is that of all processes that take part; allocations are the caller's. A ratio under 1 is in blobd's favour.

| size | blobd | meigma/blob | time ratio | blobd CPU | meigma/blob CPU | CPU ratio | blobd allocs | meigma/blob allocs |
|---|---|---|---|---|---|---|---|---|
`, rounds)
	for _, row := range r.warm {
		fmt.Fprintf(&b, "| %s | %s | %s | **%.2f** | %s | %s | %.2f | %.0f, %s | %.0f, %s |\n", size(float64(row.size)),
			short(row.blobd.time), short(row.peer.time), ratio(row.blobd.time, row.peer.time),
			short(row.blobd.cpu), short(row.peer.cpu), ratio(row.blobd.cpu, row.peer.cpu),
			row.blobd.allocs, size(row.blobd.bytes), row.peer.allocs, size(row.peer.bytes))
	}

	fmt.Fprintf(&b, `
## Cold read of 512 MiB

A stored file that is not cached, read through blobd to its checked end (Pull included), beside a plain GET of the same blob
by Go's HTTP client; medians of %d.

| registry | blobd | plain GET | time ratio |
|---|---|---|---|
`, coldRuns)
	for _, row := range r.cold {
		fmt.Fprintf(&b, "| %s | %s | %s | **%.2f** |\n", row.name, short(row.blobd), short(row.get), ratio(row.blobd, row.get))
	}
	return b.String()
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// short writes a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3g ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3g µs", float64(d)/1e3)
}

func size(bytes float64) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%.4g MiB", bytes/(1<<20))
	case bytes >= 1<<10:
		return fmt.Sprintf("%.4g KiB", bytes/(1<<10))
	}
	return fmt.Sprintf("%.0f B", bytes)
}

// processor is the processor's name, where the system tells it.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return " (" + strings.TrimSpace(value) + ")"
		}
	}
	return ""
}
