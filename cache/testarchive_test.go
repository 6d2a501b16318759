package cache

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store"
	"github.com/blobd/blobd/internal/oci"
)

// testArchive is an artifact all of which is in the caches. Its index is a list of digests, a line each.
type testArchive struct {
	Artifact
	files []digest.Digest
}

// archive puts an archive into the caches, and the catalogue, whose files hold the given texts.
func archive(t testing.TB, c *Caches, repository string, texts ...string) testArchive {
	t.Helper()
	a := testArchive{Artifact: Artifact{Registry: "registry.example", Repository: repository, Files: int64(len(texts))}}
	var index strings.Builder
	for _, text := range texts {
		d := putFile(t, c, []byte(text))
		a.files = append(a.files, d)
		fmt.Fprintln(&index, d)
	}
	fmt.Fprintln(&index, "#", repository)
	raw := []byte(index.String())
	indexDigest := digest.FromBytes(raw)
	data := putBlocks(t, c, []byte("the data of "+repository), 0)
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"index":%q,"data":%q}`, indexDigest, data)
	a.Digest = digest.FromBytes(manifest)
	a.Blobs = []Blob{{indexDigest, int64(len(raw)), RoleIndex}, {data, 12 + int64(len(repository)), RoleData}}
	err := errors.Join(
		c.Refs.Put(t.Context(), scopeOf(a.Artifact), "v1", Ref{Digest: a.Digest, CheckedAt: testTime}),
		c.Manifests.Put(t.Context(), a.Digest, oci.MediaTypeImageManifest, manifest),
		c.Indexes.Put(t.Context(), indexDigest, raw),
		c.Catalogue.Record(a.Artifact),
	)
	if err != nil {
		t.Fatal(err)
	}
	c.Catalogue.TagSeen(a.Registry, a.Repository, "v1", a.Digest)
	return a
}

func scopeOf(a Artifact) oci.Scope { return oci.Scope{Registry: a.Registry, Repository: a.Repository} }

// contentsOf reads the index of a test archive from the cache.
func contentsOf(c *Caches) ContentsOf {
	return func(a Artifact) (iter.Seq[digest.Digest], bool) {
		raw, ok := c.Indexes.Get(a.index())
		if !ok {
			return nil, false
		}
		var files []digest.Digest
		for line := range strings.Lines(string(raw)) {
			files = append(files, digest.Digest(strings.TrimSpace(line))) // the last is none
		}
		return slices.Values(files), true
	}
}

// check fails unless all of the archive is there.
func (a testArchive) check(t testing.TB, c *Caches) {
	t.Helper()
	if missing := a.missing(c); len(missing) > 0 {
		t.Errorf("of %s these are missing: %s", a.Repository, missing)
	}
}

// missing lists what of an archive is not in the caches.
func (a testArchive) missing(c *Caches) []string {
	var missing []string
	if _, _, ok := c.Manifests.Get(a.Digest); !ok {
		missing = append(missing, "manifest")
	}
	if _, ok := c.Indexes.Get(a.Blobs[0].Digest); !ok {
		missing = append(missing, "index")
	}
	if !hasBlock(c, a.Blobs[1]) {
		missing = append(missing, "data")
	}
	for i, d := range a.files {
		if _, err := readFile(c, d); err != nil {
			missing = append(missing, fmt.Sprint("file ", i))
		}
	}
	return missing
}

// hasBlock reports whether the first block of a blob can be read.
func hasBlock(c *Caches, b Blob) bool {
	p, err := c.Blocks.Open(b.Digest, b.Size, false)
	if err != nil {
		return false
	}
	defer p.Close()
	_, err = p.ReadBlock(0, make([]byte, store.BlockSize))
	return err == nil
}
