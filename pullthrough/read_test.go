package pullthrough_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/pullthrough"
)

// one pushes an archive of one file and pulls it.
func (b *bench) one(data []byte, o archivetest.Options) *pullthrough.Archive {
	b.t.Helper()
	b.up.push("one", []archivetest.File{{Path: "f", Data: data}}, o)
	a := b.pull(repo+":one", pullthrough.Options{MaxAge: new(time.Duration)})
	b.up.counts()
	return a
}

// sent is how many bytes of a's data blob went over the wire.
func (b *bench) sent(a *pullthrough.Archive) int64 {
	var blob digest.Digest
	for e := range a.Tree.All() {
		blob = rangeOf(e).Blob.Digest
	}
	b.up.mu.Lock()
	defer b.up.mu.Unlock()
	return b.up.bytes[blob]
}

func TestPartsFetchOnlyTheirBlocks(t *testing.T) {
	data := random(4, 40*block+100)
	for _, tc := range []struct {
		name           string
		offset, length int64
		sent           int64
	}{
		{"the end", int64(len(data)) - 4096, -1, block + 100},
		{"within one block", 5*block + 10, 100, block},
		{"across two", 6*block - 1, 2, 2 * block},
		{"nothing", 7 * block, 0, 0},
		{"at the very end", int64(len(data)), -1, 0},
		{"a length past the end", int64(len(data)) - 1, 1 << 40, 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := start(t)
			a := b.one(data, archivetest.Options{})
			got, st, err := b.read(t.Context(), a, "f", tc.offset, tc.length, pullthrough.Options{})
			if err != nil {
				t.Fatal(err)
			}
			end := int64(len(data))
			if tc.length >= 0 {
				end = min(end, tc.offset+tc.length)
			}
			if !bytes.Equal(got, data[tc.offset:end]) {
				t.Fatal("wrong bytes")
			}
			if st.Verified() {
				t.Error("a part of a file that is not cached whole claims to be verified")
			}
			if n := b.sent(a); n != tc.sent {
				t.Errorf("%d bytes came, want %d", n, tc.sent)
			}
			b.up.counts()
			if _, _, err := b.read(t.Context(), a, "f", tc.offset, tc.length, pullthrough.Options{}); err != nil {
				t.Fatal(err)
			}
			b.wants("the second time", nil)
		})
	}
}

func TestGapsAreFetchedAndNothingElse(t *testing.T) {
	b := start(t)
	data := random(5, 20*block)
	a := b.one(data, archivetest.Options{})
	for _, i := range []int64{3, 4, 10} {
		if _, _, err := b.read(t.Context(), a, "f", i*block, block, pullthrough.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	b.up.counts()
	hits, misses := b.ledger.get("block hit"), b.ledger.get("block miss")
	b.mustRead(a, "f", data, pullthrough.Options{})
	b.wants("three gaps", map[string]int{"range": 3})
	if hits, misses = b.ledger.get("block hit")-hits, b.ledger.get("block miss")-misses; hits != 3 || misses != 17 {
		t.Errorf("%d hits and %d misses were counted, want 3 and 17", hits, misses)
	}
	if n := b.sent(a); n != int64(len(data)) {
		t.Errorf("%d bytes came for %d: %v %v", n, len(data), b.up.spans, b.ledger.counts)
	}
}

func TestOverlappingReadersFetchEachByteOnce(t *testing.T) {
	b := start(t)
	data := random(6, 4<<20)
	a := b.one(data, archivetest.Options{})
	open := b.up.shut()
	var all sync.WaitGroup
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		offset := rng.Int64N(int64(len(data)))
		length := rng.Int64N(int64(len(data))-offset) + 1
		all.Go(func() {
			got, _, err := b.read(t.Context(), a, "f", offset, length, pullthrough.Options{})
			if err != nil || !bytes.Equal(got, data[offset:offset+length]) {
				t.Errorf("%d bytes at %d: %v", length, offset, err)
			}
		})
	}
	b.ledger.await("block miss", 50)
	open()
	all.Wait()
	if n := b.sent(a); n > int64(len(data)) {
		t.Errorf("%d bytes came for %d: %v %v", n, len(data), b.up.spans, b.ledger.counts)
	}
}

func TestReadersComeAndGo(t *testing.T) {
	for name, change := range map[string]func(*bench){
		"kept":         func(*bench) {},
		"blocks off":   func(b *bench) { b.opts.Caches = map[string]cache.Config{"block": {Off: true}} },
		"content off":  func(b *bench) { b.opts.Caches = map[string]cache.Config{"content": {Off: true}} },
		"nothing kept": func(b *bench) { b.opts.Caches = map[string]cache.Config{"block": {Off: true}, "content": {Off: true}} },
		"too small":    func(b *bench) { b.opts.MaxSize = 2 << 20 },
	} {
		for codec, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
			t.Run(name+" "+codec, func(t *testing.T) {
				t.Parallel()
				b := start(t, change)
				data := random(7, 3<<20+77)
				a := b.one(data, o)
				var all sync.WaitGroup
				rng := rand.New(rand.NewPCG(3, 4))
				for i := range 16 {
					offset, length := int64(0), int64(len(data))
					if i%3 > 0 {
						offset = rng.Int64N(length)
						length = rng.Int64N(length-offset) + 1
					}
					quits := i%4 == 3
					all.Go(func() {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						st, err := b.Open(ctx, a, "f", offset, length, pullthrough.Options{})
						if err != nil {
							t.Error(err)
							return
						}
						defer st.Close()
						if quits {
							_, _ = io.CopyN(io.Discard, st, length/3)
							cancel()
							if _, err := io.ReadAll(st); err != nil && !errors.Is(err, context.Canceled) {
								t.Errorf("a caller that left got %v", err)
							}
							return
						}
						got, err := io.ReadAll(st)
						if err != nil || !bytes.Equal(got, data[offset:offset+length]) {
							t.Errorf("%d of %d bytes at %d: %v", len(got), length, offset, err)
						}
					})
				}
				all.Wait()
			})
		}
	}
}

