package pullthrough_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

func rangeOf(e *archive.Entry) archive.Range {
	r, _ := e.Locator.(archive.Range)
	return r
}

func TestPrefetch(t *testing.T) {
	var files []archivetest.File
	for i := range 90 {
		files = append(files, archivetest.File{Path: fmt.Sprintf("d%d/f%d", i%3, i), Data: random(uint64(i), 20_000)})
	}
	for _, tc := range []struct {
		name     string
		patterns []string
		files    int64
		gets     int
		want     error
	}{
		{name: "all", files: 90, gets: 1},
		{name: "a folder", patterns: []string{"d1"}, files: 30, gets: 1},
		{name: "a pattern", patterns: []string{"d2/f2*"}, files: 5, gets: 2},
		{name: "no match", patterns: []string{"d1", "none"}, want: fault.FileUnknown},
		{name: "bad pattern", patterns: []string{"["}, want: fault.InvalidArgument},
	} {
		for _, o := range []pullthrough.Options{{}, {NoCache: true}} {
			t.Run(fmt.Sprint(tc.name, " no-cache ", o.NoCache), func(t *testing.T) {
				t.Parallel()
				b := start(t)
				b.up.push("v1", files, archivetest.Options{})
				a := b.pull(repo+":v1", pullthrough.Options{})
				b.up.counts()
				var last pullthrough.Progress
				err := b.Prefetch(t.Context(), a, tc.patterns, o, func(p pullthrough.Progress) { last = p })
				if !errors.Is(err, tc.want) {
					t.Fatalf("err = %v", err)
				}
				if tc.want != nil {
					return
				}
				if last.FilesDone != tc.files || last.FilesTotal != tc.files || last.BytesDone != last.BytesTotal || last.FilesUnkept != 0 {
					t.Errorf("%+v", last)
				}
				if got := b.up.counts()["range"]; got > tc.gets {
					t.Errorf("%d GETs, want at most %d", got, tc.gets)
				}
				if err := b.Prefetch(t.Context(), a, tc.patterns, pullthrough.Options{}, nil); err != nil {
					t.Fatal(err)
				}
				b.wants("again", nil)
				if tc.patterns == nil {
					b.restart()
					a := b.pull(repo+":v1", pullthrough.Options{})
					for _, f := range files {
						b.mustRead(a, f.Path, f.Data, pullthrough.Options{})
					}
					b.wants("restarted", nil)
				}
			})
		}
	}
}

// Bytes that no block keeps come once all the same: a file begins where the one before it ended.
func TestPrefetchUnkept(t *testing.T) {
	for name, change := range map[string]func(*bench){
		"blocks off": func(b *bench) { b.opts.Caches = map[string]cache.Config{"block": {Off: true}} },
		"no room":    func(b *bench) { b.opts.Caches = map[string]cache.Config{"block": {Size: 1 << 20}} },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, change)
			var files []archivetest.File
			size := int64(0)
			for i := range 100 {
				files = append(files, archivetest.File{Path: fmt.Sprintf("f%02d", i), Data: random(uint64(i), 50_000)})
				size += 50_000
			}
			files[50].Data = random(50, 3<<20)
			size += 3<<20 - 50_000
			b.up.push("v1", files, archivetest.Options{})
			a := b.pull(repo+":v1", pullthrough.Options{})
			b.up.counts()
			if err := b.Prefetch(t.Context(), a, nil, pullthrough.Options{}, nil); err != nil {
				t.Fatal(err)
			}
			b.wants("prefetch", map[string]int{"range": 1})
			if n := b.sent(a); n != size {
				t.Errorf("%d bytes came for %d", n, size)
			}
			for _, f := range files {
				b.mustRead(a, f.Path, f.Data, pullthrough.Options{})
			}
			b.wants("again", nil)
		})
	}
}

