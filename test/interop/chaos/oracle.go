package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// lag is how much older than its age says the word of the registry may be that a tag's digest rests on: between the
// registry's answer and the note of its time lies a reader that may have to wait for the processor.
const lag = 2 * time.Second

// oracle knows every byte that the registry ever served for each reference, and when each tag was what. Its methods may be
// called from several goroutines.
type oracle struct {
	mu       sync.Mutex // guards what follows
	archives map[digest.Digest]*archive
	all      []*archive        // that the registry has, in the order of their pushing
	tags     map[string][]span // by repository:tag, oldest first
	lies     map[digest.Digest][]lie
}

// span is a time during which a tag may have been a digest: from before it was told so to after it was told otherwise.
type span struct {
	digest digest.Digest
	from   time.Time
	to     time.Time // zero: still
}

// lie is a byte of a blob that the registry sent with one bit another.
type lie struct {
	at   int64
	when time.Time
}

func (l lie) String() string { return fmt.Sprintf("at byte %d since %s", l.at, clock(l.when)) }

func newOracle() *oracle {
	return &oracle{
		archives: map[digest.Digest]*archive{}, tags: map[string][]span{}, lies: map[digest.Digest][]lie{},
	}
}

// knows is told of an archive before the registry is.
func (o *oracle) knows(a *archive) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.archives[a.digest] = a
}

// has is told when the registry has an archive.
func (o *oracle) has(a *archive) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, a)
}

// naming is told before a tag is moved.
func (o *oracle) naming(name string, d digest.Digest, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tags[name] = append(o.tags[name], span{digest: d, from: now})
}

// named is told when a tag was moved.
func (o *oracle) named(name string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if spans := o.tags[name]; len(spans) > 1 {
		spans[len(spans)-2].to = now
	}
}

// lied is told before the registry sends a wrong byte.
func (o *oracle) lied(blob digest.Digest, at int64, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lies[blob] = append(o.lies[blob], lie{at, now})
}

