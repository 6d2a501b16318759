package cache

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store/storetest"
)

// TestCatalogueMendedAtClose lets each call to the disk fail in turn, has the disk take writes again, and closes at once:
// nothing is lost, and nothing is left to be said.
func TestCatalogueMendedAtClose(t *testing.T) {
	work := func(c *Catalogue) {
		a := testArtifact(1)
		_ = c.Record(a)
		_ = c.Pin(a.Registry, a.Repository, a.Digest, true)
		c.Prove(testScope, digest.FromString("a blob"))
	}
	disk := &badDisk{FS: storetest.WithoutSync()}
	work(openCatalogue(t, disk, t.TempDir(), newClock().Now, defaultBounds()))
	for n := range disk.calls.Load() {
		for _, lasting := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d lasting %v", n, lasting), func(t *testing.T) {
				dir, clk := t.TempDir(), newClock()
				disk := &badDisk{FS: storetest.WithoutSync()}
				disk.failAt(n, lasting)
				c := readCatalogue(disk, dir, clk.Now, func(error) {}, defaultBounds())
				c.start()
				work(c)
				disk.failAt(-1, false)
				if err := c.close(); err != nil {
					t.Error(err)
				}
				got := openCatalogue(t, storetest.WithoutSync(), dir, clk.Now, defaultBounds())
				if all := got.All(); len(all) != 1 || !all[0].Pinned || !got.Proved(testScope, digest.FromString("a blob")) {
					t.Errorf("%+v", all)
				}
			})
		}
	}
}
