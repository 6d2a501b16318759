package faults

import (
	"testing"

	"github.com/blobd/blobd/internal/registrytest"
)

// Without a fault three callers cost what one does; every other test counts from here.
func TestNoFault(t *testing.T) {
	inWorld(t, setup{}, func(w *world) {
		for _, o := range together(3, func() outcome { return w.read(bigFile, 0, -1) }) {
			if o.err != nil || string(o.data) != string(w.files[bigFile]) || !o.verified {
				t.Fatal(o)
			}
		}
		want := registrytest.Counts{Tag: 1, Head: 1, Manifest: 1, Blob: 1, Range: 1}
		got := w.reg.Counts()
		got.Bytes = 0
		if got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
		w.sound()
	})
}
