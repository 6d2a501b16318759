package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at is a time of the tests' history, in seconds.
func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// past is an oracle with a tag that was first, second and first again: moved at 100, 200 and 300, each in 2 s.
func past(t *testing.T) (o *oracle, first, second, other *archive) {
	t.Helper()
	w := newAuthor(rand.New(rand.NewPCG(1, 2)))
	o = newOracle()
	write := func() *archive {
		a, _, _ := w.write("acme/app")
		o.knows(a)
		o.has(a)
		return a
	}
	first, second, other = write(), write(), write()
	for i, a := range []*archive{first, second, first} {
		o.naming("acme/app:v", a.digest, at(100*(i+1)))
		o.named("acme/app:v", at(100*(i+1)+2))
	}
	return o, first, second, other
}

// TestResolved holds answers about a tag, right and wrong ones, against its history.
func TestResolved(t *testing.T) {
	o, first, second, other := past(t)
	tag := func(change func(*asked)) asked {
		q := asked{name: "acme/app:v", maxAge: -1, ttl: 10 * time.Second, maxStale: 30 * time.Second, began: at(250), ended: at(251)}
		if change != nil {
			change(&q)
		}
		return q
	}
	when := func(began, ended int) asked { return tag(func(q *asked) { q.began, q.ended = at(began), at(ended) }) }
	fresh := func(q *asked) { q.maxAge, q.requireFresh = 0, true }
	for _, c := range []struct {
		name  string
		asked asked
		is    answer
		wrong string // "" is a right answer
	}{
		{"what it is", tag(nil), answer{digest: second.digest}, ""},
		{"what it is not yet", when(150, 160), answer{digest: second.digest}, "not what the tag was"},
		{"what it never was", tag(nil), answer{digest: other.digest}, "not what the tag was"},
		{"what nobody pushed", tag(nil), answer{digest: digest.FromString("nobody")}, "never pushed"},
		{"what it was, within the TTL", when(208, 209), answer{digest: first.digest, age: 9 * time.Second}, ""},
		{"what it was, and the age does not fit", when(250, 251), answer{digest: first.digest, age: 9 * time.Second}, "not what the tag was"},
		{"older than the TTL", when(205, 206), answer{digest: first.digest, age: 11 * time.Second}, "not marked stale"},
		{"older than a maximum age", tag(func(q *asked) { q.maxAge = time.Second }), answer{digest: second.digest, age: 2 * time.Second}, "not marked stale"},
		{"stale", when(220, 221), answer{digest: first.digest, stale: true, age: 20 * time.Second}, ""},
		{"too stale", when(240, 241), answer{digest: first.digest, stale: true, age: 40 * time.Second}, "max_stale"},
		{"stale where a fresh one is required", tag(fresh), answer{digest: second.digest, stale: true}, "required"},
		{"stale past the caches", tag(func(q *asked) { q.noCache = true }), answer{digest: second.digest, stale: true}, "required"},
		{"fresh, while it moves", tag(func(q *asked) { fresh(q); q.began, q.ended = at(201), at(201) }), answer{digest: first.digest}, ""},
		{"fresh, after it moved", tag(func(q *asked) { fresh(q); q.began, q.ended = at(203), at(204) }), answer{digest: first.digest}, "not what the tag was"},
		{"joined a question that was asked before", when(203, 204), answer{digest: first.digest}, ""},
		{"moved back", when(310, 311), answer{digest: first.digest}, ""},
		{"a digest", asked{digest: first.digest}, answer{digest: first.digest}, ""},
		{"another digest", asked{digest: first.digest}, answer{digest: second.digest}, "the reference has digest"},
		{"a digest that is stale", asked{digest: first.digest}, answer{digest: first.digest, stale: true}, "the reference has digest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := o.resolved(c.asked, c.is)
			switch {
			case c.wrong == "" && (err != nil || a.digest != c.is.digest):
				t.Errorf("%v, %v", a, err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("%v, %v, want an error with %q", a, err, c.wrong)
			}
		})
	}
}