func TestUnkeptBytesComeOnce(t *testing.T) {
	for name, off := range map[string]map[string]cache.Config{
		"blocks off": {"block": {Off: true}}, "nothing kept": {"block": {Off: true}, "content": {Off: true}},
	} {
		for _, size := range []int64{1000, 300_000, 3 << 20} {
			for codec, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
				t.Run(fmt.Sprint(name, " ", size, " ", codec), func(t *testing.T) {
					t.Parallel()
					b := start(t, func(b *bench) { b.opts.Caches = off })
					data := random(19, size)
					a := b.one(data, o)
					b.mustRead(a, "f", data, pullthrough.Options{})
					b.wants("one reader", map[string]int{"range": 1})
				})
			}
		}
	}
}

func TestSlowReaderHoldsNobodyUp(t *testing.T) {
	b := start(t, func(b *bench) {
		b.opts.Caches = map[string]cache.Config{"block": {Off: true}, "content": {Off: true}}
	})
	data := random(8, 4<<20)
	a := b.one(data, archivetest.Options{})
	slow, err := b.Open(t.Context(), a, "f", 0, -1, pullthrough.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	head := make([]byte, 100)
	if _, err := io.ReadFull(slow, head); err != nil {
		t.Fatal(err)
	}
	b.mustRead(a, "f", data, pullthrough.Options{}) // begins while the slow one is at byte 100, and ends
	rest, err := io.ReadAll(slow)
	if err != nil || !bytes.Equal(append(head, rest...), data) {
		t.Fatalf("the slow reader got %d bytes, %v", len(head)+len(rest), err)
	}
}

func TestWrongBytes(t *testing.T) {
	for codec, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
		for _, size := range []int64{1000, 1 << 20} {
			for _, times := range []int{1, 1000} {
				t.Run(fmt.Sprintf("%s %d bytes, wrong %d times", codec, size, times), func(t *testing.T) {
					b := start(t)
					data := repetitive(9, size)
					a := b.one(data, o)
					b.up.set(func(u *upstream) {
						u.spoil = func(_ digest.Digest, sent []byte) {
							if times > 0 {
								times--
								sent[len(sent)-20] ^= 1
							}
						}
					})
					if times == 1 {
						b.mustRead(a, "f", data, pullthrough.Options{RequireVerified: true})
						b.wants("once more", map[string]int{"range": 2})
						return
					}
					if _, _, err := b.read(t.Context(), a, "f", 0, -1, pullthrough.Options{}); !errors.Is(err, fault.DigestMismatch) {
						t.Fatalf("err = %v", err)
					}
					b.wants("once more, not for ever", map[string]int{"range": 2})
					b.up.set(func(u *upstream) { u.spoil = nil })
					b.mustRead(a, "f", data, pullthrough.Options{})
				})
			}
		}
	}
}

func TestWrongBytesThatWereHandedOut(t *testing.T) {
	b := start(t)
	data := random(10, 1<<20)
	a := b.one(data, archivetest.Options{})
	b.up.set(func(u *upstream) {
		u.spoil = func(_ digest.Digest, sent []byte) { sent[0] ^= 1; u.spoil = nil }
	})
	got, _, err := b.read(t.Context(), a, "f", 0, -1, pullthrough.Options{})
	if err == nil && !bytes.Equal(got, data) {
		t.Fatal("wrong bytes ended in io.EOF")
	}
	if err != nil && !errors.Is(err, fault.DigestMismatch) {
		t.Fatal(err)
	}
	b.mustRead(a, "f", data, pullthrough.Options{})
}

