package monitor

import "time"

const (
	// minutes is how far back History goes.
	minutes = 60
	// recentMinutes is what counts as recent: the minute under way and the four before it.
	recentMinutes = 5
)

// totals are counts since the start.
type totals struct {
	looks    [len(caches)]Looks
	served   int64
	upstream int64
	errors   int64
}

// mark is how the counts stood when a minute began.
type mark struct {
	at time.Time
	totals
}

// history is the marks of the last hour, oldest first.
type history struct{ marks []mark }

// turn begins the minute of now, and any before it that were missed, and returns how many that were. What was counted
// since the last turn falls into the minute that was under way.
func (h *history) turn(now time.Time, counts totals) (passed int) {
	now = now.Truncate(time.Minute)
	if len(h.marks) == 0 {
		h.marks = append(h.marks, mark{now, counts})
		return 0
	}
	last := h.marks[len(h.marks)-1].at
	switch gap := now.Sub(last); {
	case gap < 0, gap > minutes*time.Minute: // the clock was set, or the machine slept
		h.marks = append(h.marks[:0], mark{now, counts})
		return minutes
	case gap == 0:
		return 0
	}
	for last.Before(now) {
		last = last.Add(time.Minute)
		h.marks = append(h.marks, mark{last, counts})
		passed++
	}
	if over := len(h.marks) - minutes; over > 0 {
		h.marks = append(h.marks[:0], h.marks[over:]...)
	}
	return passed
}

// samples are the minutes, when the counts stand at now.
func (h *history) samples(now totals) []Sample {
	out := make([]Sample, len(h.marks))
	for i, from := range h.marks {
		to := now
		if i+1 < len(h.marks) {
			to = h.marks[i+1].totals
		}
		out[i] = Sample{
			Start: from.at, Looks: make(map[string]Looks, len(caches)),
			Served: to.served - from.served, Upstream: to.upstream - from.upstream, Errors: to.errors - from.errors,
		}
		for c, name := range caches {
			out[i].Looks[name] = to.looks[c].minus(from.looks[c])
		}
	}
	return out
}

// recent is the looks of the last minutes.
func (h *history) recent(now totals) (recent [len(caches)]Looks) {
	from := h.marks[max(len(h.marks)-recentMinutes, 0)]
	for c := range caches {
		recent[c] = now.looks[c].minus(from.looks[c])
	}
	return recent
}

func (l Looks) minus(from Looks) Looks {
	return Looks{Hits: l.Hits - from.Hits, Misses: l.Misses - from.Misses, Other: l.Other - from.Other}
}