// TestCandidates: a caller who is told no digest may have got what the tag was for as long as it may be believed.
func TestCandidates(t *testing.T) {
	o, first, second, _ := past(t)
	q := asked{name: "acme/app:v", maxAge: -1, ttl: 10 * time.Second, maxStale: 30 * time.Second}
	for _, c := range []struct {
		name   string
		change func(*asked)
		began  int
		want   []*archive
	}{
		{"stale is possible", func(*asked) {}, 230, []*archive{first, second}},
		{"no longer", func(*asked) {}, 240, []*archive{second}},
		{"not stale", func(q *asked) { q.requireFresh = true }, 230, []*archive{second}},
		{"by the TTL", func(q *asked) { q.requireFresh = true }, 210, []*archive{first, second}},
		{"now", func(q *asked) { q.requireFresh, q.maxAge = true, 0 }, 203, []*archive{second}},
		{"a digest", func(q *asked) { q.digest = first.digest }, 203, []*archive{first}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := q
			q.began, q.ended = at(c.began), at(c.began+1)
			c.change(&q)
			got := o.candidates(q)
			if len(got) != len(c.want) {
				t.Fatalf("%v, want %v", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Errorf("%v, want %v", got, c.want)
				}
			}
		})
	}
}

// TestContent holds bytes, right and wrong ones, against what the registry served.
func TestContent(t *testing.T) {
	o, a, second, _ := past(t)
	f := &a.files[0]
	for i := range a.files {
		if !a.files[i].zstd && a.files[i].size() > 100 {
			f = &a.files[i]
		}
	}
	if f.zstd || f.size() <= 100 {
		t.Fatal("the archive has no stored file of more than 100 bytes: take another seed")
	}
	right := func() []byte {
		b := make([]byte, f.size())
		_, _ = f.content.ReadAt(b, 0)
		return b
	}
	change := func(at int, by byte) []byte {
		b := right()
		b[at] ^= by
		return b
	}
	o.lied(a.data, f.offset+50, at(0))
	for _, c := range []struct {
		name     string
		of       *archive
		path     string
		offset   int64
		got      []byte
		verified bool
		wrong    string
	}{
		{"all", a, f.path, 0, right(), true, ""},
		{"a part", a, f.path, 10, right()[10:20], true, ""},
		{"nothing, at the end", a, f.path, f.size(), nil, true, ""},
		{"a part from elsewhere", a, f.path, 11, right()[10:20], true, "byte 11"},
		{"a bit", a, f.path, 0, change(49, 1), false, "byte 49"},
		{"what the registry lied, not checked", a, f.path, 0, change(50, 1), false, ""},
		{"what the registry lied, and more", a, f.path, 0, change(50, 3), false, "byte 50"},
		{"what the registry lied, checked", a, f.path, 0, change(50, 1), true, "byte 50"},
		{"too much", a, f.path, 1, right(), true, "of "},
		{"no such file", a, "no/such", 0, nil, true, "is not in"},
		{"the file of another archive", second, f.path, 0, right(), true, second.repository},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := o.content(c.of, c.path, c.offset, c.got, c.verified)
			switch {
			case c.wrong == "" && err != nil:
				t.Error(err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("%v, want an error with %q", err, c.wrong)
			}
		})
	}
}

