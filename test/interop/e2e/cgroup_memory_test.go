package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
)

const (
	cgroupLimit = 256 * mib
	// idleMost is what the daemon may take when all is over: what it keeps to itself is the memory tier, 28 MiB here, and
	// what Go has not given back yet.
	idleMost = 96 * mib
)

// TestCgroupMemory has a daemon in a cgroup of 256 MiB meet what costs memory, while somebody reads what is good.
func TestCgroupMemory(t *testing.T) {
	indexes, manifests := 3, 24
	if long {
		indexes, manifests = 20, 100
	}
	w, g := newCgroupWorld(t, cgroupLimit, setup{
		registry: registrytest.Options{Dir: t.TempDir()},
		config:   "max_size: 16GiB\nidle_timeout: 10s\n",
	})
	honest := newHonest(w)

	for _, attack := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"hostile indexes", func(t *testing.T) { hostileIndexes(t, w, indexes) }},
		{"large manifests", func(t *testing.T) { largeManifests(t, w, manifests) }},
		{"giant tokens", func(t *testing.T) { giantTokens(t, w, 100) }},
		{"zstd bombs", func(t *testing.T) { zstdBombs(t, w) }},
		{"large reads, kept", func(t *testing.T) { largeReads(t, w, 100, "kept") }},
		{"large reads, unkept", func(t *testing.T) {
			w.restart("max_size: 3MiB\nidle_timeout: 10m\n") // no stalled reader is dropped for that
			largeReads(t, w, 100, "unkept")
		}},
	} {
		g.takePeak()
		began := time.Now()
		t.Run(attack.name, func(t *testing.T) {
			defer honest.reads()()
			attack.run(t)
		})
		peak := g.takePeak()
		if kills := g.kills(); kills > 0 {
			t.Fatalf("%s: the kernel killed the daemon", attack.name)
		}
		if peak >= cgroupLimit {
			t.Errorf("%s: the daemon took %d MiB", attack.name, peak/mib)
		}
		t.Logf("%s: peak %d MiB of anonymous memory, now %d MiB, %d good reads beside it, %s",
			attack.name, peak/mib, g.now()/mib, honest.count, time.Since(began).Round(time.Second))
	}
	eventually(t, "the daemon gives memory back", func() bool { return g.now() < idleMost })
	t.Logf("idle: %d MiB", g.now()/mib)
}

// honest reads two small archives, which must work whatever else goes on.
type honest struct {
	w     *world
	want  map[string][]byte
	count int // good reads in the last run
}

func newHonest(w *world) *honest {
	w.t.Helper()
	small, large := file("small", 1, 10_000), file("large", 2, 3*mib)
	push(w.t, w.reg.PushHost(), "honest/app:v1", archivetest.Options{Zstd: true}, small, large)
	return &honest{w: w, want: map[string][]byte{"small": content(small), "large": content(large)}}
}

// reads reads until stop is called. Every other read goes past the cache.
func (h *honest) reads() (stop func()) {
	c := h.w.client()
	ctx, cancel := context.WithCancel(h.w.t.Context())
	h.count = 0
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			for path, want := range h.want {
				var opts []client.ReadOption
				if h.count%2 == 1 {
					opts = append(opts, client.NoCache())
				}
				a, err := c.Pull(ctx, h.w.ref("honest/app:v1"), opts...)
				var got []byte
				if err == nil {
					got, err = a.WithContext(ctx).ReadFile(path)
				}
				if ctx.Err() != nil {
					return
				}
				if err != nil || !bytes.Equal(got, want) {
					h.w.t.Errorf("reading %s: %d bytes, %v", path, len(got), err)
					return
				}
				h.count++
			}
		}
	})
	return func() {
		cancel()
		reading.Wait()
		if h.count == 0 {
			h.w.t.Error("not one good read")
		}
	}
}

