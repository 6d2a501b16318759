package pullthrough_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/cache/store/storetest"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/pullthrough"
)

const block = 64 << 10

// A limit of upstream's own is often told by a context's error; it is a failure, and nobody has left.
func TestUpstreamsOwnDeadline(t *testing.T) {
	b := start(t)
	b.up.push("v1", []archivetest.File{{Path: "small", Data: random(1, 1000)}, {Path: "large", Data: random(2, 300_000)}}, archivetest.Options{})
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.up.set(func(u *upstream) {
		u.fail = func(string) error {
			return fault.Wrap(fault.UpstreamTimeout, context.DeadlineExceeded, "no headers in 15 s")
		}
	})
	b.up.counts()
	for _, path := range []string{"small", "large"} {
		for _, length := range []int64{-1, 10} {
			if _, _, err := b.read(t.Context(), a, path, 0, length, pullthrough.Options{}); !errors.Is(err, fault.UpstreamTimeout) {
				t.Errorf("%d bytes of %s: %v", length, path, err)
			}
			b.wants(path, map[string]int{"range": 1})
		}
	}
}

func TestCloseEndsStreams(t *testing.T) {
	for codec, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
		for _, length := range []int64{-1, 10} {
			t.Run(fmt.Sprint(codec, " ", length), func(t *testing.T) {
				b := start(t)
				a := b.one(random(3, 300_000), o)
				open := b.up.shut()
				defer open()
				st, err := b.Open(t.Context(), a, "f", 0, length, pullthrough.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer st.Close()
				read := make(chan error, 1)
				go func() {
					_, err := io.ReadAll(st)
					read <- err
				}()
				b.ledger.await("block miss", 1)
				if err := b.Service.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := <-read; !errors.Is(err, fault.ShuttingDown) {
					t.Errorf("err = %v", err)
				}
			})
		}
	}
}

// lies pushes an archive that says of its one file, which has that content, that it has another size.
func (b *bench) lies(content []byte, size uint64) *pullthrough.Archive {
	b.up.push("lies", []archivetest.File{{Path: "f", Data: content}}, archivetest.Options{Zstd: true, Alter: func(x *archivetest.Index) {
		x.Find("f").OriginalSize = size
	}})
	return b.pull(repo+":lies", pullthrough.Options{})
}

func TestIndexThatLiesAboutASize(t *testing.T) {
	for name, memory := range map[string]int64{"memory": 16 << 20, "disk": 0} {
		for _, size := range []int{1000, 300_000} {
			for lie, claimed := range map[string]int{"shorter": size / 2, "longer": size + 1} {
				t.Run(fmt.Sprint(name, " ", size, " ", lie), func(t *testing.T) {
					b := start(t, func(b *bench) { b.opts.MemorySize = memory })
					data := random(4, int64(size))
					honest := b.one(data, archivetest.Options{})
					b.mustRead(honest, "f", data, pullthrough.Options{})
					liar := b.lies(data, uint64(claimed))
					if got, _, err := b.read(t.Context(), liar, "f", 0, -1, pullthrough.Options{}); !errors.Is(err, fault.DigestMismatch) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					b.mustRead(honest, "f", data, pullthrough.Options{})
				})
			}
		}
	}
}

// A false claim fails those who made it, also while another reads the same bytes under a true one.
func TestIndexThatLiesMeanwhile(t *testing.T) {
	for _, size := range []int{1000, 300_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			b := start(t)
			data := random(5, int64(size))
			honest, liar := b.one(data, archivetest.Options{Zstd: true}), b.lies(data, uint64(size+1))
			open := b.up.shut()
			read := func(a *pullthrough.Archive) <-chan error {
				done := make(chan error, 1)
				go func() {
					_, _, err := b.read(t.Context(), a, "f", 0, -1, pullthrough.Options{})
					done <- err
				}()
				return done
			}
			first := read(liar)
			b.ledger.await("block miss", 1)
			joined := b.ledger.get("joins")
			second := read(honest)
			b.ledger.await("joins", joined+1)
			open()
			if err := <-first; !errors.Is(err, fault.DigestMismatch) {
				t.Errorf("the liar: %v", err)
			}
			if err := <-second; err != nil {
				t.Errorf("the honest one: %v", err)
			}
		})
	}
}

