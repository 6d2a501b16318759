package pullthrough_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/blobd/blobd/cache"
	"github.com/blobd/blobd/cache/store/storetest"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/pullthrough"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstream is a registry as the domain sees one, scripted: it counts what is asked, and does what no real registry can
// be made to do at a chosen moment. The real ways are tested with real registries, in test/interop.
type upstream struct {
	mu        sync.Mutex // guards all below
	tags      map[string]digest.Digest
	manifests map[digest.Digest][]byte
	blobs     map[digest.Digest][]byte
	asked     map[string]int          // requests by kind
	bytes     map[digest.Digest]int64 // sent of each blob
	spans     [][2]int64              // ranges asked of blobs
	fail      func(kind string) error
	deny      func(oci.Scope) error           // of blobs, after the gate
	spoil     func(d digest.Digest, b []byte) // changes bytes on their way
	noRanges  bool
	sizeless  bool // its addresses don't say how large files are

	gate atomic.Pointer[chan struct{}] // while set, blob bytes wait for it to close
	held *ledger                       // counts who waits, as "held"
}

func newUpstream() *upstream {
	return &upstream{
		tags: map[string]digest.Digest{}, manifests: map[digest.Digest][]byte{}, blobs: map[digest.Digest][]byte{},
		asked: map[string]int{}, bytes: map[digest.Digest]int64{}, held: newLedger(),
	}
}

// push stores an archive of files under a tag and returns its manifest's digest.
func (u *upstream) push(tag string, files []archivetest.File, o archivetest.Options) digest.Digest {
	index, data := archivetest.Build(files, o)
	il, dl := archivetest.Layers(index, data)
	raw := archivetest.Manifest(il, dl)
	u.mu.Lock()
	defer u.mu.Unlock()
	d := digest.FromBytes(raw)
	u.tags[tag], u.manifests[d] = d, raw
	u.blobs[il.Digest], u.blobs[dl.Digest] = index, data
	return d
}

func (u *upstream) ask(kind string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked[kind]++
	if u.fail != nil {
		return u.fail(kind)
	}
	return nil
}

// set changes the script.
func (u *upstream) set(change func(*upstream)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(u)
}

// counts returns the requests since the last call, and forgets them.
func (u *upstream) counts() map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	was := u.asked
	u.asked = map[string]int{}
	return was
}

func (u *upstream) Credential(string, string) string { return "" }

func (u *upstream) Resolve(ctx context.Context, _ oci.Scope, tag string) (oci.Descriptor, []byte, error) {
	if err := u.ask("tag"); err != nil {
		return oci.Descriptor{}, nil, err
	}
	if err := u.pass(ctx); err != nil {
		return oci.Descriptor{}, nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	d, ok := u.tags[tag]
	if !ok {
		return oci.Descriptor{}, nil, fault.New(fault.ManifestUnknown, "no tag %s", tag)
	}
	return oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: d, Size: int64(len(u.manifests[d]))}, nil, nil
}

