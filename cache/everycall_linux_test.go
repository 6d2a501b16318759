package cache

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/cache/store/storetest"
)

// TestKilledAtEveryCall kills a process at every system call of opening caches, putting one of everything, pinning one
// artifact, ending the pin of another, and closing: what was said to be done is, and what was pinned stays so.
func TestKilledAtEveryCall(t *testing.T) {
	if dir := storetest.VictimDir(); dir != "" {
		storetest.AwaitKiller()
		if err := pinOneUnpinAnother(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	storetest.KillAtEveryCall(t, "TestKilledAtEveryCall", func(dir string) {
		putSentinels(t, dir)
		c := open(t, killedCaches(dir))
		<-c.Store.Scanned()
		// The journal has a damaged line, so that the victim writes it anew at its start.
		err := errors.Join(c.PinArtifact(testArtifact(2), nil, nil, true), c.Close())
		if err != nil {
			t.Fatal(err)
		}
		rewriteFile(t, dir+"/catalogue", func(raw []byte) []byte { return append(raw, "\ngarbage\n"...) })
	}, func(at, dir string, said []string) {
		pinned := map[string]string{testArtifact(2).Repository: "pinned"}
		if slices.Contains(said, "unpinning") {
			pinned[testArtifact(2).Repository] = "unpinning"
		}
		if slices.Contains(said, "done") {
			pinned[testArtifact(1).Repository] = "pinned"
			pinned[testArtifact(2).Repository] = "unpinned"
		}
		checkKilled(t, at, dir, pinned)
	})
}

func pinOneUnpinAnother(dir string) error {
	c, err := Open(killedCaches(dir))
	if err != nil {
		return err
	}
	<-c.Store.Scanned()
	if err := victimStep(c, 1); err != nil {
		return err
	}
	file := slices.Values([]digest.Digest{digest.FromBytes(victimFile(1))})
	if err := c.PinArtifact(testArtifact(1), file, nil, true); err != nil {
		return err
	}
	fmt.Println("unpinning")
	if err := c.PinArtifact(testArtifact(2), nil, nil, false); err != nil {
		return err
	}
	fmt.Println("done")
	return errors.Join(c.Catalogue.Grant(testScope, time.Now().Add(time.Hour)), c.Close())
}