// What one scope may not read, another that joined it may.
func TestAnotherScopeIsRefused(t *testing.T) {
	for codec, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
		for _, size := range []int64{1000, 300_000} {
			for _, length := range []int64{-1, 10} {
				t.Run(fmt.Sprint(codec, " ", length, " of ", size), func(t *testing.T) {
					b := start(t)
					data := random(6, size)
					b.up.push("v1", []archivetest.File{{Path: "f", Data: data}}, o)
					b.up.set(func(u *upstream) {
						u.deny = func(scope oci.Scope) error {
							if strings.HasPrefix(scope.Repository, "no/") {
								return fault.New(fault.UpstreamForbidden, "%s may not", scope.Repository)
							}
							return nil
						}
					})
					open := b.up.shut()
					var refused [3]chan error
					read := func(a *pullthrough.Archive) chan error {
						done := make(chan error, 1)
						go func() {
							got, _, err := b.read(t.Context(), a, "f", 0, length, pullthrough.Options{})
							if err == nil && !bytes.HasPrefix(data, got) {
								err = errors.New("wrong bytes")
							}
							done <- err
						}()
						return done
					}
					var archives [4]*pullthrough.Archive
					open()
					for i := range archives {
						name := fmt.Sprintf("registry.example/no/%d:v1", i)
						if i == 3 {
							name = repo + ":v1"
						}
						archives[i] = b.pull(name, pullthrough.Options{})
					}
					open = b.up.shut()
					b.up.counts()
					refused[0] = read(archives[0])
					b.ledger.await("block miss", 1)
					for i := 1; i < 4; i++ {
						joined := b.ledger.get("joins")
						done := read(archives[i])
						b.ledger.await("joins", joined+1)
						if i == 3 {
							open()
							if err := <-done; err != nil {
								t.Errorf("the one who may: %v", err)
							}
							continue
						}
						refused[i] = done
					}
					for i, done := range refused {
						if err := <-done; err != nil && (!errors.Is(err, fault.UpstreamForbidden) || !strings.Contains(err.Error(), fmt.Sprintf("no/%d", i))) {
							t.Errorf("scope %d got another's error: %v", i, err)
						}
					}
				})
			}
		}
	}
}

// A disk that can't read back what it was given is passed by.
func TestDiskThatReadsNothing(t *testing.T) {
	for codec, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
		for _, size := range []int64{1000, 300_000} {
			t.Run(fmt.Sprint(codec, " ", size), func(t *testing.T) {
				faults := storetest.WithoutSync()
				b := start(t, func(b *bench) { b.opts.FS = faults })
				data := random(7, size)
				a := b.one(data, o)
				faults.FailIf(func(op, _ string) bool { return op == "File.ReadAt" }, 1, syscall.EIO, true)
				b.mustRead(a, "f", data, pullthrough.Options{})
				got, _, err := b.read(t.Context(), a, "f", size-10, 10, pullthrough.Options{})
				if err != nil || !bytes.Equal(got, data[size-10:]) {
					t.Errorf("a part: %v", err)
				}
				if faults.Fired() == 0 {
					t.Error("nothing was read back")
				}
			})
		}
	}
}

func TestRegistryWithoutRangesSendsAllToAll(t *testing.T) {
	b := start(t)
	files := []archivetest.File{{Path: "a", Data: random(13, 300_000)}, {Path: "b", Data: random(14, 300_000)}, {Path: "c", Data: random(15, 300_000)}}
	b.up.set(func(u *upstream) { u.noRanges = true })
	b.up.push("v1", files, archivetest.Options{})
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.up.counts()
	open := b.up.shut()
	done := make(chan struct{})
	read := func(i int) {
		b.mustRead(a, files[i].Path, files[i].Data, pullthrough.Options{})
		done <- struct{}{}
	}
	go read(1)
	b.up.held.await("held", 1)
	for i, other := range []int{0, 2} {
		go read(other)
		b.ledger.await("joins", int64(i+1))
	}
	open()
	for range files {
		<-done
	}
	b.wants("one stream for all", map[string]int{"range": 1})
}