func (u *upstream) Manifest(_ context.Context, _ oci.Scope, d digest.Digest) (string, []byte, error) {
	if err := u.ask("manifest"); err != nil {
		return "", nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	raw, ok := u.manifests[d]
	if !ok {
		return "", nil, fault.New(fault.ManifestUnknown, "no manifest %s", d)
	}
	return oci.MediaTypeImageManifest, raw, nil
}

func (u *upstream) Stat(_ context.Context, _ oci.Scope, d digest.Digest) error { return u.ask("stat") }

func (u *upstream) Blob(ctx context.Context, _ oci.Scope, d oci.Descriptor) (io.ReadCloser, error) {
	if err := u.ask("blob"); err != nil {
		return nil, err
	}
	return u.body(ctx, d.Digest, 0, d.Size).ReadCloser, nil
}

func (u *upstream) Range(ctx context.Context, scope oci.Scope, d oci.Descriptor, offset, length int64) (oci.Body, error) {
	if err := u.ask("range"); err != nil {
		return oci.Body{}, err
	}
	if err := u.denies(ctx, scope); err != nil {
		return oci.Body{}, err
	}
	u.set(func(u *upstream) {
		u.spans = append(u.spans, [2]int64{offset, length})
		if u.noRanges {
			offset, length = 0, d.Size
		}
	})
	return u.body(ctx, d.Digest, offset, length), nil
}

func (u *upstream) body(ctx context.Context, d digest.Digest, offset, length int64) oci.Body {
	u.mu.Lock()
	defer u.mu.Unlock()
	data := bytes.Clone(u.blobs[d][offset : offset+length])
	if u.spoil != nil {
		u.spoil(d, data)
	}
	return oci.Body{ReadCloser: io.NopCloser(&sent{ctx, u, d, bytes.NewReader(data)}), Offset: offset, Length: length}
}

func (u *upstream) denies(ctx context.Context, scope oci.Scope) error {
	u.mu.Lock()
	deny := u.deny
	u.mu.Unlock()
	if deny == nil {
		return nil
	}
	if err := u.pass(ctx); err != nil {
		return err
	}
	return deny(scope)
}

// pass waits while the gate is shut.
func (u *upstream) pass(ctx context.Context) error {
	if gate := u.gate.Load(); gate != nil {
		u.held.add("held", 1)
		select {
		case <-*gate:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// shut holds back all blob bytes and tags until the returned func is called.
func (u *upstream) shut() (open func()) {
	gate := make(chan struct{})
	u.gate.Store(&gate)
	return func() {
		u.gate.Store(nil)
		close(gate)
	}
}

// sent counts bytes as they go.
type sent struct {
	ctx context.Context
	u   *upstream
	d   digest.Digest
	r   *bytes.Reader
}

func (s *sent) Read(p []byte) (int, error) {
	if err := s.u.pass(s.ctx); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	s.u.set(func(u *upstream) { u.bytes[s.d] += int64(n) })
	return n, err
}

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// ledger counts what the service reports.
type ledger struct {
	mu      sync.Mutex // guards counts
	changed sync.Cond
	counts  map[string]int64
}

func newLedger() *ledger {
	l := &ledger{counts: map[string]int64{}}
	l.changed.L = &l.mu
	return l
}

func (l *ledger) add(key string, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[key] += n
	l.changed.Broadcast()
}

func (l *ledger) get(key string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[key]
}

// await blocks until key was counted n times.
func (l *ledger) await(key string, n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.counts[key] < n {
		l.changed.Wait()
	}
}

func (l *ledger) CacheRequest(cache, result string) { l.add(cache+" "+result, 1) }
func (l *ledger) Served(source string, n int64)     { l.add("served "+source, n) }
func (l *ledger) FlightStarted()                    { l.add("flights", 1) }
func (l *ledger) FlightEnded()                      { l.add("flights", -1) }
func (l *ledger) FlightJoined()                     { l.add("joins", 1) }
func (l *ledger) StaleServed()                      { l.add("stale", 1) }

func (l *ledger) Evicted(class, reason string, n int64) { l.add("evicted "+class+" "+reason, 1) }
func (l *ledger) Corrupted(class string)                { l.add("corrupted "+class, 1) }
func (l *ledger) Problem(err error)                     { l.add(fmt.Sprint("problem ", err), 1) }

// bench is a service over real caches in a folder of the test's.
type bench struct {
	*pullthrough.Service
	t      testing.TB
	up     *upstream
	clock  *clock
	ledger *ledger
	caches *cache.Caches
	opts   cache.Options
	policy pullthrough.Policy
}

func policy() pullthrough.Policy {
	return pullthrough.Policy{
		TTL:             func(oci.Reference) pullthrough.TTL { return pullthrough.TTL{For: 15 * time.Minute} },
		RequireVerified: func(oci.Reference) bool { return false },
		MaxStale:        24 * time.Hour, Grant: 24 * time.Hour, NegativeTTL: 10 * time.Second,
		MaxIndex: 64 << 20, MaxPinned: 1 << 30,
	}
}

func start(t testing.TB, change ...func(*bench)) *bench {
	b := &bench{t: t, up: newUpstream(), clock: &clock{}, ledger: newLedger(), policy: policy()}
	b.opts = cache.Options{
		Dir: t.TempDir(), MaxSize: 256 << 20, MinFree: 1, MemorySize: 16 << 20, Now: b.clock.now, Observer: b.ledger,
		FS: storetest.WithoutSync(), // power cuts are the store's to test
	}
	for _, c := range change {
		c(b)
	}
	b.open()
	t.Cleanup(b.shut)
	return b
}

func (b *bench) open() {
	var err error
	if b.caches, err = cache.Open(b.opts); err != nil {
		b.t.Fatal(err)
	}
	b.Service = pullthrough.New(b.caches, b.up, b.policy, b.ledger, b.clock.now)
}

func (b *bench) shut() {
	if err := b.Service.Close(context.Background()); err != nil {
		b.t.Error(err)
	}
	if n := b.ledger.get("flights"); n != 0 {
		b.t.Errorf("%d flights are still counted after Close", n)
	}
	if err := b.caches.Close(); err != nil {
		b.t.Error(err)
	}
}

// restart closes and opens everything: what is answered after it was on disk.
func (b *bench) restart() {
	b.shut()
	b.open()
}

const repo = "registry.example/team/app"

func (b *bench) pull(ref string, o pullthrough.Options) *pullthrough.Archive {
	b.t.Helper()
	a, err := b.Pull(b.t.Context(), "uid:1", ref, o)
	if err != nil {
		b.t.Fatalf("pull %s: %v", ref, err)
	}
	return a
}

// read reads a part of a file to its end.
func (b *bench) read(ctx context.Context, a *pullthrough.Archive, path string, offset, length int64, o pullthrough.Options) ([]byte, *pullthrough.Stream, error) {
	st, err := b.Open(ctx, a, path, offset, length, o)
	if err != nil {
		return nil, nil, err
	}
	defer st.Close()
	data, err := io.ReadAll(st)
	return data, st, err
}

func (b *bench) mustRead(a *pullthrough.Archive, path string, want []byte, o pullthrough.Options) *pullthrough.Stream {
	b.t.Helper()
	got, st, err := b.read(b.t.Context(), a, path, 0, -1, o)
	if err != nil {
		b.t.Fatalf("read %s: %v", path, err)
	}
	if !bytes.Equal(got, want) {
		b.t.Fatalf("read %s: %d bytes that are not the file's %d", path, len(got), len(want))
	}
	return st
}

func (b *bench) wants(what string, want map[string]int) {
	b.t.Helper()
	got := b.up.counts()
	for _, kind := range []string{"tag", "manifest", "stat", "blob", "range"} {
		if got[kind] != want[kind] {
			b.t.Errorf("%s: %d requests for %s, want %d", what, got[kind], kind, want[kind])
		}
	}
}

func random(seed uint64, size int64) []byte { return archivetest.Bytes(archivetest.Random(seed, size)) }
func repetitive(seed uint64, size int64) []byte {
	return archivetest.Bytes(archivetest.Compressible(seed, size))
}
