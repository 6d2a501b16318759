package cache

import (
	"context"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store/storetest"
	"github.com/blobd/blobd/internal/oci"
)

// FuzzScopes: what is kept for one scope and tag is found for that scope and tag alone, whatever their parts hold.
func FuzzScopes(f *testing.F) {
	f.Add("", "ghcr.io", "a/b", "", "latest", "", "ghcr.io", "a", "b", "latest")
	f.Add("uid:1", "r", "a", "", "t", "uid:", "1r", "a", "", "t")
	f.Add("", "r", "a", "robot", "t", "", "r", "a", "", "robott")
	f.Add("", "r", "a", "", "t", "", "r", "a", "", "t")
	f.Add("\x00", "", "", "", "", "", "\x00", "", "", "")
	f.Add("", "r", "../a", "", "..", "", "r", "a", "", "../..")
	c, err := Open(Options{Dir: f.TempDir(), MaxSize: 64 << 20, MinFree: 1, FS: storetest.WithoutSync()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close() })
	ctx := context.Background()
	blob := digest.FromString("blob")
	f.Fuzz(func(t *testing.T, p1, r1, n1, c1, t1, p2, r2, n2, c2, t2 string) {
		one := oci.Scope{Principal: p1, Registry: r1, Repository: n1, Credential: c1}
		two := oci.Scope{Principal: p2, Registry: r2, Repository: n2, Credential: c2}
		c.Refs.Delete(two, t2)
		want := Ref{Digest: digest.FromString(p1 + r1 + n1 + c1 + t1), CheckedAt: time.Unix(1, 0).UTC()}
		if err := c.Refs.Put(ctx, one, t1, want); err != nil {
			t.Fatal(err)
		}
		if got, ok := c.Refs.Get(one, t1); !ok || got != want {
			t.Fatalf("%+v, %v", got, ok)
		}
		if _, ok := c.Refs.Get(two, t2); ok != (one == two && t1 == t2) {
			t.Fatalf("%+v %q is found as %+v %q", one, t1, two, t2)
		}
		if (proofOf(one, blob) == proofOf(two, blob)) != (one == two) {
			t.Fatalf("%+v proves for %+v", one, two)
		}
		c.Refs.Delete(one, t1)
		if _, ok := c.Refs.Get(one, t1); ok {
			t.Fatalf("%+v %q is still there", one, t1)
		}
	})
}