// client connects to the daemon.
func (w *world) client() *client.Client {
	w.t.Helper()
	c, err := client.Dial(w.t.Context(), client.WithSocket(w.Socket()))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// patiently calls f until it is not refused for want of memory: so it is with everything that is hostile.
func patiently(t *testing.T, what string, f func(ctx context.Context) error) (refused int) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for {
		err := f(ctx)
		if failed, ok := errors.AsType[*client.Error](err); ok && failed.Reason == "LOCAL_OVERLOAD" {
			refused++
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return refused
	}
}

// wants is err where it has the reason, and else an error that says so.
func wants(err error, reason string) error {
	failed, ok := errors.AsType[*client.Error](err)
	switch {
	case ok && failed.Reason == reason:
		return nil
	case ok && failed.Reason == "LOCAL_OVERLOAD":
		return err
	}
	return fmt.Errorf("%w, want %s", errors.Join(errors.New("no error"), err), reason)
}

// hostileIndexes has n indexes of 64 MiB and a million files each read at once, by those who look for one file, those who
// list all, and those who stop in the middle of a list.
func hostileIndexes(t *testing.T, w *world, n int) {
	const files = 1_000_000
	refs := make([]string, n)
	for i := range refs {
		name := fmt.Sprintf("hostile/index-%d:v1", i)
		index := archivetest.LargestIndex(files, 64*mib, uint32(i))
		if _, err := archivetest.Push(t.Context(), w.reg.PushHost(), name, index, []byte("x")); err != nil {
			t.Fatal(err)
		}
		refs[i] = w.ref(name)
	}
	for i := range 1 {
		stalled, err := blobdv1.NewBlobdServiceClient(w.client().Conn()).List(t.Context(),
			&blobdv1.ListRequest{Reference: refs[i], Recursive: true})
		if err == nil {
			_, err = stalled.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var refused atomic.Int64
	var reading sync.WaitGroup
	for i, ref := range refs {
		c := w.client()
		for range 4 {
			reading.Go(func() {
				refused.Add(int64(patiently(t, "stat", func(ctx context.Context) error {
					a, err := c.Pull(ctx, ref)
					if err == nil {
						_, err = a.WithContext(ctx).Stat("nope")
						err = wants(err, "FILE_UNKNOWN")
					}
					return err
				})))
			})
		}
		if i > 0 {
			continue
		}
		reading.Go(func() {
			patiently(t, "list", func(ctx context.Context) error {
				a, err := c.Pull(ctx, ref)
				if err != nil {
					return err
				}
				listed := 0
				for e, err := range a.List(ctx, ".", true) {
					if err != nil {
						return err
					}
					if !e.Directory {
						listed++
					}
				}
				if listed != files {
					t.Errorf("%d files listed", listed)
				}
				return nil
			})
		})
	}
	reading.Wait()
	t.Logf("%d indexes of 64 MiB, refused for want of memory %d times", n, refused.Load())
}

// flood is a registry that sends too much of everything.
func flood(t *testing.T) (host string) {
	mux, noHead := http.NewServeMux(), http.NewServeMux()
	send := func(w http.ResponseWriter, begin, unit string, n int) {
		_, _ = io.WriteString(w, begin)
		chunk := []byte(strings.Repeat(unit, 64<<10/len(unit)))
		for ; n > 0; n -= len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	noHead.HandleFunc("HEAD /", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) })
	noHead.Handle("/", mux)
	server := httptest.NewServer(noHead)
	t.Cleanup(server.Close)
	mux.HandleFunc("/v2/manifests/", func(w http.ResponseWriter, r *http.Request) { // of 100 MiB, without a length
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		send(w, `{"schemaVersion":2,"layers":[{}`, `,{}`, 100*mib)
	})
	mux.HandleFunc("/v2/layers/", func(w http.ResponseWriter, r *http.Request) { // as much as is let in, of the least descriptors
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		send(w, `{"schemaVersion":2,"layers":[{}`, `,{}`, 4*mib-256<<10)
		_, _ = io.WriteString(w, `]}`)
	})
	mux.HandleFunc("/v2/tokens/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x",scope="x"`, server.URL))
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		send(w, `{"token":"`, "x", 300*mib)
	})
	return strings.TrimPrefix(server.URL, "http://")
}

// largeManifests has manifests of 100 MiB, and of just under 4 MiB with a million of layers, asked for n at a time.
func largeManifests(t *testing.T, w *world, n int) {
	refusedAll(t, w, n, flood(t)+"/manifests/r%d:v1", "MANIFEST_INVALID")
	refusedAll(t, w, n, flood(t)+"/layers/r%d:v1", "MANIFEST_INVALID")
}

// giantTokens has token servers that answer with 300 MiB, asked by n at a time.
func giantTokens(t *testing.T, w *world, n int) {
	refusedAll(t, w, n, flood(t)+"/tokens/r%d:v1", "AUTH_SERVER")
}

func refusedAll(t *testing.T, w *world, n int, ref, reason string) {
	c := w.client()
	var pulling sync.WaitGroup
	for i := range n {
		pulling.Go(func() {
			patiently(t, ref, func(ctx context.Context) error {
				_, err := c.Pull(ctx, fmt.Sprintf(ref, i))
				return wants(err, reason)
			})
		})
	}
	pulling.Wait()
}

// zstdBombs has small files that decode to gigabytes, frames with windows of 128 MiB, and files that are no frames, each
// read by several at once.
func zstdBombs(t *testing.T, w *world) {
	_, huge := archivetest.RunLength(2 << 30)
	wide := bytes.Clone(huge)
	wide[5] = 17 << 3 // a window of 1 KiB << 17
	const each = 24
	var files []archivetest.File
	for i := range each {
		for name, frame := range map[string][]byte{"small": huge, "middling": huge, "wide": wide, "none": []byte("no frame")} {
			files = append(files, archivetest.File{Path: fmt.Sprintf("%s-%d", name, i), Data: []byte{byte(i)}, Frame: frame})
		}
	}
	push(t, w.reg.PushHost(), "hostile/bombs:v1", archivetest.Options{Zstd: true, Alter: func(x *archivetest.Index) {
		for i := range x.Entries {
			e := &x.Entries[i]
			switch name, _, _ := strings.Cut(e.Path, "-"); name {
			case "middling":
				e.OriginalSize = 16*mib + uint64(i) // as if it were that long
			case "wide", "none":
				e.OriginalSize = 1<<40 + uint64(i)
			}
			e.Hash = bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 16)
		}
	}}, files...)
	c := w.client()
	var reading sync.WaitGroup
	for _, f := range files {
		reading.Go(func() {
			patiently(t, f.Path, func(ctx context.Context) error {
				a, err := c.Pull(ctx, w.ref("hostile/bombs:v1"))
				if err != nil {
					return err
				}
				r, err := a.WithContext(ctx).Open(f.Path)
				if err != nil {
					return err
				}
				defer r.Close()
				_, err = io.Copy(io.Discard, r)
				return wants(err, "DIGEST_MISMATCH")
			})
		})
	}
	reading.Wait()
}

// largeReads has n large files read at once, half of them stored, half compressed with windows of 8 MiB. A quarter of the
// readers stop in the middle, before the others begin: they hold nobody up.
func largeReads(t *testing.T, w *world, n int, name string) {
	stored, compressed := int64(4*mib), int64(16*mib)
	if long {
		stored, compressed = 64*mib, 256*mib
	}
	var files []archivetest.File
	for i := range n {
		path := fmt.Sprintf("%02d", i)
		if i%2 == 0 {
			files = append(files, file(path, uint64(i), stored))
		} else {
			content, frame := archivetest.RunLength(compressed + int64(i)*4096)
			files = append(files, archivetest.File{Path: path, Content: content, Frame: frame})
		}
	}
	push(t, w.reg.PushHost(), "acme/"+name+":v1", archivetest.Options{}, files...)
	ref := w.ref("acme/" + name + ":v1")
	stalled, rest := files[:n/4], files[n/4:]
	for i := range stalled {
		stream, err := blobdv1.NewBlobdServiceClient(w.client().Conn()).ReadFile(t.Context(),
			&blobdv1.ReadFileRequest{Reference: ref, Path: stalled[i].Path})
		if err == nil {
			_, err = stream.Recv() // the header, while the first bytes may wait for room
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c := w.client()
	var refused atomic.Int64
	var reading sync.WaitGroup
	for _, f := range rest {
		want := sum(t, tiledAgain(f))
		reading.Go(func() {
			refused.Add(int64(patiently(t, f.Path, func(ctx context.Context) error {
				a, err := c.Pull(ctx, ref)
				if err != nil {
					return err
				}
				r, err := a.WithContext(ctx).Open(f.Path)
				if err != nil {
					return err
				}
				defer r.Close()
				h := sha256.New()
				if _, err := io.Copy(h, r); err != nil {
					return err
				}
				if got := fmt.Sprintf("%x", h.Sum(nil)); got != want {
					t.Errorf("%s: the wrong bytes", f.Path)
				}
				return nil
			})))
		})
	}
	reading.Wait()
	t.Logf("%d readers, %d of them stalled; refused for want of memory %d times", n, len(stalled), refused.Load())
}
