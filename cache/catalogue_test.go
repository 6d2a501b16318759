package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/cache/store/storetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// filled opens a catalogue and puts three artifacts, and something of everything else, into it.
func filled(t *testing.T, dir string, clk *clock) *Catalogue {
	t.Helper()
	c := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	for n := range 3 {
		if err := c.Record(testArtifact(n)); err != nil {
			t.Fatal(err)
		}
	}
	a := testArtifact(1)
	c.TagSeen(a.Registry, a.Repository, "v1", a.Digest)
	c.TagSeen(a.Registry, a.Repository, "latest", a.Digest)
	if err := c.pin(a, []store.Key{store.KeyOf(digest.FromString("a file"))}); err != nil {
		t.Fatal(err)
	}
	if err := c.Grant(testScope, testTime.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	c.Prove(testScope, digest.FromString("a blob"))
	return c
}

// checkFilled checks that a catalogue knows what filled put into it.
func checkFilled(t *testing.T, c *Catalogue) {
	t.Helper()
	want := []Artifact{testArtifact(0), testArtifact(1), testArtifact(2)}
	want[1].Pinned, want[1].Tags = true, []string{"latest", "v1"}
	if got := c.All(); !reflect.DeepEqual(got, want) {
		t.Errorf("artifacts\n%+v, want\n%+v", got, want)
	}
	if n := c.Len(); n != len(want) {
		t.Errorf("%d artifacts, want %d", n, len(want))
	}
	pinned := c.pinned()
	if len(pinned) != 1 || !slices.Equal(pinned[0].contents, []store.Key{store.KeyOf(digest.FromString("a file"))}) {
		t.Errorf("pins: %+v", pinned)
	}
	if !c.Granted(testScope, testTime.Add(24*time.Hour-1)) || c.Granted(testScope, testTime.Add(24*time.Hour)) {
		t.Errorf("the grant is not one of 24 h")
	}
	if !c.Proved(testScope, digest.FromString("a blob")) {
		t.Error("the proof is not known")
	}
}

func TestCatalogueAfterRestart(t *testing.T) {
	for name, stop := range map[string]func(c *Catalogue){
		"closed": func(c *Catalogue) { _ = c.close() },
		"killed": func(*Catalogue) {},
		"compacted": func(c *Catalogue) {
			c.writing.Lock()
			defer c.writing.Unlock()
			if err := c.rewrite(); err != nil {
				panic(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, clk := t.TempDir(), newClock()
			c := filled(t, dir, clk)
			checkFilled(t, c)
			stop(c)
			checkFilled(t, openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds()))
		})
	}
}

func TestCatalogueScopesShareNothing(t *testing.T) {
	c := openCatalogue(t, storetest.WithoutSync(), t.TempDir(), newClock().Now, defaultBounds())
	blob, end := digest.FromString("a blob"), testTime.Add(time.Hour)
	if err := c.Grant(testScope, end); err != nil {
		t.Fatal(err)
	}
	c.Prove(testScope, blob)
	for _, other := range []oci.Scope{
		{Principal: "uid:1", Registry: testScope.Registry, Repository: testScope.Repository},
		{Registry: "other.example", Repository: testScope.Repository},
		{Registry: testScope.Registry, Repository: "acme/other"},
		{Registry: testScope.Registry, Repository: testScope.Repository, Credential: "robot"},
	} {
		if c.Granted(other, testTime) || c.Proved(other, blob) {
			t.Errorf("%+v has the rights of %+v", other, testScope)
		}
	}
	if c.Proved(testScope, digest.FromString("another blob")) {
		t.Error("a proof for another blob")
	}
}

func TestCatalogueForget(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	c := filled(t, dir, clk)
	a := testArtifact(1)
	for range 2 { // what is not known is no error
		if err := c.Forget(a.Registry, a.Repository, a.Digest); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*Catalogue{c, openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())} {
		if _, ok := c.Get(a.Registry, a.Repository, a.Digest); ok || len(c.All()) != 2 || len(c.pinned()) != 0 {
			t.Errorf("after Forget: %+v, pins %+v", c.All(), c.pinned())
		}
	}
	// It comes back without its pin and its tags.
	if err := c.Record(a); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.Get(a.Registry, a.Repository, a.Digest); got.Pinned || got.Tags != nil {
		t.Errorf("came back as %+v", got)
	}
}

func TestCataloguePin(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	c := filled(t, dir, clk)
	a := testArtifact(2)
	if err := c.Pin("registry.example", "nobody/knows", a.Digest, true); !errors.Is(err, fault.ArtifactUnknown) {
		t.Errorf("an unknown artifact: %v", err)
	}
	if err := c.Pin(a.Registry, a.Repository, a.Digest, true); err != nil {
		t.Fatal(err)
	}
	if err := c.Record(a); err != nil { // a record does not touch the pin
		t.Fatal(err)
	}
	restarted := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	if got, _ := restarted.Get(a.Registry, a.Repository, a.Digest); !got.Pinned {
		t.Error("the pin is lost")
	}
	if err := c.Pin(a.Registry, a.Repository, a.Digest, false); err != nil {
		t.Fatal(err)
	}
	restarted = openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	if got, _ := restarted.Get(a.Registry, a.Repository, a.Digest); got.Pinned {
		t.Error("the pin is still there")
	}
}

func TestCatalogueTagMoves(t *testing.T) {
	c := openCatalogue(t, storetest.WithoutSync(), t.TempDir(), newClock().Now, defaultBounds())
	a, b := testArtifact(1), testArtifact(1)
	b.Digest = digest.FromString("another manifest")
	for _, x := range []Artifact{a, b} {
		c.TagSeen(x.Registry, x.Repository, "v1", x.Digest) // before the artifact is recorded, as a pull does
		if err := c.Record(x); err != nil {
			t.Fatal(err)
		}
	}
	c.TagSeen("registry.example", "acme/other", "v1", a.Digest)
	got, _ := c.Get(a.Registry, a.Repository, a.Digest)
	moved, _ := c.Get(b.Registry, b.Repository, b.Digest)
	if got.Tags != nil || !slices.Equal(moved.Tags, []string{"v1"}) {
		t.Errorf("tags %q and %q, want the tag at the second only", got.Tags, moved.Tags)
	}
}

func TestCatalogueRefusesBadDigests(t *testing.T) {
	c := openCatalogue(t, storetest.WithoutSync(), t.TempDir(), newClock().Now, defaultBounds())
	for _, d := range []digest.Digest{"", "sha256", "sha256:", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		a, b := testArtifact(1), testArtifact(1)
		a.Digest, b.Blobs[1].Digest = d, d
		for _, x := range []Artifact{a, b} {
			if err := c.Record(x); !errors.Is(err, fault.InvalidDigest) {
				t.Errorf("Record with %q: %v", d, err)
			}
		}
		c.TagSeen("registry.example", "acme/models", "v1", d)
		c.Prove(testScope, d)
		if c.Proved(testScope, d) {
			t.Errorf("%q is proved", d)
		}
	}
	if all := c.All(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

// TestCatalogueWritesSeldom counts what is written down of what comes again and again.
func TestCatalogueWritesSeldom(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	c := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	size := func() int64 {
		fi, err := os.Stat(filepath.Join(dir, "catalogue"))
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	use := func() {
		a := testArtifact(1)
		a.LastUsed = clk.Now()
		if err := errors.Join(c.Record(a), c.Grant(testScope, clk.Now().Add(24*time.Hour))); err != nil {
			t.Fatal(err)
		}
		c.Prove(testScope, digest.FromString("a blob"))
		c.TagSeen(a.Registry, a.Repository, "v1", a.Digest)
	}
	use()
	first := size()
	for range 59 {
		clk.Add(time.Second)
		use()
	}
	if got := size(); got != first {
		t.Errorf("used again within a minute: %d bytes written", got-first)
	}
	if got, _ := c.Get("registry.example", "acme/models-1", testArtifact(1).Digest); !got.LastUsed.Equal(clk.Now()) {
		t.Errorf("last used %v, want %v", got.LastUsed, clk.Now())
	}
	clk.Add(time.Second)
	use()
	second := size()
	if second == first {
		t.Error("a minute later nothing was written")
	}
	for range 60 {
		clk.Add(time.Minute)
		use()
	}
	if !c.Granted(testScope, clk.Now().Add(24*time.Hour-1)) {
		t.Error("the grant did not grow in memory")
	}
	killed := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	if !killed.Granted(testScope, clk.Now().Add(23*time.Hour-1)) {
		t.Error("on disk the grant is more than an hour behind")
	}
	// What is in memory only is written down at the end.
	clk.Add(time.Second)
	use()
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	again := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	if got, _ := again.Get("registry.example", "acme/models-1", testArtifact(1).Digest); !got.LastUsed.Equal(clk.Now()) {
		t.Errorf("after a restart last used %v, want %v", got.LastUsed, clk.Now())
	}
	if !again.Granted(testScope, clk.Now().Add(24*time.Hour-1)) {
		t.Error("after a restart the grant is shorter")
	}
}

// TestCatalogueShortGrants: grants that are shorter than the slack are written too, once the one before has ended.
func TestCatalogueShortGrants(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	c := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	for range 3 {
		if err := c.Grant(testScope, clk.Now().Add(10*time.Minute)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*Catalogue{c, openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())} {
			if !c.Granted(testScope, clk.Now().Add(10*time.Minute-1)) {
				t.Fatal("no grant")
			}
		}
		clk.Add(10 * time.Minute)
		if c.Granted(testScope, clk.Now()) {
			t.Fatal("the grant did not end")
		}
	}
	if err := c.Grant(testScope, clk.Now().Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := c.Grant(testScope, clk.Now().Add(time.Minute)); err != nil { // made shorter: that counts at once
		t.Fatal(err)
	}
	again := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	if again.Granted(testScope, clk.Now().Add(time.Minute)) {
		t.Error("after a restart the longer grant is back")
	}
	if err := c.Revoke(testScope); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Catalogue{c, openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())} {
		if c.Granted(testScope, clk.Now()) {
			t.Error("revoked, and still granted")
		}
	}
}

func TestCatalogueIsBounded(t *testing.T) {
	small := bounds{artifacts: 20, grants: 20, tags: 20, proofs: 20}
	dir, clk := t.TempDir(), newClock()
	c := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, small)
	pinned := testArtifact(0)
	if err := c.pin(pinned, nil); err != nil {
		t.Fatal(err)
	}
	scope := func(n int) oci.Scope { return oci.Scope{Registry: "registry.example", Repository: fmt.Sprint("r", n)} }
	blob := func(n int) digest.Digest { return digest.FromString(fmt.Sprint("blob", n)) }
	const many = 100
	for n := 1; n <= many; n++ {
		a := testArtifact(n)
		c.TagSeen(a.Registry, a.Repository, "v1", a.Digest)
		if err := errors.Join(c.Record(a), c.Grant(scope(n), testTime.Add(time.Duration(n)*time.Hour))); err != nil {
			t.Fatal(err)
		}
		c.Prove(scope(n), blob(n))
	}
	for when, c := range map[string]*Catalogue{"now": c, "after a restart": openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, small)} {
		if n := len(c.state.artifacts); n > small.artifacts+1 || n < small.artifacts/2 {
			t.Errorf("%s: %d artifacts", when, n)
		}
		if n := len(c.state.grants); n > small.grants || n < small.grants/2 {
			t.Errorf("%s: %d grants", when, n)
		}
		if n := len(c.state.tags); n > small.tags || n < small.tags/2 {
			t.Errorf("%s: %d tags", when, n)
		}
		if n := len(c.state.proofs.order); n > small.proofs || n < small.proofs/2 || n != len(c.state.proofs.known) {
			t.Errorf("%s: %d proofs, %d known", when, n, len(c.state.proofs.known))
		}
		for _, a := range []Artifact{pinned, testArtifact(many), testArtifact(many - 1)} {
			if _, ok := c.Get(a.Registry, a.Repository, a.Digest); !ok {
				t.Errorf("%s: %s, which is pinned or was used last, is gone", when, a.Repository)
			}
		}
		if !c.Granted(scope(many), testTime) || !c.Proved(scope(many), blob(many)) || c.Proved(scope(1), blob(1)) {
			t.Errorf("%s: not the oldest went", when)
		}
	}
}

func TestCatalogueCompacts(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	c := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	a := testArtifact(1)
	a.Blobs = slices.Repeat(a.Blobs, 4) // longer records, fewer of them
	var largest int64
	for range 1500 {
		clk.Add(time.Minute)
		a.LastUsed = clk.Now()
		if err := c.Record(a); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, c.journal.size)
	}
	path := filepath.Join(dir, "catalogue")
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if largest > minCompact+4096 || fi.Size() != c.journal.size || fi.Size() >= largest {
		t.Errorf("one artifact takes %d bytes, %d at most; the file has %d", c.journal.size, largest, fi.Size())
	}
	restarted := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	if got, ok := restarted.Get(a.Registry, a.Repository, a.Digest); !ok || !got.same(a) {
		t.Errorf("after a restart: %+v", got)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left in the folder: %v, %v", names, err)
	}
	// A start does so too, where most is outdated.
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Repeat(raw, minCompact/len(raw)+2), 0o600); err != nil {
		t.Fatal(err)
	}
	again := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	if again.journal.size > 4096 || len(again.All()) != 1 {
		t.Errorf("after a start one artifact takes %d bytes", again.journal.size)
	}
}

