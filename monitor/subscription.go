package monitor

import (
	"context"
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
	more   chan struct{} // holds a token when there may be something to read
}

// Subscribe begins to follow the events of these kinds, of all where none is named, after the last backlog of those that
// are kept and came after a time. The reader must Close it.
func (m *Monitor) Subscribe(backlog int, after time.Time, kinds ...Kind) *Subscription {
	v := m.events
	v.mu.Lock()
	defer v.mu.Unlock()
	s := &Subscription{events: v, kinds: slices.Clone(kinds), more: make(chan struct{}, 1)}
	s.queue = v.since(after, backlog, kinds)
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

// Pending takes the next event that is there already; false where there is none.
func (s *Subscription) Pending() (Event, bool) {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	switch {
	case len(s.queue) > 0:
		e := s.queue[0]
		s.queue = s.queue[1:]
		return e, true
	case s.missed > 0:
		return s.gap(s.events.last), true
	}
	return Event{}, false
}

// Next waits for the next event, or for the end of ctx, whose error it returns then.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		if e, ok := s.Pending(); ok {
			return e, nil
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	delete(s.events.subs, s)
}