// A program that reads a compressed file piece by piece is gone between two pieces.
func TestFlightLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		a := b.one(random(8, 300_000), archivetest.Options{Zstd: true})
		open := b.up.shut()
		defer open()
		piece := func() {
			st, err := b.Open(t.Context(), a, "f", 0, 10, pullthrough.Options{})
			if err != nil {
				t.Fatal(err)
			}
			st.Close()
			synctest.Wait()
		}
		flights := b.ledger.get("joins")
		for range 4 {
			piece()
			time.Sleep(3 * time.Second)
		}
		if n := b.ledger.get("joins") - flights; n != 3 {
			t.Errorf("%d of 3 pieces found the flight of the first", n)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if n := b.ledger.get("flights"); n != 0 {
			t.Errorf("%d flights linger on", n)
		}
	})
}

// Large files that a slow registry holds up leave the small ones alone.
func TestSmallFilesPassLargeOnes(t *testing.T) {
	b := start(t, func(b *bench) {
		b.opts.Caches, b.opts.MemorySize = map[string]cache.Config{"content": {Off: true}}, 0
	})
	small := random(30, 1000)
	files := []archivetest.File{{Path: "a", Data: small}}
	for i := range 10 {
		files = append(files, archivetest.File{Path: fmt.Sprint("large", i), Data: random(uint64(40+i), 300_000)})
	}
	b.up.push("v1", files, archivetest.Options{Zstd: true})
	a := b.pull(repo+":v1", pullthrough.Options{})
	b.mustRead(a, "a", small, pullthrough.Options{})
	misses := b.ledger.get("block miss")
	open := b.up.shut()
	var all sync.WaitGroup
	for _, f := range files[1:] {
		all.Go(func() {
			if _, _, err := b.read(t.Context(), a, f.Path, 0, -1, pullthrough.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	b.ledger.await("block miss", misses+8) // each holds a decoder
	b.mustRead(a, "a", small, pullthrough.Options{})
	open()
	all.Wait()
}

// Any callers over any ranges: each gets its bytes or an error of its own, and with nothing failing and everything kept no
// byte comes twice while somebody wants it.
func TestAnyCallers(t *testing.T) {
	caches := map[string]func(*bench){
		"kept":         func(*bench) {},
		"blocks off":   func(b *bench) { b.opts.Caches = map[string]cache.Config{"block": {Off: true}} },
		"content off":  func(b *bench) { b.opts.Caches = map[string]cache.Config{"content": {Off: true}} },
		"nothing kept": func(b *bench) { b.opts.Caches = map[string]cache.Config{"block": {Off: true}, "content": {Off: true}} },
		"too small":    func(b *bench) { b.opts.MaxSize = 1 << 20 },
	}
	files := []archivetest.File{{Path: "large", Data: random(21, 2500<<10)}, {Path: "medium", Data: random(22, 300_001)}, {Path: "small", Data: random(23, 70_000)}}
	for name, change := range caches {
		for codec, o := range map[string]archivetest.Options{"stored": {}, "zstd": {Zstd: true}} {
			for _, fails := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", codec, " fails ", fails), func(t *testing.T) {
					t.Parallel()
					rng := rand.New(rand.NewPCG(uint64(len(name)), uint64(len(codec))))
					anyCallers(t, start(t, change), rng, files, o, fails, name == "kept")
				})
			}
		}
	}
}

// caller is one who reads a part of a file, and perhaps goes before its end.
type caller struct {
	archive        *pullthrough.Archive
	file           archivetest.File
	offset, length int64
	leaves         int64 // after so many bytes; -1: stays
	opts           pullthrough.Options
}

func anyCallers(t *testing.T, b *bench, rng *rand.Rand, files []archivetest.File, o archivetest.Options, fails, kept bool) {
	b.up.push("v1", files, o)
	var archives []*pullthrough.Archive
	for _, name := range []string{repo, "registry.example/other/app"} {
		archives = append(archives, b.pull(name+":v1", pullthrough.Options{}))
	}
	was, noRanges := b.sent(archives[0]), rng.IntN(4) == 0
	chance := rand.New(rand.NewPCG(rng.Uint64(), 6))
	b.up.set(func(u *upstream) {
		u.noRanges = noRanges
		if !fails {
			return
		}
		u.deny = func(scope oci.Scope) error { // under no lock of upstream's
			u.mu.Lock()
			defer u.mu.Unlock()
			if chance.IntN(3) > 0 {
				return nil
			}
			return fault.Wrap(fault.UpstreamTimeout, context.DeadlineExceeded, "%s failed", scope.Repository)
		}
		u.spoil = func(_ digest.Digest, sent []byte) {
			if chance.IntN(8) == 0 {
				sent[chance.IntN(len(sent))] ^= 1
			}
		}
	})
	open := b.up.shut()
	var all sync.WaitGroup
	for i := range 16 {
		c := caller{archive: archives[rng.IntN(2)], file: files[rng.IntN(len(files))], leaves: -1}
		c.length = int64(len(c.file.Data))
		if rng.IntN(2) == 0 {
			c.offset = rng.Int64N(c.length)
			c.length = rng.Int64N(c.length-c.offset) + 1
		}
		if rng.IntN(3) == 0 {
			c.leaves = rng.Int64N(c.length)
		}
		if fails {
			c.opts.NoCache = rng.IntN(4) == 0
			c.opts.RequireVerified = rng.IntN(4) == 0
		}
		all.Go(func() { c.read(t, b, fails) })
		if i == 8 {
			open()
		}
	}
	all.Wait()
	if n := b.sent(archives[0]) - was; kept && !fails && !noRanges && n > b.stored(archives[0]) {
		t.Errorf("%d bytes came of a blob of %d", n, b.stored(archives[0]))
	}
}

// stored is how large a's data blob is.
func (b *bench) stored(a *pullthrough.Archive) (n int64) {
	for e := range a.Tree.All() {
		n = rangeOf(e).Blob.Size
	}
	return n
}

func (c caller) read(t *testing.T, b *bench, fails bool) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	st, err := b.Open(ctx, c.archive, c.file.Path, c.offset, c.length, c.opts)
	var got []byte
	if err == nil {
		defer st.Close()
		if c.leaves >= 0 {
			head := make([]byte, c.leaves)
			n, _ := io.ReadFull(st, head)
			got = head[:n]
			leave()
		}
		var rest []byte
		rest, err = io.ReadAll(st)
		got = append(got, rest...)
	}
	want := c.file.Data[c.offset : c.offset+c.length]
	switch {
	case err == nil:
		// A part that no digest covers may be wrong where upstream sends wrong bytes, and then says so.
		if !bytes.Equal(got, want) && (!fails || st.Verified() || int64(len(got)) != c.length) {
			t.Errorf("%d of %d bytes of %s at %d ended well and are wrong", len(got), c.length, c.file.Path, c.offset)
		}
	case c.leaves >= 0 && errors.Is(err, context.Canceled):
	case !fails:
		t.Errorf("%s at %d: %v", c.file.Path, c.offset, err)
	case errors.Is(err, fault.UpstreamTimeout):
		if !strings.Contains(err.Error(), c.archive.Reference.Repository) {
			t.Errorf("%s got another's error: %v", c.archive.Reference.Repository, err)
		}
	case errors.Is(err, fault.DigestMismatch), errors.Is(err, fault.LocalOverload) && c.opts.RequireVerified:
	default:
		t.Errorf("%s at %d: %v", c.file.Path, c.offset, err)
	}
}