// TestJudge gives failures, right and wrong ones, to be judged.
func TestJudge(t *testing.T) {
	o, first, _, _ := past(t)
	b := newBlame()
	s := &storm{oracle: o, blame: b}
	w := &worker{storm: s}
	b.struck(broken, "acme/app", at(250))
	b.begins(daemonDown, at(300))
	b.ends(daemonDown, at(301))
	fails := func(r fault.Reason, code codes.Code) error {
		return &client.Error{Code: code, Reason: string(r), Message: "x"}
	}
	for _, c := range []struct {
		name  string
		try   attempt
		began int
		took  time.Duration
		err   error
		wrong string
	}{
		{"all is well", attempt{}, 0, time.Second, nil, ""},
		{"it failed of a fault", attempt{repository: "acme/app"}, 260, time.Second, fails(fault.Upstream5xx, 0), ""},
		{"before the fault", attempt{repository: "acme/app"}, 240, time.Second, fails(fault.Upstream5xx, 0), "nothing that was done"},
		{"long after it", attempt{repository: "acme/app"}, 350, time.Second, fails(fault.Upstream5xx, 0), "nothing that was done"},
		{"of another's fault", attempt{repository: "acme/site"}, 260, time.Second, fails(fault.Upstream5xx, 0), "nothing that was done"},
		{"of another fault", attempt{repository: "acme/app"}, 260, time.Second, fails(fault.Truncated, 0), "nothing that was done"},
		{"the daemon was down", attempt{}, 302, time.Second, fails(client.DaemonUnreachable, 0), ""},
		{"the daemon was up", attempt{}, 100, time.Second, fails(client.DaemonUnreachable, 0), "nothing that was done"},
		{"a bug", attempt{repository: "acme/app"}, 260, time.Second, fails(fault.Internal, 0), "nothing that was done"},
		{"a stream that contradicts itself", attempt{repository: "acme/app"}, 260, time.Second, fails(client.BadAnswer, 0), "nothing that was done"},
		{"a tag that is not there yet", attempt{asked: asked{name: "acme/app:v"}}, 50, time.Second, fails(fault.ManifestUnknown, 0), ""},
		{"a tag that is there", attempt{asked: asked{name: "acme/app:v"}}, 150, time.Second, fails(fault.ManifestUnknown, 0), "nothing that was done"},
		{"a digest that is there", attempt{asked: asked{digest: first.digest}}, 150, time.Second, fails(fault.ManifestUnknown, 0), "nothing that was done"},
		{"its own deadline", attempt{deadline: time.Second}, 0, time.Second, fails("", codes.DeadlineExceeded), ""},
		{"a deadline that it did not have", attempt{deadline: time.Minute}, 0, time.Second, fails("", codes.DeadlineExceeded), "nothing that was done"},
		{"nobody waits for ever", attempt{deadline: patience}, 0, patience, fails("", codes.DeadlineExceeded), "nobody should have to wait"},
		{"past its deadline", attempt{deadline: time.Second}, 0, time.Minute, nil, "its deadline was"},
		{"it gave up", attempt{gaveUp: true}, 0, time.Second, fails("", codes.Canceled), ""},
		{"somebody else gave up", attempt{}, 0, time.Second, fails("", codes.Canceled), "nothing that was done"},
		{"what it may fail of", attempt{tolerated: []fault.Reason{fault.OutOfRange}}, 0, time.Second, fails(fault.OutOfRange, 0), ""},
		{"an error without a reason", attempt{}, 0, time.Second, errors.New("x"), "no reason"},
		{"a process that timed out", attempt{deadline: time.Second}, 0, time.Second, context.DeadlineExceeded, ""},
		{"wrong bytes", attempt{}, 0, time.Second, errors.Join(violated("byte 1"), fails(fault.Upstream5xx, 0)), "byte 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			try := c.try
			try.began = at(c.began)
			if try.deadline == 0 {
				try.deadline = 5 * time.Second
			}
			_, err := w.judge(&try, at(c.began).Add(c.took), c.err)
			switch {
			case c.wrong == "" && err != nil:
				t.Error(err)
			case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
				t.Errorf("%v, want an error with %q", err, c.wrong)
			}
		})
	}
}

// TestListing: the tree as `ls -R` prints it, folder by folder.
func TestListing(t *testing.T) {
	a := &archive{files: []file{{path: "a"}, {path: "docs-old/a.md"}, {path: "docs/a.md"}, {path: "docs/x/y"}, {path: "docs.txt"}}}
	want := "a\ndocs/\ndocs/a.md\ndocs/x/\ndocs/x/y\ndocs-old/\ndocs-old/a.md\ndocs.txt\n"
	if got := a.listing(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestBadLine tells lines of a log that must not be.
func TestBadLine(t *testing.T) {
	for line, bad := range map[string]bool{
		`{"level":"info","msg":"serving"}`:                                false,
		`{"level":"warn","msg":"a cached entry was damaged on disk"}`:     false,
		`{"level":"error","msg":"the disk refuses writes; reads that …"}`: false,
		`{"level":"error","msg":"finished call","grpc.code":"Internal"}`:  true,
		`WARNING: DATA RACE`:                  true,
		`panic: runtime error`:                true,
		`{"msg":"user robot:` + canary + `"}`: true,
	} {
		if got := badLine(line); (got != "") != bad {
			t.Errorf("%s: %q", line, got)
		}
	}
}