// TestCatalogueDamaged damages each byte of a journal in turn: only the record that it belongs to may be lost.
func TestCatalogueDamaged(t *testing.T) {
	dir, clk := t.TempDir(), newClock()
	c := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
	const n = 3
	for i := range n {
		a := testArtifact(i)
		a.Blobs = a.Blobs[:1] // what is damaged byte by byte should not be long
		if err := c.Record(a); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "catalogue")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	read := func(t *testing.T, raw []byte) int {
		t.Helper()
		c := &Catalogue{now: clk.Now, state: newState(defaultBounds())}
		if err := c.journal.scan(bytes.NewReader(raw), c.read); err != nil {
			t.Fatal(err)
		}
		return len(c.All())
	}
	for i := range good {
		for _, with := range []byte{good[i] ^ 1, '\n'} {
			bad := slices.Clone(good)
			bad[i] = with
			if got := read(t, bad); got < n-1 {
				t.Fatalf("byte %d is %q: %d artifacts of %d left", i, with, got, n)
			}
		}
	}
	for i := range len(good) + 1 {
		if got, want := read(t, good[:i]), bytes.Count(good[:i], []byte("}\n")); got < want {
			t.Fatalf("cut to %d bytes: %d artifacts, want %d", i, got, want)
		}
	}
	// A torn tail does not reach what is written after it, and is gone after the next start.
	if err := os.WriteFile(path, good[:len(good)-7], 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
		if err := again.Record(testArtifact(9)); err != nil {
			t.Fatal(err)
		}
		if got := len(again.All()); got != n {
			t.Errorf("after a torn tail and one more: %d artifacts, want %d", got, n)
		}
		if again.journal.damaged != 0 {
			t.Error("the damage stays")
		}
		_ = again.close()
	}
}

