package pullthrough_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/pullthrough"
)

func oneFile(content string) []archivetest.File {
	return []archivetest.File{{Path: "a.txt", Data: []byte(content)}}
}

func TestColdWarmRestarted(t *testing.T) {
	for name, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			small, large := repetitive(1, 10_000), repetitive(2, 3<<20+5)
			d := b.up.push("v1", []archivetest.File{{Path: "d/small", Data: small}, {Path: "large", Data: large}, {Path: "none"}}, o)

			a := b.pull(repo+":v1", pullthrough.Options{})
			if a.Digest != d || a.Stale || a.Tree.Len() != 3 {
				t.Fatalf("pulled %s, stale %v, %d files", a.Digest, a.Stale, a.Tree.Len())
			}
			b.wants("cold pull", map[string]int{"tag": 1, "manifest": 1, "blob": 1})
			if st := b.mustRead(a, "large", large, pullthrough.Options{}); !st.Verified() {
				t.Error("a whole file read to its end is not verified")
			}
			b.wants("cold read", map[string]int{"range": 1})
			b.mustRead(a, "none", nil, pullthrough.Options{})
			b.wants("empty file", nil)
			b.mustRead(a, "d/small", small, pullthrough.Options{})
			b.wants("a file in blocks that are there", nil)

			for _, again := range []string{"warm", "restarted"} {
				if again == "restarted" {
					b.restart()
				}
				a = b.pull(repo+":v1", pullthrough.Options{})
				b.mustRead(a, "large", large, pullthrough.Options{})
				b.mustRead(a, "d/small", small, pullthrough.Options{})
				b.mustRead(b.pull(repo+"@"+d.String(), pullthrough.Options{}), "large", large, pullthrough.Options{})
				b.wants(again, nil)
			}
		})
	}
}

func TestOneFlightForAll(t *testing.T) {
	b := start(t)
	data := random(3, 1<<20)
	b.up.push("v1", []archivetest.File{{Path: "f", Data: data}}, archivetest.Options{})
	open := b.up.shut()
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			a, err := b.Pull(t.Context(), "uid:1", repo+":v1", pullthrough.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			got, _, err := b.read(t.Context(), a, "f", 0, -1, pullthrough.Options{})
			if err != nil || string(got) != string(data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	b.ledger.await("joins", 39)
	open()
	all.Wait()
	b.wants("40 callers at once", map[string]int{"tag": 1, "manifest": 1, "blob": 1, "range": 1})
}

func TestTagFreshness(t *testing.T) {
	always := func(oci.Reference) pullthrough.TTL { return pullthrough.TTL{Asks: true} }
	never := func(oci.Reference) pullthrough.TTL { return pullthrough.TTL{Never: true} }
	zero, hour := time.Duration(0), time.Hour
	for _, tc := range []struct {
		name  string
		ttl   func(oci.Reference) pullthrough.TTL
		later time.Duration
		opts  pullthrough.Options
		asks  int
		sees  string
	}{
		{name: "within the TTL", later: 14 * time.Minute, sees: "v1"},
		{name: "TTL over", later: 16 * time.Minute, asks: 1, sees: "v2"},
		{name: "clock set back", later: -time.Hour, asks: 1, sees: "v2"},
		{name: "never expires", ttl: never, later: 24 * 365 * time.Hour, sees: "v1"},
		{name: "always asks", ttl: always, asks: 1, sees: "v2"},
		{name: "max-age 0", opts: pullthrough.Options{MaxAge: &zero}, asks: 1, sees: "v2"},
		{name: "max-age above the TTL", opts: pullthrough.Options{MaxAge: &hour}, later: 30 * time.Minute, sees: "v1"},
		{name: "no-cache", opts: pullthrough.Options{NoCache: true}, asks: 1, sees: "v2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := start(t, func(b *bench) {
				if tc.ttl != nil {
					b.policy.TTL = tc.ttl
				}
				b.policy.Grant = 0
			})
			want := map[string]string{}
			want["v1"] = b.up.push("latest", oneFile("v1"), archivetest.Options{}).String()
			held := b.pull(repo, pullthrough.Options{})
			b.up.counts()
			want["v2"] = b.up.push("latest", oneFile("v2"), archivetest.Options{}).String()
			b.clock.advance(tc.later)
			a := b.pull(repo, tc.opts)
			if got := b.up.counts()["tag"]; got != tc.asks {
				t.Errorf("%d HEADs, want %d", got, tc.asks)
			}
			if a.Digest.String() != want[tc.sees] {
				t.Errorf("got %s, want that of %s", a.Digest, tc.sees)
			}
			b.mustRead(a, "a.txt", []byte(tc.sees), pullthrough.Options{})
			b.mustRead(held, "a.txt", []byte("v1"), pullthrough.Options{}) // what is under way stays
			if tc.asks > 0 {
				b.up.counts()
				if later := b.pull(repo, pullthrough.Options{MaxAge: &hour}); later.Digest != a.Digest || b.up.counts()["tag"] != 0 {
					t.Error("what one caller saw is not kept for the others")
				}
			}
		})
	}
}

