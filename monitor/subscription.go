package monitor

import (
	"slices"
	"time"
)

// pending is how many events wait for a reader: what happens in some seconds, at the pace at which alike ones are
// gathered. A reader who needs longer than that is told how many he missed.
const pending = 512

// Subscription is one reader's way through the events. It is for one goroutine, but for Close.
type Subscription struct {
	events *events
	kinds  []Kind

	// Guarded by events.mu.
	queue  []Event
	missed int64
	more   chan struct{}
}

// Subscribe begins to follow the events of these kinds, of all where none is named, after the last backlog of those that
// are kept and came after a time. The reader must Close it.
func (m *Monitor) Subscribe(backlog int, after time.Time, kinds ...Kind) *Subscription {
	v := m.events
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &Subscription{events: v, kinds: slices.Clone(kinds), more: make(chan struct{}, 1)}
	s.queue = v.since(after, backlog, kinds)
	s.signal()
	v.subs[s] = struct{}{}
	return s
}

// push hands e over, or counts it as missed; the caller holds events.mu.
func (s *Subscription) push(e Event) {
	if !wants(s.kinds, e.Kind) {
		return
	}
	switch {
	case s.missed > 0 && len(s.queue)+2 <= pending:
		s.queue = append(s.queue, s.gap(e.At), e)
	case s.missed == 0 && len(s.queue) < pending:
		s.queue = append(s.queue, e)
	default:
		s.missed++
	}
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// gap tells of what was missed; the caller holds events.mu.
func (s *Subscription) gap(at time.Time) Event {
	e := Event{At: at, Kind: Missed, Count: s.missed, Text: "too many events at once for this reader"}
	s.missed = 0
	return e
}

// More holds a token when there may be something to take.
func (s *Subscription) More() <-chan struct{} { return s.more }

// Take returns the next events, at most so many, oldest first; none where none is waiting.
func (s *Subscription) Take(most int) []Event {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	n := min(len(s.queue), most)
	out := slices.Clone(s.queue[:n])
	s.queue = s.queue[n:]
	if len(s.queue) == 0 && s.missed > 0 && n < most {
		out = append(out, s.gap(s.events.last))
	}
	if len(s.queue) > 0 || s.missed > 0 {
		s.signal()
	}
	return out
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	delete(s.events.subs, s)
}
