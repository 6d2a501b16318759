package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/spintest"
)

// TestSpinMemory has a hundred readers open a hundred applications at once, each with a bundle of its own whose table is
// large: what they take is bounded, and all are answered.
func TestSpinMemory(t *testing.T) {
	needsProc(t)
	const readers, members, most = 100, 6_000, 256
	h := newHost(t, setup{plain: true})
	h.Env = append(h.Env, "GOMEMLIMIT=230MiB") // as in a process of 256 MiB
	w := &world{t: t, Host: h, reg: registrytest.New(t, registrytest.Options{})}
	w.start()
	var common []spintest.File
	for i := range members {
		common = append(common, spintest.File{Path: fmt.Sprintf("f/%05d", i), Data: fmt.Append(nil, i)})
	}
	begin := spintest.TarGzipBegin(common...)
	own := func(i int) spintest.File { return spintest.File{Path: "own", Data: noise(100_000 + i)} }
	o := spintest.Options{Bundled: true, Pack: func(files ...spintest.File) []byte {
		return slices.Concat(begin, spintest.TarGzip(files...))
	}}
	for i := range readers {
		w.put(fmt.Sprint("acme/app", i), "v1", spintest.Application(o, spintest.Component{ID: "c", Wasm: []byte("wasm"), Files: []spintest.File{own(i)}}))
	}
	c, err := client.Dial(t.Context(), client.WithSocket(w.Socket()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var crowd sync.WaitGroup
	for i := range readers {
		crowd.Go(func() {
			archive, err := c.Pull(t.Context(), w.ref(fmt.Sprintf("acme/app%d:v1", i)))
			for range 10 { // on a slow machine some are asked to come again, which is an answer
				if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != string(fault.LocalOverload) {
					break
				}
				archive, err = c.Pull(t.Context(), w.ref(fmt.Sprintf("acme/app%d:v1", i)))
			}
			if err != nil {
				t.Error(err)
				return
			}
			got, err := archive.ReadFile("c/own")
			if err != nil || !bytes.Equal(got, own(i).Data) {
				t.Errorf("reader %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	crowd.Wait()
	t.Logf("the daemon took %d MiB", w.peak())
	if peak := w.peak(); peak > most {
		t.Errorf("the daemon took %d MiB, want %d at most", peak, most)
	}
	if c := w.reg.Counts(); c.Range != readers {
		t.Errorf("%d GETs of %d bundles", c.Range, readers)
	}
}