func TestTagUnavailable(t *testing.T) {
	for _, tc := range []struct {
		reason fault.Reason
		stale  bool
	}{
		{fault.UpstreamUnreachable, true}, {fault.UpstreamDNS, true}, {fault.UpstreamRateLimit, true}, {fault.Upstream5xx, true},
		{fault.UpstreamSlow, true}, {fault.UpstreamTimeout, true}, {fault.AuthServer, true}, {fault.MediaType, true},
		{fault.UpstreamTLS, false}, {fault.UpstreamForbidden, false}, {fault.UpstreamUnauthorized, false}, {fault.ManifestUnknown, false},
		{fault.AuthRealm, false}, {fault.DigestMismatch, false},
	} {
		t.Run(string(tc.reason), func(t *testing.T) {
			b := start(t)
			b.up.push("latest", oneFile("v1"), archivetest.Options{})
			was := b.pull(repo, pullthrough.Options{})
			b.up.set(func(u *upstream) {
				u.fail = func(string) error { return fault.New(tc.reason, "it failed") }
			})
			b.clock.advance(time.Hour)
			a, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{})
			if !tc.stale {
				if !errors.Is(err, tc.reason) {
					t.Fatalf("err = %v", err)
				}
				return
			}
			if err != nil || !a.Stale || a.Age != time.Hour || a.Digest != was.Digest {
				t.Fatalf("archive %+v, err %v", a, err)
			}
			if n := b.ledger.get("stale"); n != 1 {
				t.Errorf("%d stale answers were counted", n)
			}
			for name, o := range map[string]pullthrough.Options{"require-fresh": {RequireFresh: true}, "no-cache": {NoCache: true}} {
				if _, err := b.Pull(t.Context(), "uid:1", repo, o); !errors.Is(err, tc.reason) {
					t.Errorf("%s: err = %v", name, err)
				}
			}
			b.clock.advance(24 * time.Hour)
			if _, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{}); !errors.Is(err, tc.reason) {
				t.Errorf("past max_stale: err = %v", err)
			}
		})
	}
}

func TestStaleSwitchedOff(t *testing.T) {
	for _, later := range []time.Duration{0, -time.Minute, time.Hour} {
		b := start(t, func(b *bench) { b.policy.MaxStale = 0 })
		b.up.push("latest", oneFile("v1"), archivetest.Options{})
		b.pull(repo, pullthrough.Options{})
		b.up.set(func(u *upstream) { u.fail = func(string) error { return fault.New(fault.UpstreamUnreachable, "down") } })
		b.clock.advance(later)
		if a, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{MaxAge: new(time.Duration)}); !errors.Is(err, fault.UpstreamUnreachable) {
			t.Errorf("%s later: %+v, %v", later, a, err)
		}
	}
}

// What the registry refused is not answered from the cache afterwards, fresh or stale.
func TestRefusedTagIsForgotten(t *testing.T) {
	b := start(t)
	b.up.push("latest", oneFile("v1"), archivetest.Options{})
	b.pull(repo, pullthrough.Options{})
	for _, reason := range []fault.Reason{fault.UpstreamForbidden, fault.UpstreamUnreachable} {
		b.up.set(func(u *upstream) { u.fail = func(string) error { return fault.New(reason, "no") } })
		if _, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{MaxAge: new(time.Duration)}); !errors.Is(err, reason) {
			t.Fatalf("%s: %v", reason, err)
		}
		if _, err := b.Pull(t.Context(), "uid:1", repo, pullthrough.Options{}); !errors.Is(err, reason) {
			t.Errorf("then, of the cached tag: %v", err)
		}
	}
}

