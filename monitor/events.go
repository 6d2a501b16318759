package monitor

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// foldFor is how long events that are alike are gathered into one after the first of them was told: few enough lines
	// for a person to read while thousands of entries are evicted.
	foldFor = time.Second
	// maxFolds is how many sorts of events are gathered at one time. Only pulls have more, one for each artifact: those
	// over it are told together, without a reference.
	maxFolds = 256
	// keptPerKind is how many events of each kind are kept for those who ask later; evictions so don't drive out what
	// is rare.
	keptPerKind = 200
)

// Kinds are those that a reader can ask for. Missed is told to whom it concerns.
func Kinds() []Kind { return []Kind{Pulled, Evicted, Corrupt, Upstream, Failed, Degraded} }

// events gathers what is alike, keeps the last of it, and hands it to those who follow.
type events struct {
	now      func() time.Time
	failures atomic.Int64 // all that were errors

	mu     sync.Mutex // guards all below
	last   time.Time  // when the last was told: no two have the same time, so that a reader can go on after one
	folds  map[fold]*Event
	timer  *time.Timer // runs while there are folds
	closed bool
	kept   map[Kind][]Event // oldest first
	failed []Event          // oldest first, each sort once
	subs   map[*Subscription]struct{}
}

// fold is what events that are gathered have in common.
type fold struct {
	kind                                       Kind
	reference, cache, registry, reason, source string
}

func newEvents(now func() time.Time) *events {
	return &events{
		now: now, folds: make(map[fold]*Event), kept: make(map[Kind][]Event), subs: make(map[*Subscription]struct{}),
	}
}

// note takes an event: it is told at once if none like it was told within foldFor, else with all others like it when
// that has passed.
func (v *events) note(e Event) {
	e.Text, e.Reference = tidy(e.Text), tidy(e.Reference)
	if e.isError() {
		v.failures.Add(e.Count)
	}
	key := fold{e.Kind, e.Reference, e.Cache, e.Registry, e.Reason, e.Source}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.folds[key] == nil && len(v.folds) >= maxFolds {
		e.Reference = ""
		key.reference = ""
	}
	if more := v.folds[key]; more != nil {
		more.Count, more.Bytes = more.Count+e.Count, more.Bytes+e.Bytes
		more.Text = e.Text
		return
	}
	v.publish(e)
	e.Count, e.Bytes = 0, 0
	v.folds[key] = &e
	if v.timer == nil && !v.closed {
		v.timer = time.AfterFunc(foldFor, v.flush)
	}
}

// flush tells what was gathered. A sort of which nothing came is gathered no longer.
func (v *events) flush() {
	v.mu.Lock()
	defer v.mu.Unlock()
	due := make([]*Event, 0, len(v.folds))
	for key, e := range v.folds {
		if e.Count == 0 {
			delete(v.folds, key)
		} else {
			due = append(due, e)
		}
	}
	slices.SortFunc(due, func(a, b *Event) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Cache, b.Cache), cmp.Compare(a.Registry, b.Registry),
			cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Reference, b.Reference), cmp.Compare(a.Source, b.Source))
	})
	for _, e := range due {
		v.publish(*e)
		e.Count, e.Bytes = 0, 0
	}
	v.timer = nil
	if len(v.folds) > 0 && !v.closed {
		v.timer = time.AfterFunc(foldFor, v.flush)
	}
}

// publish keeps an event and hands it out; the caller holds mu.
func (v *events) publish(e Event) {
	e.At = v.now().Round(0)
	if !e.At.After(v.last) && v.last.Sub(e.At) < foldFor { // else the clock was set back
		e.At = v.last.Add(1)
	}
	v.last = e.At
	if e.Text == "" {
		e.Text = e.sentence()
	}
	v.kept[e.Kind] = bounded(append(v.kept[e.Kind], e), keptPerKind)
	if e.isError() {
		v.fail(e)
	}
	for s := range v.subs {
		s.push(e)
	}
}

// fail adds e to the errors, together with those that say the same; the caller holds mu.
func (v *events) fail(e Event) {
	same := func(o Event) bool {
		return o.Kind == e.Kind && o.Cache == e.Cache && o.Registry == e.Registry && o.Reason == e.Reason && o.Text == e.Text
	}
	if i := slices.IndexFunc(v.failed, same); i >= 0 {
		e.Count += v.failed[i].Count
		v.failed = slices.Delete(v.failed, i, i+1)
	}
	v.failed = bounded(append(v.failed, e), MaxErrors)
}

// bounded drops the oldest beyond most.
func bounded(list []Event, most int) []Event {
	if over := len(list) - most; over > 0 {
		return slices.Delete(list, 0, over)
	}
	return list
}

// errors are the last ones, newest first.
func (v *events) errors() []Event {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := slices.Clone(v.failed)
	slices.Reverse(out)
	return out
}

// since are the kept events of these kinds after a time, oldest first, the last most of them; the caller holds mu.
func (v *events) since(after time.Time, most int, kinds []Kind) []Event {
	var out []Event
	for _, kind := range slices.Sorted(maps.Keys(v.kept)) {
		if !wants(kinds, kind) {
			continue
		}
		for _, e := range v.kept[kind] {
			if e.At.After(after) {
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.At.Compare(b.At) })
	return out[max(len(out)-most, 0):]
}

func (v *events) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
}

// wants reports whether kind is one of kinds; none stands for all.
func wants(kinds []Kind, kind Kind) bool { return len(kinds) == 0 || slices.Contains(kinds, kind) }
