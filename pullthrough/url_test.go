package pullthrough_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/pullthrough"
)

const address = "https://site.example/file"

// URL is a site that has every blob at every address, and checks its digest as the fetcher does.
func (u *upstream) URL(ctx context.Context, _ string, d digest.Digest) (oci.Body, error) {
	if err := u.ask("url"); err != nil {
		return oci.Body{}, err
	}
	u.mu.Lock()
	data, ok := u.blobs[d]
	size := int64(len(data))
	if u.sizeless {
		size = -1
	}
	u.mu.Unlock()
	if !ok {
		return oci.Body{}, fault.New(fault.BlobUnknown, "nothing there")
	}
	body := u.body(ctx, d, 0, int64(len(data)))
	return oci.Body{ReadCloser: &checked{ReadCloser: body.ReadCloser, want: d, got: digest.SHA256.Digester()}, Length: size}, nil
}

type checked struct {
	io.ReadCloser
	want digest.Digest
	got  digest.Digester
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	_, _ = c.got.Hash().Write(p[:n])
	if err == io.EOF && c.got.Digest() != c.want {
		err = fault.New(fault.DigestMismatch, "wrong bytes")
	}
	return n, err
}

// has makes the site have a file of that many bytes.
func (u *upstream) has(size int64) ([]byte, digest.Digest) {
	data := random(uint64(size), size)
	d := digest.FromBytes(data)
	u.set(func(u *upstream) { u.blobs[d] = data })
	return data, d
}

func (b *bench) url(d digest.Digest, o pullthrough.Options) ([]byte, *pullthrough.URLStream, error) {
	st, err := b.OpenURL(b.t.Context(), "uid:1", address, d, o)
	if err != nil {
		return nil, nil, err
	}
	defer st.Close()
	data, err := io.ReadAll(st)
	return data, st, err
}

const chunk = 64 << 10

var urlSizes = []int64{0, 1, chunk - 1, chunk, chunk + 1, 4 * chunk, 4*chunk + 1, 9*chunk - 1, 9 * chunk}