func TestCatalogueWithoutItsFile(t *testing.T) {
	a := testArtifact(1)
	for name, prepare := range map[string]func(t *testing.T, dir string) error{
		"emptied": func(t *testing.T, dir string) error { return os.Truncate(filepath.Join(dir, "catalogue"), 0) },
		"removed": func(t *testing.T, dir string) error { return os.Remove(filepath.Join(dir, "catalogue")) },
		"garbage": func(t *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "catalogue"), bytes.Repeat([]byte{0xff}, 1<<20), 0o600)
		},
		"folder removed": func(t *testing.T, dir string) error { return os.RemoveAll(dir) },
		"a temp file too": func(t *testing.T, dir string) error {
			return os.Rename(filepath.Join(dir, "catalogue"), filepath.Join(dir, "catalogue.tmp"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, clk := t.TempDir(), newClock()
			if err := filled(t, dir, clk).close(); err != nil {
				t.Fatal(err)
			}
			if err := prepare(t, dir); err != nil {
				t.Fatal(err)
			}
			c := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
			if all := c.All(); len(all) != 0 {
				t.Errorf("%+v", all)
			}
			if _, err := os.Lstat(filepath.Join(dir, "catalogue.tmp")); err == nil {
				t.Error("a temporary file is left behind")
			}
			if err := errors.Join(c.Record(a), c.Pin(a.Registry, a.Repository, a.Digest, true)); err != nil {
				t.Fatal(err)
			}
			if got := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds()).All(); len(got) != 1 || !got[0].Pinned {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestCatalogueDiskRefuses lets each call to the disk fail in turn: the work goes on in memory, the error is told, and
// once the disk is well everything is written.
func TestCatalogueDiskRefuses(t *testing.T) {
	work := func(c *Catalogue) error {
		var err error
		for n := range 3 {
			err = errors.Join(err, c.Record(testArtifact(n)))
		}
		a := testArtifact(1)
		err = errors.Join(err, c.pin(a, []store.Key{store.KeyOf(digest.FromString("a file"))}))
		c.TagSeen(a.Registry, a.Repository, "v1", a.Digest)
		c.TagSeen(a.Registry, a.Repository, "latest", a.Digest)
		err = errors.Join(err, c.Grant(testScope, testTime.Add(24*time.Hour)))
		c.Prove(testScope, digest.FromString("a blob"))
		return err
	}
	disk := &badDisk{FS: storetest.WithoutSync()}
	if err := work(openCatalogue(t, disk, t.TempDir(), newClock().Now, defaultBounds())); err != nil {
		t.Fatal(err)
	}
	calls := disk.calls.Load()
	if calls < 8 {
		t.Fatalf("only %d calls", calls)
	}
	for n := range calls {
		for _, lasting := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d lasting %v", n, lasting), func(t *testing.T) {
				dir, clk := t.TempDir(), newClock()
				disk := &badDisk{FS: storetest.WithoutSync()}
				disk.failAt(n, lasting)
				var problems []error
				c := readCatalogue(disk, dir, clk.Now, func(err error) { problems = append(problems, err) }, defaultBounds())
				c.start()
				err := work(c)
				checkFilled(t, c)
				if lasting && !errors.Is(err, errDisk) && (len(problems) == 0 || !errors.Is(problems[len(problems)-1], errDisk)) {
					t.Errorf("nobody heard of it: %v, %v", err, problems)
				}
				disk.failAt(-1, false)
				clk.Add(retryDisk)
				if err := c.Record(testArtifact(2)); err != nil { // the next to come mends it
					t.Error(err)
				}
				a := testArtifact(2)
				a.LastUsed = a.LastUsed.Add(time.Hour)
				if err := errors.Join(c.Record(a), c.Record(testArtifact(2))); err != nil {
					t.Error(err)
				}
				if len(problems) > 0 && problems[len(problems)-1] != nil {
					t.Errorf("nobody heard that it has ended: %v", problems)
				}
				checkFilled(t, openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds()))
				if err := c.close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func FuzzCatalogue(f *testing.F) {
	lines := func(records ...record) []byte {
		var all []byte
		for _, r := range records {
			line, err := r.line()
			if err != nil {
				f.Fatal(err)
			}
			all = append(all, line...)
		}
		return all
	}
	a := testArtifact(1)
	n := a.name()
	proof := proofOf(testScope, a.Digest)
	f.Add([]byte(nil))
	f.Add([]byte("\n\n1 00000000 {}\n"))
	f.Add(lines(record{Op: opPin, Artifact: &a, Contents: make([]byte, packedKey)}, record{Op: opTag, Name: &n, Tag: "v1"},
		record{Op: opGrant, Scope: &testScope, Until: testTime}, record{Op: opProve, Proof: proof[:]},
		record{Op: opUnpin, Name: &n}))
	f.Add(lines(record{Op: opPin}, record{Op: opTag}, record{Op: opGrant}, record{Op: opProve, Proof: []byte{1}},
		record{Op: "new"}, record{Op: opArtifact, Artifact: &Artifact{Digest: "sha256:00"}}, record{Op: opForget, Name: &name{}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		read := func(raw []byte) *Catalogue {
			c := &Catalogue{now: newClock().Now, state: newState(defaultBounds())}
			if err := c.journal.scan(bytes.NewReader(raw), c.read); err != nil {
				t.Fatal(err)
			}
			return c
		}
		// The second has the fuzzer's bytes under a good checksum.
		for _, raw := range [][]byte{raw, fmt.Appendf(nil, "\n1 %08x %s\n", checksum(raw), raw)} {
			c := read(raw)
			again := read(lines(c.state.records(testTime)...))
			if again.journal.damaged != 0 || !reflect.DeepEqual(again.All(), c.All()) ||
				!reflect.DeepEqual(again.state.pins, c.state.pins) || !reflect.DeepEqual(again.state.proofs, c.state.proofs) {
				t.Errorf("%q: written anew, %d damaged:\n%+v, want\n%+v", raw, again.journal.damaged, again.state, c.state)
			}
		}
	})
}