// between is what a tag may have been at some moment of a time.
func (o *oracle) between(name string, from, to time.Time) []*archive {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []*archive
	for _, s := range o.tags[name] {
		if s.from.After(to) || !s.to.IsZero() && s.to.Before(from) {
			continue
		}
		if a := o.archives[s.digest]; !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// missing reports whether a tag may not have been there at some moment of a time.
func (o *oracle) missing(name string, from time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	spans := o.tags[name]
	return len(spans) == 0 || spans[0].from.After(from)
}

// archive is what has that digest; nil for one that was never pushed.
func (o *oracle) archive(d digest.Digest) *archive {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.archives[d]
}

// some calls pick with the archives of a repository ("" is all) in the order of their pushing.
func (o *oracle) some(repository string, pick func([]*archive) *archive) *archive {
	o.mu.Lock()
	defer o.mu.Unlock()
	var of []*archive
	for _, a := range o.all {
		if repository == "" || a.repository == repository {
			of = append(of, a)
		}
	}
	if len(of) == 0 {
		return nil
	}
	return pick(of)
}

// asked is how fresh an answer was wanted, and what the configuration allowed meanwhile.
type asked struct {
	name         string        // repository:tag; "" where the reference has a digest
	digest       digest.Digest // of the reference; "" where it has none
	noCache      bool
	requireFresh bool
	maxAge       time.Duration // negative where the call does not say
	ttl          time.Duration // the longest in force
	maxStale     time.Duration
	began, ended time.Time
}

// answer is what the daemon says that it resolved a reference to.
type answer struct {
	digest digest.Digest
	stale  bool
	age    time.Duration
}

// resolved holds an answer against what the reference was at the time.
func (o *oracle) resolved(q asked, r answer) (*archive, error) {
	a := o.archive(r.digest)
	switch {
	case a == nil:
		return nil, fmt.Errorf("digest %s was never pushed", r.digest)
	case q.digest != "" && (r.digest != q.digest || r.stale || r.age != 0):
		return nil, fmt.Errorf("the reference has digest %s, the answer is %s, stale %v, age %v", q.digest, r.digest, r.stale, r.age)
	case q.digest != "":
		return a, nil
	case r.stale && (q.requireFresh || q.noCache):
		return nil, fmt.Errorf("stale, %v old, though a fresh one was required", r.age)
	case r.stale && r.age > q.maxStale:
		return nil, fmt.Errorf("stale, %v old: more than max_stale, %v", r.age, q.maxStale)
	case !r.stale && r.age > q.mostAge():
		return nil, fmt.Errorf("%v old: more than %v, and not marked stale", r.age, q.mostAge())
	}
	from, to := q.began.Add(-r.age-lag), q.ended.Add(-r.age)
	if r.age == 0 && q.exact() {
		from = q.began // asked for this call
	}
	for _, was := range o.between(q.name, from, to) {
		if was == a {
			return a, nil
		}
	}
	return nil, fmt.Errorf("%s, %v old, is not what the tag was between %s and %s: %s",
		r.digest, r.age, clock(from), clock(to), o.history(q.name))
}

// exact reports whether the registry must have been asked after the call began.
func (q asked) exact() bool { return q.noCache || q.maxAge >= 0 }

// mostAge is how old an answer may be that is not stale.
func (q asked) mostAge() time.Duration {
	switch {
	case q.noCache:
		return 0
	case q.maxAge >= 0:
		return q.maxAge
	}
	return q.ttl
}

// candidates are the archives that a reference may mean to a caller who is not told which it was.
func (o *oracle) candidates(q asked) []*archive {
	if q.digest != "" {
		if a := o.archive(q.digest); a != nil {
			return []*archive{a}
		}
		return nil
	}
	from := q.began.Add(-q.mostAge() - lag)
	if !q.requireFresh && !q.noCache {
		from = q.began.Add(-max(q.maxStale, q.mostAge()) - lag)
	} else if q.mostAge() == 0 && q.exact() {
		from = q.began
	}
	return o.between(q.name, from, q.ended)
}

// content holds bytes of a file, from offset on, against what the registry served. Where the file's digest was not checked
// before they were handed out, the bytes that the registry lied about may be as it said.
func (o *oracle) content(a *archive, path string, offset int64, got []byte, verified bool) error {
	f := a.file(path)
	if f == nil {
		return fmt.Errorf("%q is not in %s", path, a)
	}
	want := make([]byte, len(got))
	if n, _ := f.content.ReadAt(want, offset); n != len(got) {
		return fmt.Errorf("%q of %s: %d bytes from %d on, of %d that there are", path, a, len(got), offset, f.size())
	}
	for i := range got {
		if got[i] == want[i] {
			continue
		}
		if !verified && o.lieAbout(a, f, offset+int64(i), got[i]^want[i]) {
			continue
		}
		return fmt.Errorf("%q of %s: byte %d is %#x, want %#x; %d bytes from %d on, verified: %v; lies %v",
			path, a, offset+int64(i), got[i], want[i], len(got), offset, verified, o.liesOf(a.data))
	}
	return nil
}

// lieAbout reports whether the registry ever sent a byte of a file with that difference. What a compressed file becomes by
// one wrong byte nobody knows.
func (o *oracle) lieAbout(a *archive, f *file, at int64, difference byte) bool {
	for _, l := range o.liesOf(a.data) {
		switch {
		case f.zstd && l.at >= f.offset && l.at < f.offset+f.stored:
			return true
		case !f.zstd && l.at == f.offset+at && difference == 1:
			return true
		}
	}
	return false
}

func (o *oracle) liesOf(blob digest.Digest) []lie {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.lies[blob])
}

// lying reports whether the registry ever sent a wrong byte of a blob.
func (o *oracle) lying() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.lies) > 0
}

// history tells the last things that a tag was.
func (o *oracle) history(name string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	spans := o.tags[name]
	out := ""
	for _, s := range spans[max(0, len(spans)-8):] {
		out += fmt.Sprintf(" %s from %s to %s;", short(s.digest), clock(s.from), clock(s.to))
	}
	return out
}

func short(d digest.Digest) string { return d.Encoded()[:12] }

func clock(t time.Time) string {
	if t.IsZero() {
		return "now"
	}
	return t.Format("15:04:05.000")
}