func TestPrefetchLeavesOutWhatIsCached(t *testing.T) {
	b := start(t)
	files := []archivetest.File{{Path: "a", Data: random(1, 100_000)}, {Path: "b", Data: random(2, 2<<20)}, {Path: "c", Data: random(3, 100_000)}}
	b.up.push("v1", files, archivetest.Options{})
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.mustRead(a, "b", files[1].Data, pullthrough.Options{})
	if _, err := b.Clear(t.Context(), []string{"block"}); err != nil {
		t.Fatal(err)
	}
	was := b.sent(a)
	if err := b.Prefetch(t.Context(), a, nil, pullthrough.Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if n := b.sent(a) - was; n > 5*block {
		t.Errorf("%d bytes came for two files of 100,000", n)
	}
}

// More files than are looked at together.
func TestPrefetchOfMany(t *testing.T) {
	b := start(t)
	const many = 100_001
	files := []archivetest.File{{Path: "first", Data: random(1, 1000)}, {Path: "last", Data: random(2, 1000)}}
	for i := len(files); i < many; i++ {
		files = append(files, archivetest.File{Path: fmt.Sprintf("f/%06d", i)})
	}
	b.up.push("v1", files, archivetest.Options{})
	a := b.pull(repo+":v1", pullthrough.Options{})
	var last pullthrough.Progress
	if err := b.Prefetch(t.Context(), a, nil, pullthrough.Options{}, func(p pullthrough.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if want := (pullthrough.Progress{FilesDone: many, FilesTotal: many, BytesDone: 2000, BytesTotal: 2000}); last != want {
		t.Errorf("%+v, want %+v", last, want)
	}
	b.up.counts()
	b.mustRead(a, "first", files[0].Data, pullthrough.Options{})
	b.mustRead(a, "last", files[1].Data, pullthrough.Options{})
	b.wants("what was prefetched", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Prefetch(ctx, a, nil, pullthrough.Options{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("by nobody: %v", err)
	}
}

func TestPrefetchOfMoreThanFits(t *testing.T) {
	b := start(t, func(b *bench) { b.opts.MaxSize = 4 << 20 })
	var files []archivetest.File
	for i := range 12 {
		files = append(files, archivetest.File{Path: fmt.Sprint("f", i), Data: random(uint64(i), 1<<20)})
	}
	b.up.push("v1", files, archivetest.Options{})
	a := b.pull(repo+":v1", pullthrough.Options{})
	var last pullthrough.Progress
	if err := b.Prefetch(t.Context(), a, nil, pullthrough.Options{}, func(p pullthrough.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if last.FilesDone != 12 || last.FilesUnkept < 8 || last.FilesUnkept > 12 {
		t.Errorf("%+v of 12 MiB in a cache of 4", last)
	}
}

func TestPins(t *testing.T) {
	b := start(t, func(b *bench) { b.policy.MaxPinned = 10 << 20 })
	data := random(1, 2<<20)
	b.up.push("v1", []archivetest.File{{Path: "f", Data: data}}, archivetest.Options{})
	b.up.push("big", []archivetest.File{{Path: "f", Data: random(2, 5<<20)}}, archivetest.Options{})
	b.mustRead(b.pull(repo+":v1", pullthrough.Options{}), "f", data, pullthrough.Options{})
	if _, size, cached, err := b.Pin(t.Context(), "uid:1", repo+":v1", pullthrough.Options{}); err != nil || size < 4<<20 || cached < 2<<20 {
		t.Fatalf("size %d, cached %d, %v", size, cached, err)
	}
	if _, _, _, err := b.Pin(t.Context(), "uid:1", repo+":v1", pullthrough.Options{}); err != nil {
		t.Fatalf("pinned twice: %v", err)
	}
	if _, _, _, err := b.Pin(t.Context(), "uid:1", repo+":big", pullthrough.Options{}); !errors.Is(err, fault.PinBudget) {
		t.Fatalf("beyond the budget: %v", err)
	}
	b.restart()
	report, err := b.Clear(t.Context(), nil)
	if err != nil || len(report.Kept) == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	b.up.set(func(u *upstream) { u.fail = func(string) error { return fault.New(fault.UpstreamUnreachable, "down") } })
	for _, a := range b.Artifacts(t.Context()) {
		if a.Pinned != (a.Size == 2<<20) {
			t.Errorf("%+v", a)
		}
		if a.Pinned {
			b.mustRead(b.pull(repo+"@"+a.Digest.String(), pullthrough.Options{}), "f", data, pullthrough.Options{})
		}
	}
	if a := b.pull(repo+":v1", pullthrough.Options{MaxAge: new(time.Duration)}); !a.Stale {
		t.Error("the tag of a pinned artifact is gone")
	}
	if _, _, err := b.Remove(t.Context(), repo+":v1"); !errors.Is(err, fault.Pinned) {
		t.Errorf("removing what is pinned: %v", err)
	}
	if _, err := b.Unpin(t.Context(), repo+":v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Unpin(t.Context(), repo+":none"); !errors.Is(err, fault.ArtifactUnknown) {
		t.Fatal(err)
	}
}

func TestRemoveFreesWhatNobodyElseNames(t *testing.T) {
	b := start(t)
	shared, own := random(3, 1<<20), random(4, 1<<20)
	b.up.push("v1", []archivetest.File{{Path: "shared", Data: shared}, {Path: "own", Data: own}, {Path: "rest", Data: random(5, 1<<20)}},
		archivetest.Options{})
	b.up.push("v2", []archivetest.File{{Path: "shared", Data: shared}}, archivetest.Options{Zstd: true})
	for _, tag := range []string{":v1", ":v2"} {
		a := b.pull(repo+tag, pullthrough.Options{})
		patterns := []string{"shared", "own"} // without the rest: a whole blob would be in use, since it is checked
		if tag == ":v2" {
			patterns = nil
		}
		if err := b.Prefetch(t.Context(), a, patterns, pullthrough.Options{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	d, report, err := b.Remove(t.Context(), repo+":v1")
	if err != nil || d == "" || report.FreedBytes < 1<<20 {
		t.Fatalf("%s %+v %v", d, report, err)
	}
	b.up.counts()
	b.mustRead(b.pull(repo+":v2", pullthrough.Options{}), "shared", shared, pullthrough.Options{})
	b.wants("what the other names", nil)
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.mustRead(a, "own", own, pullthrough.Options{})
	b.wants("what went", map[string]int{"tag": 1, "manifest": 1, "blob": 1, "range": 1})
	if _, _, err := b.Remove(t.Context(), repo+":none"); !errors.Is(err, fault.ArtifactUnknown) {
		t.Fatal(err)
	}
}

func TestLastUsed(t *testing.T) {
	b := start(t)
	for _, tag := range []string{"v1", "v2", "v3"} {
		b.up.push(tag, []archivetest.File{{Path: tag, Data: random(1, 1000)}}, archivetest.Options{})
		b.pull(repo+":"+tag, pullthrough.Options{})
		b.clock.advance(time.Second)
	}
	b.pull(repo+":v2", pullthrough.Options{})
	for most, want := range map[int]string{0: "+3", 2: "v2 v3 +1", 9: "v2 v3 v1 +0"} {
		list, more := b.LastUsed(t.Context(), most)
		got := ""
		for _, a := range list {
			got += a.Tags[0] + " "
		}
		if got += fmt.Sprint("+", more); got != want {
			t.Errorf("%d last used: %s, want %s", most, got, want)
		}
	}
}