func TestWrongBytesThatNoFileCovers(t *testing.T) {
	b := start(t)
	data := random(18, 4*block)
	a := b.one(data, archivetest.Options{})
	b.up.set(func(u *upstream) {
		u.spoil = func(_ digest.Digest, sent []byte) { sent[0] ^= 1; u.spoil = nil }
	})
	for i := range int64(4) { // in parts, so that nothing but the blob's own digest can tell
		if _, _, err := b.read(t.Context(), a, "f", i*block, block, pullthrough.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	b.ledger.await("block error", 1)
	b.up.counts()
	got, _, err := b.read(t.Context(), a, "f", 0, block, pullthrough.Options{})
	if err != nil || !bytes.Equal(got, data[:block]) {
		t.Fatalf("the wrong block is still served, %v", err)
	}
	b.wants("after the check", map[string]int{"range": 1})
}

func TestFailureMidway(t *testing.T) {
	b := start(t)
	a := b.one(random(11, 3<<20), archivetest.Options{})
	b.up.set(func(u *upstream) { u.fail = func(string) error { return fault.New(fault.Upstream5xx, "it is ill") } })
	for name, o := range map[string]pullthrough.Options{"": {}, "verified": {RequireVerified: true}, "no-cache": {NoCache: true}} {
		if _, _, err := b.read(t.Context(), a, "f", 0, -1, o); !errors.Is(err, fault.Upstream5xx) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
	if _, _, err := b.read(t.Context(), a, "f", 70000, 10, pullthrough.Options{}); !errors.Is(err, fault.Upstream5xx) {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	b := start(t)
	b.up.push("v1", []archivetest.File{{Path: "d/f", Data: []byte("12345")}}, archivetest.Options{})
	a := b.pull(repo+":v1", pullthrough.Options{})
	for _, tc := range []struct {
		path   string
		offset int64
		want   fault.Reason
	}{
		{"none", 0, fault.FileUnknown}, {"d", 0, fault.IsDirectory}, {".", 0, fault.IsDirectory}, {"../d/f", 0, fault.InvalidPath},
		{"/d/f", 0, fault.InvalidPath}, {"d/f", -1, fault.InvalidArgument}, {"d/f", 6, fault.OutOfRange},
	} {
		if _, err := b.Open(t.Context(), a, tc.path, tc.offset, -1, pullthrough.Options{}); !errors.Is(err, tc.want) {
			t.Errorf("%q at %d: %v, want %s", tc.path, tc.offset, err, tc.want)
		}
	}
}

func TestRequireVerified(t *testing.T) {
	b := start(t)
	data := random(12, 3<<20)
	a := b.one(data, archivetest.Options{})
	got, st, err := b.read(t.Context(), a, "f", 100, 10, pullthrough.Options{RequireVerified: true})
	if err != nil || !st.Verified() || !bytes.Equal(got, data[100:110]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	b.wants("the whole file", map[string]int{"range": 1})

	tight := start(t, func(b *bench) {
		b.opts.Caches = map[string]cache.Config{"content": {Off: true}}
		b.policy.RequireVerified = func(oci.Reference) bool { return true }
	})
	a = tight.one(data, archivetest.Options{})
	if _, _, err := tight.read(t.Context(), a, "f", 0, -1, pullthrough.Options{}); !errors.Is(err, fault.LocalOverload) {
		t.Fatalf("what can't be held was handed out before it was checked: %v", err)
	}
}

func TestRegistryWithoutRanges(t *testing.T) {
	b := start(t)
	files := []archivetest.File{{Path: "a", Data: random(13, 1<<20)}, {Path: "b", Data: random(14, 1<<20)}, {Path: "c", Data: random(15, 1<<20)}}
	b.up.set(func(u *upstream) { u.noRanges = true })
	b.up.push("v1", files, archivetest.Options{})
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.up.counts()
	b.mustRead(a, "b", files[1].Data, pullthrough.Options{})
	b.ledger.await("served upstream", 1)
	for _, f := range files {
		b.mustRead(a, f.Path, f.Data, pullthrough.Options{})
	}
	b.wants("one stream for all", map[string]int{"range": 1})
}

func TestNoCacheFetchesAnewAndKeeps(t *testing.T) {
	b := start(t)
	for _, size := range []int64{1000, 2 << 20} {
		data := random(16, size)
		a := b.one(data, archivetest.Options{})
		b.mustRead(a, "f", data, pullthrough.Options{})
		b.up.counts()
		b.mustRead(a, "f", data, pullthrough.Options{NoCache: true})
		b.wants("no-cache", map[string]int{"range": 1})
		b.mustRead(a, "f", data, pullthrough.Options{})
		b.wants("after it", nil)
	}
	a := b.pull(repo+":one", pullthrough.Options{NoCache: true})
	b.wants("no-cache pull", map[string]int{"tag": 1, "manifest": 1, "blob": 1})
	b.pull(a.Reference.String(), pullthrough.Options{NoCache: true, Held: true})
	b.wants("what that pull named", nil)
}

func TestSharedFile(t *testing.T) {
	b := start(t)
	shared := random(17, 1<<20)
	b.up.push("v1", []archivetest.File{{Path: "f", Data: shared}}, archivetest.Options{})
	b.up.push("v2", []archivetest.File{{Path: "other", Data: []byte("x")}, {Path: "same", Data: shared}}, archivetest.Options{Zstd: true})
	b.mustRead(b.pull(repo+":v1", pullthrough.Options{}), "f", shared, pullthrough.Options{})
	a := b.pull(repo+":v2", pullthrough.Options{})
	b.up.counts()
	b.mustRead(a, "same", shared, pullthrough.Options{})
	b.wants("a file that another archive has", nil)
}