func TestMissingTagIsRemembered(t *testing.T) {
	b := start(t)
	zero := time.Duration(0)
	for _, step := range []struct {
		later time.Duration
		opts  pullthrough.Options
		asks  int
	}{{asks: 1}, {}, {later: 9 * time.Second}, {opts: pullthrough.Options{MaxAge: &zero}, asks: 1}, {later: 11 * time.Second, asks: 1}} {
		b.clock.advance(step.later)
		if _, err := b.Pull(t.Context(), "uid:1", repo+":none", step.opts); !errors.Is(err, fault.ManifestUnknown) {
			t.Fatalf("err = %v", err)
		}
		b.wants("missing", map[string]int{"tag": step.asks})
	}
	b.up.push("none", oneFile("now it is there"), archivetest.Options{})
	b.clock.advance(11 * time.Second)
	b.pull(repo+":none", pullthrough.Options{})
}

func TestGrantEnds(t *testing.T) {
	b := start(t)
	d := b.up.push("v1", oneFile("x"), archivetest.Options{})
	ref := repo + "@" + d.String()
	b.pull(ref, pullthrough.Options{})
	b.wants("cold", map[string]int{"manifest": 1, "blob": 1})
	b.clock.advance(23 * time.Hour)
	b.pull(ref, pullthrough.Options{})
	b.wants("within the grant", nil)
	b.clock.advance(2 * time.Hour)
	b.pull(ref, pullthrough.Options{})
	b.wants("after the grant", map[string]int{"stat": 1})
	b.pull(ref, pullthrough.Options{})
	b.wants("renewed", nil)

	b.up.set(func(u *upstream) { u.fail = func(string) error { return fault.New(fault.UpstreamForbidden, "no") } })
	if _, err := b.Pull(t.Context(), "uid:1", repo+":v1", pullthrough.Options{}); !errors.Is(err, fault.UpstreamForbidden) {
		t.Fatal(err)
	}
	if _, err := b.Pull(t.Context(), "uid:1", ref, pullthrough.Options{}); !errors.Is(err, fault.UpstreamForbidden) {
		t.Fatalf("a scope that the registry refused reads on by digest: %v", err)
	}
}

func TestAnotherRepositoryMustProve(t *testing.T) {
	b := start(t)
	d := b.up.push("v1", oneFile("x"), archivetest.Options{})
	b.pull(repo+"@"+d.String(), pullthrough.Options{})
	b.up.counts()
	b.pull("registry.example/other@"+d.String(), pullthrough.Options{})
	b.wants("another repository", map[string]int{"stat": 1})
}

func TestCallerLeavesFlightStays(t *testing.T) {
	b := start(t)
	b.up.push("v1", oneFile("x"), archivetest.Options{})
	open := b.up.shut()
	first, leave := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	go func() {
		_, err := b.Pull(first, "uid:1", repo+":v1", pullthrough.Options{})
		errs <- err
	}()
	b.ledger.await("flights", 1)
	go func() {
		_, err := b.Pull(t.Context(), "uid:1", repo+":v1", pullthrough.Options{})
		errs <- err
	}()
	b.ledger.await("joins", 1)
	leave()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	open()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	b.wants("the first of two left", map[string]int{"tag": 1, "manifest": 1, "blob": 1})
}

func TestPullRefuses(t *testing.T) {
	b := start(t)
	b.up.push("v1", oneFile("x"), archivetest.Options{Alter: func(x *archivetest.Index) { x.Version = 9 }})
	image := []byte(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`)
	b.up.set(func(u *upstream) {
		d := digest.FromBytes(image)
		u.manifests[d], u.tags["image"] = image, d
	})
	for ref, want := range map[string]fault.Reason{
		"UPPER":               fault.InvalidReference,
		repo + "@sha256:0000": fault.InvalidReference,
		repo + ":v1":          fault.IndexInvalid,
		repo + ":image":       fault.ArtifactUnsupported,
	} {
		if _, err := b.Pull(t.Context(), "uid:1", ref, pullthrough.Options{}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %s", ref, err, want)
		}
	}
}
