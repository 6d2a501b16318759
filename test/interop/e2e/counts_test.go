package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/test/interop/peer"
)

// TestCountsOfOneReader walks one reader through a cold read, warm ones, restarts, and the end of the TTL, on every kind
// of registry. What each costs upstream is exact.
func TestCountsOfOneReader(t *testing.T) {
	files := []archivetest.File{
		file("docs/readme", 1, 10_000), file("app/big.bin", 2, 3<<20+17), file("app.txt", 3, 200_000), file("zz", 4, 100_000),
	}
	for _, kind := range registries {
		for _, c := range []peer.Compression{peer.Stored, peer.Zstd} {
			t.Run(fmt.Sprintf("%s/%v", kind.name, c), func(t *testing.T) {
				t.Parallel()
				b := kind.start(t)
				d := pushByPeer(t, b.pushHost, "acme/app:v1", c, files...)
				h := newHost(t, setup{config: b.config})
				w := &world{t: t, Host: h}
				w.start()
				tag, exact := b.host+"/acme/app:v1", b.host+"/acme/app@"+d.String()

				login := b.login
				w.reads(content(files[1]), "cat", tag, "app/big.bin")
				costs(t, "cold by tag", b.proxy, plus(coldByTag, login))
				w.reads(content(files[1]), "cat", tag, "app/big.bin")
				costs(t, "warm", b.proxy, nothing)
				w.reads(content(files[1]), "cat", exact, "app/big.bin")
				costs(t, "warm by digest", b.proxy, nothing)
				w.run("pull", tag)
				w.run("ls", "-lR", tag)
				w.run("stat", tag, "app.txt")
				w.run("manifest", tag)
				costs(t, "pull, ls, stat and manifest, warm", b.proxy, nothing)

				w.restart(b.config)
				w.reads(content(files[1]), "cat", tag, "app/big.bin")
				costs(t, "after a restart", b.proxy, nothing)
				w.kill()
				w.start()
				w.reads(content(files[1]), "cat", tag, "app/big.bin")
				costs(t, "after kill -9", b.proxy, nothing)

				w.restart(b.config + "ttl: {default: 1ms}\n")
				w.reads(content(files[1]), "cat", tag, "app/big.bin")
				costs(t, "TTL over, tag unmoved", b.proxy, plus(oneHead, login)) // tokens live in memory
				w.run("pull", tag)
				costs(t, "TTL over again", b.proxy, oneHead)

				w.reads(content(files[2]), "cat", exact, "app.txt")
				costs(t, "another file", b.proxy, registrytest.Counts{Range: 1})
			})
		}
	}
}

// TestCountsByDigest reads cold by digest.
func TestCountsByDigest(t *testing.T) {
	for _, kind := range registries {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			b := kind.start(t)
			files := []archivetest.File{file("a", 1, 100_000), file("b", 2, 1<<20)}
			d := pushByPeer(t, b.pushHost, "acme/app:v1", peer.Stored, files...)
			w := &world{t: t, Host: newHost(t, setup{config: b.config})}
			w.start()
			w.reads(content(files[1]), "cat", b.host+"/acme/app@"+d.String(), "b")
			costs(t, "cold by digest", b.proxy, plus(coldByDigest, b.login))
		})
	}
}

// TestCountsOfEnds reads both ends of a file of 1 GiB: nothing moves but the blocks that hold them.
func TestCountsOfEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{registry: registrytest.Options{Dir: t.TempDir()}})
	const size, end, block = 1 << 30, 4 << 10, 64 << 10
	big := file("big", 2, size)
	push(t, w.reg.PushHost(), "acme/big:v1", archivetest.Options{}, file("a", 1, 1000), big, file("c", 3, 1000))
	w.run("pull", w.ref("acme/big:v1"))
	w.reg.Reset()
	for _, offset := range []int64{size - end, 0} {
		w.reads(part(t, big, offset, end), "cat", "--offset", fmt.Sprint(offset), "--length", "4KiB", w.ref("acme/big:v1"), "big")
		if c := w.reg.Counts(); c.Range != 1 || c.Total() != 1 || c.Bytes > 2*block {
			t.Errorf("4 KiB at %d: upstream saw %+v, want one range of at most two blocks", offset, c)
		}
		w.reg.Reset()
	}
	for _, offset := range []int64{size - end, 0} {
		w.reads(part(t, big, offset, end), "cat", "--offset", fmt.Sprint(offset), "--length", "4KiB", w.ref("acme/big:v1"), "big")
	}
	costs(t, "both ends again", w.reg.Proxy, nothing)
}

// TestCountsOfCompressedFile reads a compressed file of 16 MiB: one ranged GET, and none after a restart.
func TestCountsOfCompressedFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	big := archivetest.File{Path: "big", Content: archivetest.Compressible(2, 16<<20)}
	pushByPeer(t, w.reg.PushHost(), "acme/big:v1", peer.Zstd, file("a", 1, 1000), big, file("c", 3, 1000))
	want := content(big)
	w.reads(want, "cat", w.ref("acme/big:v1"), "big")
	costs(t, "16 MiB of zstd, cold", w.reg.Proxy, coldByTag)
	w.restart("")
	w.reads(want, "cat", w.ref("acme/big:v1"), "big")
	costs(t, "after a restart", w.reg.Proxy, nothing)
}

// TestCountsOfSharedFile reads a file that two archives in two repositories have: its bytes come once.
func TestCountsOfSharedFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	shared := file("shared", 1, 1<<20)
	moved := shared
	moved.Path = "elsewhere/under/another/name"
	pushByPeer(t, w.reg.PushHost(), "acme/one:v1", peer.Stored, shared, file("a", 2, 300_000))
	pushByPeer(t, w.reg.PushHost(), "acme/two:v1", peer.Zstd, moved, file("b", 3, 300_000))
	w.reads(content(shared), "cat", w.ref("acme/one:v1"), "shared")
	costs(t, "the first archive", w.reg.Proxy, coldByTag)
	w.reads(content(shared), "cat", w.ref("acme/two:v1"), moved.Path)
	costs(t, "the second", w.reg.Proxy, registrytest.Counts{Tag: 1, Head: 1, Manifest: 1, Blob: 1})
}

// plus adds up requests.
func plus(a, b registrytest.Counts) registrytest.Counts {
	a.Tag += b.Tag
	a.Manifest += b.Manifest
	a.Blob += b.Blob
	a.Range += b.Range
	a.Token += b.Token
	a.Challenge += b.Challenge
	a.Other += b.Other
	a.Head += b.Head
	return a
}

// span is the bytes [first, last] of a blob that a request moved.
type span struct{ first, last int64 }

// spans are what ranged requests of one blob moved.
func spans(t *testing.T, p *registrytest.Proxy) (list []span) {
	t.Helper()
	for _, r := range p.Requests() {
		if r.Kind != registrytest.Range {
			continue
		}
		var s span
		if n, err := fmt.Sscanf(strings.TrimSpace(r.Range), "bytes=%d-%d", &s.first, &s.last); n < 1 {
			t.Fatalf("Range: %q: %v", r.Range, err)
		}
		if s.last = s.first + r.Bytes - 1; r.Bytes > 0 {
			list = append(list, s)
		}
	}
	return list
}
