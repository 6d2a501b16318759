package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// reopen closes the caches in dir and opens them again.
func reopen(t testing.TB, c *Caches, opts Options) *Caches {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, opts)
}

func TestRefs(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	c := open(t, opts)
	other := testScope
	other.Credential = "robot"
	known := Ref{digest.FromString("m"), oci.MediaTypeImageManifest, testTime.Add(123 * time.Nanosecond), false}
	want := map[string]Ref{
		"v1": known, "gone": {Missing: true, CheckedAt: testTime}, "sha512": {Digest: digest.SHA512.FromString("m")},
	}
	for tag, ref := range want {
		for _, ref := range []Ref{{Missing: true}, ref} { // the second in place of the first
			if err := c.Refs.Put(t.Context(), testScope, tag, ref); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		for tag, ref := range want {
			if got, ok := c.Refs.Get(testScope, tag); !ok || got != ref {
				t.Errorf("%s: got %+v, %v, want %+v", tag, got, ok, ref)
			}
			if got, ok := c.Refs.Get(other, tag); ok {
				t.Errorf("%s: another scope sees %+v", tag, got)
			}
		}
		c = reopen(t, c, opts)
	}
	c.Refs.Delete(testScope, "v1")
	c.Refs.Delete(testScope, "never was")
	if got, ok := c.Refs.Get(testScope, "v1"); ok {
		t.Errorf("deleted: %+v", got)
	}
	// While somebody reads it too.
	o, err := c.Store.Class(FolderRefs).Open(store.DerivedKey(refParts(testScope, "gone")...), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	c.Refs.Delete(testScope, "gone")
	if got, ok := c.Refs.Get(testScope, "gone"); ok {
		t.Errorf("deleted while it is read: %+v", got)
	}
	for _, ref := range []Ref{{}, {Digest: "sha256:00"}, {Digest: known.Digest, Missing: true}} {
		if err := c.Refs.Put(t.Context(), testScope, "v1", ref); !errors.Is(err, fault.InvalidDigest) {
			t.Errorf("%+v: %v", ref, err)
		}
	}
}

func TestManifests(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	for name, tc := range map[string]struct{ body, served, want string }{
		"its own":         {`{"mediaType":"a"}`, "a", "a"},
		"told by nobody":  {`{"mediaType":"b"}`, "", "b"},
		"served only":     {`{"mediaType":""}`, "c", "c"},
		"absent":          {`{"no":"type"}`, "d", "d"},
		"differs":         {`{"mediaType":"e"}`, "e+other", "e+other"},
		"no object":       {`[1]`, "f", "f"},
		"none whatsoever": {`[2]`, "", ""},
	} {
		for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
			t.Run(name+" "+algorithm.String(), func(t *testing.T) {
				c := open(t, opts)
				d := algorithm.FromString(tc.body)
				if err := c.Manifests.Put(t.Context(), d, tc.served, []byte(tc.body)); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					mediaType, raw, ok := c.Manifests.Get(d)
					if ok != (tc.want != "") || ok && (mediaType != tc.want || string(raw) != tc.body) {
						t.Errorf("got %q, %q, %v, want %q", mediaType, raw, ok, tc.want)
					}
					if !c.Manifests.Contains(d) {
						t.Error("it does not seem to be there")
					}
					c = reopen(t, c, opts)
				}
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func TestManifestServedAsAnotherType(t *testing.T) {
	c := open(t, Options{})
	body := []byte(`{"mediaType":"own"}`)
	d := digest.FromBytes(body)
	for _, served := range []string{"own", "other", "own", "other", ""} {
		if err := c.Manifests.Put(t.Context(), d, served, body); err != nil {
			t.Fatal(err)
		}
		want := served
		if want == "" {
			want = "own"
		}
		if got, _, ok := c.Manifests.Get(d); !ok || got != want {
			t.Errorf("served as %q, got %q, %v", served, got, ok)
		}
	}
}

func TestPutRefuses(t *testing.T) {
	c := open(t, Options{})
	ctx := t.Context()
	json := []byte(`{}`)
	for name, tc := range map[string]struct {
		err  error
		want fault.Reason
	}{
		"another manifest":    {c.Manifests.Put(ctx, digest.FromString("x"), "a", json), fault.DigestMismatch},
		"no JSON":             {c.Manifests.Put(ctx, digest.FromString("x"), "a", []byte("x")), fault.ManifestInvalid},
		"a manifest's digest": {c.Manifests.Put(ctx, "sha256:", "a", json), fault.InvalidDigest},
		"another index":       {c.Indexes.Put(ctx, digest.FromString("x"), json), fault.DigestMismatch},
		"an index's digest":   {c.Indexes.Put(ctx, "x", json), fault.InvalidDigest},
		"a source's digest":   {c.Indexes.PutDerived(ctx, "md5:00", "x", 1, json), fault.InvalidDigest},
		"a file's digest":     {second(c.Content.Create(ctx, "", 1)), fault.InvalidDigest},
		"a missing file":      {second(c.Content.Open("sha256")), fault.InvalidDigest},
		"a blob's digest":     {second(c.Blocks.Open("sha1:00", 1, true)), fault.InvalidDigest},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want %s", name, tc.err, tc.want)
		}
	}
	for _, d := range []digest.Digest{"", "x", "sha256:", digest.FromBytes(json)} {
		if _, _, ok := c.Manifests.Get(d); ok || c.Manifests.Contains(d) {
			t.Errorf("manifest %q", d)
		}
		if _, ok := c.Indexes.Get(d); ok {
			t.Errorf("index %q", d)
		}
		if c.Content.Contains(d) {
			t.Errorf("file %q", d)
		}
		c.Content.Remove(d)
	}
}

func second[T any](_ T, err error) error { return err }

func TestDerivedIndexes(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	c := open(t, opts)
	source := digest.FromString("source")
	if err := c.Indexes.PutDerived(t.Context(), source, "spin", 2, []byte("derived")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, ok := c.Indexes.GetDerived(source, "spin", 2); !ok || string(got) != "derived" {
			t.Errorf("got %q, %v", got, ok)
		}
		_, otherSource := c.Indexes.GetDerived(digest.FromString("x"), "spin", 2)
		_, otherDeriver := c.Indexes.GetDerived(source, "files", 2)
		_, otherVersion := c.Indexes.GetDerived(source, "spin", 3)
		if otherSource || otherDeriver || otherVersion {
			t.Errorf("the same for another source: %v, deriver: %v, version: %v", otherSource, otherDeriver, otherVersion)
		}
		c = reopen(t, c, opts)
	}
}

func TestContent(t *testing.T) {
	opts := Options{Dir: t.TempDir()}
	c := open(t, opts)
	data := pattern(300_000, 1)
	for _, d := range []digest.Digest{digest.SHA256.FromBytes(data), digest.SHA512.FromBytes(data)} {
		if err := writeFileTo(t, c, d, data); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for _, d := range []digest.Digest{digest.SHA256.FromBytes(data), digest.SHA512.FromBytes(data)} {
			if got, err := readFile(c, d); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", d, len(got), err)
			}
		}
		c = reopen(t, c, opts)
	}
	d := digest.FromBytes(data)
	c.Content.Remove(d)
	if _, err := readFile(c, d); !errors.Is(err, store.ErrNotFound) || c.Content.Contains(d) {
		t.Errorf("removed: %v", err)
	}
}

// keptEntry is one entry of each kind: how to put it, to see whether it is there and right, and where it is on disk.
type keptEntry struct {
	folder string
	key    store.Key
	put    func(t testing.TB, c *Caches)
	get    func(c *Caches) (right, there bool)
}

func keptEntries() map[string]keptEntry {
	manifest, typed := []byte(`{"schemaVersion":2}`), []byte(`{"mediaType":"a","schemaVersion":2}`)
	index, file := pattern(5000, 1), pattern(300_000, 2)
	ref := Ref{Digest: digest.FromString("m"), CheckedAt: testTime}
	is := func(got []byte, ok bool, want []byte) (bool, bool) { return bytes.Equal(got, want), ok }
	must := func(t testing.TB, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sha512 := digest.SHA512.FromBytes(file)
	return map[string]keptEntry{
		"ref": {FolderRefs, store.DerivedKey(refParts(testScope, "v1")...),
			func(t testing.TB, c *Caches) { must(t, c.Refs.Put(t.Context(), testScope, "v1", ref)) },
			func(c *Caches) (bool, bool) { got, ok := c.Refs.Get(testScope, "v1"); return got == ref, ok }},
		"manifest": {FolderManifests, store.KeyOf(digest.FromBytes(typed)),
			func(t testing.TB, c *Caches) {
				must(t, c.Manifests.Put(t.Context(), digest.FromBytes(typed), "a", typed))
			},
			func(c *Caches) (bool, bool) {
				_, got, ok := c.Manifests.Get(digest.FromBytes(typed))
				return is(got, ok, typed)
			}},
		"media type": {FolderManifests, store.DerivedKey(mediaParts(digest.FromBytes(manifest))...),
			func(t testing.TB, c *Caches) {
				must(t, c.Manifests.Put(t.Context(), digest.FromBytes(manifest), "b", manifest))
			},
			func(c *Caches) (bool, bool) {
				got, _, ok := c.Manifests.Get(digest.FromBytes(manifest))
				return got == "b", ok
			}},
		"index": {FolderIndexes, store.KeyOf(digest.FromBytes(index)),
			func(t testing.TB, c *Caches) { must(t, c.Indexes.Put(t.Context(), digest.FromBytes(index), index)) },
			func(c *Caches) (bool, bool) {
				got, ok := c.Indexes.Get(digest.FromBytes(index))
				return is(got, ok, index)
			}},
		"derived index": {FolderIndexes, store.DerivedKey(derivedParts(sha512, "spin", 1)...),
			func(t testing.TB, c *Caches) { must(t, c.Indexes.PutDerived(t.Context(), sha512, "spin", 1, index)) },
			func(c *Caches) (bool, bool) {
				got, ok := c.Indexes.GetDerived(sha512, "spin", 1)
				return is(got, ok, index)
			}},
		"content": {FolderContent, store.KeyOf(digest.FromBytes(file)),
			func(t testing.TB, c *Caches) { putFile(t, c, file) },
			func(c *Caches) (bool, bool) {
				got, err := readFile(c, digest.FromBytes(file))
				return is(got, err == nil, file)
			}},
		"content by sha512": {FolderContent, store.KeyOf(sha512),
			func(t testing.TB, c *Caches) { must(t, writeFileTo(t, c, sha512, file)) },
			func(c *Caches) (bool, bool) { got, err := readFile(c, sha512); return is(got, err == nil, file) }},
	}
}

// TestDamagedEntries spoils a file of each kind in each way, while the caches are open and while they are not: the entry
// is a miss that is counted, and can be put anew.
func TestDamagedEntries(t *testing.T) {
	ways := damages()
	ways["another's"] = nil
	for how, damage := range ways {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s restart %v", how, restart), func(t *testing.T) {
				t.Parallel()
				told := &listener{}
				opts := Options{Dir: t.TempDir(), Observer: told}
				c := open(t, opts)
				want := make(map[string]int)
				for name, e := range keptEntries() {
					e.put(t, c)
					if right, there := e.get(c); !right || !there {
						t.Fatalf("%s: it is not there to begin with", name)
					}
					want[e.folder]++
				}
				spoil := func(string) func([]byte) []byte { return damage }
				if damage == nil {
					putOthers(t, c)
					spoil = func(folder string) func([]byte) []byte { return anothers(t, opts.Dir, folder) }
				}
				if restart {
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
				}
				for _, e := range keptEntries() {
					rewriteFile(t, fileOf(t, opts.Dir, e.folder, e.key), spoil(e.folder))
				}
				if restart {
					c = open(t, opts)
				}
				for name, e := range keptEntries() {
					if right, there := e.get(c); there {
						t.Errorf("%s: it is still there; right: %v", name, right)
					}
				}
				for folder, n := range want {
					if got := told.corruptions(folder); got != n {
						t.Errorf("%d corruptions in %s were told, want %d", got, folder, n)
					}
				}
				for name, e := range keptEntries() {
					e.put(t, c)
					if right, there := e.get(c); !right || !there {
						t.Errorf("%s: put anew, it is not there", name)
					}
				}
			})
		}
	}
}

// other is what putOthers puts into every cache.
const other = "{}"

// putOthers puts a good entry into every cache, to be put in the place of others.
func putOthers(t *testing.T, c *Caches) {
	t.Helper()
	d := digest.FromString(other)
	err := errors.Join(
		c.Refs.Put(t.Context(), testScope, other, Ref{Digest: d}),
		c.Manifests.Put(t.Context(), d, "own", []byte(other)),
		c.Indexes.Put(t.Context(), d, []byte(other)),
		writeFileTo(t, c, d, []byte(other)),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// anothers returns a damage that puts what putOthers put into a folder of dir in the place of an entry.
func anothers(t *testing.T, dir, folder string) func([]byte) []byte {
	t.Helper()
	key := store.KeyOf(digest.FromString(other))
	if folder == FolderRefs {
		key = store.DerivedKey(refParts(testScope, other)...)
	}
	raw, err := os.ReadFile(fileOf(t, dir, folder, key))
	if err != nil {
		t.Fatal(err)
	}
	return func([]byte) []byte { return raw }
}