// A file by address costs one request, whatever its size and whether that is known, and none once it is cached: from disk
// and from memory, and after a restart.
func TestURL(t *testing.T) {
	for _, sizeless := range []bool{false, true} {
		for _, size := range urlSizes {
			t.Run(fmt.Sprintf("%d, size unknown %v", size, sizeless), func(t *testing.T) {
				b := start(t)
				b.up.sizeless = sizeless
				data, d := b.up.has(size)
				asks := min(int(size), 1) // nobody has to be asked what is in an empty file
				for i, source := range []string{"upstream", "cache", "memory"} {
					got, st, err := b.url(d, pullthrough.Options{})
					if err != nil || !bytes.Equal(got, data) {
						t.Fatalf("%d bytes, %v", len(got), err)
					}
					if want := size; i == 0 && sizeless && size > 0 && st.Size() != -1 || (i > 0 || !sizeless) && st.Size() != want {
						t.Errorf("its size is told as %d", st.Size())
					}
					if source == "memory" && size > 256<<10 {
						source = "cache"
					}
					if from := st.Steps()[0]; size > 0 && from != (pullthrough.Step{Step: "content", Source: source}) {
						t.Errorf("%+v, want %s", from, source)
					}
				}
				b.restart()
				if got, _, err := b.url(d, pullthrough.Options{RequireVerified: true}); err != nil || !bytes.Equal(got, data) {
					t.Errorf("after a restart: %d bytes, %v", len(got), err)
				}
				if n := b.up.counts()["url"]; n != asks {
					t.Errorf("%d requests, want %d", n, asks)
				}
				if got, _, err := b.url(d, pullthrough.Options{NoCache: true}); err != nil || !bytes.Equal(got, data) || b.up.counts()["url"] != asks {
					t.Errorf("anew: %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

// Callers who come together share one request, also those who come while bytes flow; what one of them does is no matter to
// the others.
func TestURLTogether(t *testing.T) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprint("content off ", off), func(t *testing.T) {
			b := start(t, func(b *bench) { b.opts.Caches = map[string]cache.Config{"content": {Off: off, Size: b.opts.MaxSize}} })
			data, d := b.up.has(20*chunk + 5)
			open := b.up.shut()
			left, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			gone := make(chan struct{})
			for i := range 8 {
				all.Go(func() {
					if i == 0 {
						defer close(gone)
					}
					ctx := t.Context()
					if i == 0 {
						ctx = left
					}
					st, err := b.OpenURL(ctx, "uid:1", address, d, pullthrough.Options{})
					if err == nil {
						defer st.Close()
						var got []byte
						if got, err = io.ReadAll(st); err == nil && !bytes.Equal(got, data) {
							t.Errorf("%d bytes", len(got))
						}
					}
					if (i == 0) != (err != nil) {
						t.Errorf("caller %d: %v", i, err)
					}
				})
			}
			b.up.held.await("held", 1)
			b.ledger.await("joins", 7)
			cancel()
			<-gone
			open()
			all.Wait()
			if n := b.up.counts()["url"]; n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// Wrong bytes are never kept and never end well; once they are fetched anew, whatever was handed out before.
func TestURLWrongBytes(t *testing.T) {
	for _, size := range urlSizes[1:] {
		for _, times := range []int{1, 2} {
			for _, at := range []int64{0, size - 1} {
				t.Run(fmt.Sprintf("%d, %d times at %d", size, times, at), func(t *testing.T) {
					b := start(t)
					data, d := b.up.has(size)
					left := times
					b.up.spoil = func(_ digest.Digest, p []byte) {
						if left--; left >= 0 {
							p[at] ^= 1
						}
					}
					got, _, err := b.url(d, pullthrough.Options{})
					// What was handed out wrong can't be called back.
					gone := at < size/chunk*chunk
					if good := times == 1 && !gone; good != (err == nil) || good && !bytes.Equal(got, data) ||
						!good && !errors.Is(err, fault.DigestMismatch) {
						t.Errorf("%d bytes, %v", len(got), err)
					}
					if n := b.up.counts()["url"]; n != 2 {
						t.Errorf("%d requests", n)
					}
					if left > 0 {
						return
					}
					if got, _, err := b.url(d, pullthrough.Options{RequireVerified: true}); err != nil || !bytes.Equal(got, data) {
						t.Errorf("afterwards: %d bytes, %v", len(got), err)
					}
				})
			}
		}
	}
}

// With RequireVerified, wrong bytes are met before the first one is handed out.
func TestURLRequireVerified(t *testing.T) {
	b := start(t)
	data, d := b.up.has(5 * chunk)
	left := 1
	b.up.spoil = func(_ digest.Digest, p []byte) {
		if left--; left >= 0 {
			p[0] ^= 1
		}
	}
	if got, _, err := b.url(d, pullthrough.Options{RequireVerified: true}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	b.up.spoil = func(_ digest.Digest, p []byte) { p[0] ^= 1 }
	_, other := b.up.has(6 * chunk)
	if st, err := b.OpenURL(t.Context(), "uid:1", address, other, pullthrough.Options{RequireVerified: true}); !errors.Is(err, fault.DigestMismatch) {
		t.Errorf("%v, %v", st, err)
	}
}

// While the site is down, what is cached is served; what is not fails as the site does.
func TestURLSiteDown(t *testing.T) {
	b := start(t)
	data, d := b.up.has(3 * chunk)
	if _, _, err := b.url(d, pullthrough.Options{}); err != nil {
		t.Fatal(err)
	}
	b.up.set(func(u *upstream) { u.fail = down })
	if got, _, err := b.url(d, pullthrough.Options{}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("cached: %v", err)
	}
	if _, _, err := b.url(digest.FromString("another"), pullthrough.Options{}); !errors.Is(err, fault.Upstream5xx) {
		t.Errorf("not cached: %v", err)
	}
}

func TestURLRefuses(t *testing.T) {
	b := start(t)
	for address, want := range map[string]fault.Reason{
		"https://user:pass@site.example/": fault.InvalidArgument, "ftp://site.example/": fault.InvalidArgument, "": fault.InvalidArgument,
	} {
		if _, err := b.OpenURL(t.Context(), "uid:1", address, digest.FromString("x"), pullthrough.Options{}); !errors.Is(err, want) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, d := range []digest.Digest{"", "sha256:abc", digest.SHA512.FromString("x")} {
		if _, err := b.OpenURL(t.Context(), "uid:1", address, d, pullthrough.Options{}); !errors.Is(err, fault.InvalidDigest) {
			t.Errorf("%s: %v", d, err)
		}
	}
	if n := b.up.counts()["url"]; n != 0 {
		t.Errorf("%d requests", n)
	}
}
