package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// tally counts how attempts ended. Its methods may be called from several goroutines.
type tally struct {
	mu       sync.Mutex                // guards what follows
	outcomes map[string]map[string]int // by kind and outcome
	bytes    map[string]int64
	stale    int
}

func newTally() *tally {
	return &tally{outcomes: map[string]map[string]int{}, bytes: map[string]int64{}}
}

func (c *tally) add(kind, outcome string, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outcomes[kind] == nil {
		c.outcomes[kind] = map[string]int{}
	}
	c.outcomes[kind][outcome]++
	c.bytes[kind] += bytes
}

func (c *tally) staleServed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale++
}

// sums are all attempts that went well, all others, the bytes that were compared, and the answers that were stale.
func (c *tally) sums() (ok, failed int, bytes int64, stale int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for kind, outcomes := range c.outcomes {
		for outcome, n := range outcomes {
			if outcome == "ok" {
				ok += n
			} else {
				failed += n
			}
		}
		bytes += c.bytes[kind]
	}
	return ok, failed, bytes, c.stale
}

// write prints a table: a kind a line, and what became of it.
func (c *tally) write(out io.Writer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  what\tok\tMiB\tfailed\tof")
	for _, kind := range slices.Sorted(maps.Keys(c.outcomes)) {
		outcomes := c.outcomes[kind]
		failed := 0
		var of []string
		for outcome, n := range outcomes {
			if outcome != "ok" {
				failed += n
				of = append(of, outcome)
			}
		}
		slices.SortFunc(of, func(a, b string) int { return outcomes[b] - outcomes[a] })
		for i, outcome := range of {
			of[i] = fmt.Sprintf("%s %d", outcome, outcomes[outcome])
		}
		fmt.Fprintf(table, "  %s\t%d\t%d\t%d\t%s\n", kind, outcomes["ok"], c.bytes[kind]/mib, failed, strings.Join(of, ", "))
	}
	return table.Flush()
}
