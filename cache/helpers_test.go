package cache

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/vfs"
)

var (
	testScope = oci.Scope{Registry: "registry.example", Repository: "acme/models"}
	testTime  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// sealed puts the right magic and checksum before body.
func sealed(body []byte) []byte {
	sum := sha256.Sum256(body)
	return slices.Concat([]byte(recordMagic), sum[:], body)
}

// testArtifact returns an artifact with a blob of each role, different for each n.
func testArtifact(n int) Artifact {
	of := func(what string) digest.Digest { return digest.FromString(fmt.Sprint(what, n)) }
	return Artifact{
		Registry: "registry.example", Repository: fmt.Sprintf("acme/models-%d", n), Digest: of("manifest"),
		ArtifactType: "application/vnd.example", MediaType: oci.MediaTypeImageManifest, Files: int64(n), Size: 10, StoredSize: 5,
		Blobs:    []Blob{{of("index"), 1, RoleIndex}, {of("data"), 2, RoleData}, {of("config"), 3, RoleConfig}},
		LastUsed: testTime.Add(time.Duration(n) * time.Second),
	}
}

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: testTime} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// openCatalogue opens the catalogue in dir, for as long as the test lasts or until it is closed.
func openCatalogue(t testing.TB, fsys vfs.FS, dir string, now func() time.Time, b bounds) *Catalogue {
	t.Helper()
	c := readCatalogue(fsys, dir, now, func(error) {}, b)
	c.start()
	t.Cleanup(func() { _ = c.close() })
	return c
}

// digestOf returns the digest of pattern(size, seed).
func digestOf(seed, size int) digest.Digest { return digest.FromBytes(pattern(size, seed)) }
