package pullthrough_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/blobd/blobd/cache/store/storetest"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

// A full disk is no bug of ours: whose change the catalogue can't write down is told that there is no room.
func TestUnwritten(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pinned bool // before
		change func(*bench) error
	}{
		{"pin", false, func(b *bench) error {
			_, _, _, err := b.Pin(b.t.Context(), "uid:1", repo+":v1", pullthrough.Options{})
			return err
		}},
		{"unpin", true, func(b *bench) error {
			_, err := b.Unpin(b.t.Context(), repo+":v1")
			return err
		}},
		{"remove", false, func(b *bench) error {
			_, _, err := b.Remove(b.t.Context(), repo+":v1")
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			disk := storetest.WithoutSync()
			b := start(t, func(b *bench) { b.opts.FS = disk })
			b.up.push("v1", []archivetest.File{{Path: "f", Data: random(1, 1000)}}, archivetest.Options{})
			b.pull(repo+":v1", pullthrough.Options{})
			if tc.pinned {
				if _, _, _, err := b.Pin(t.Context(), "uid:1", repo+":v1", pullthrough.Options{}); err != nil {
					t.Fatal(err)
				}
			}
			catalogue := func(op, name string) bool {
				return (strings.HasSuffix(op, "Write") || strings.HasSuffix(op, "WriteAt") || op == "Create") && strings.HasPrefix(filepath.Base(name), "catalogue")
			}
			disk.FailIf(catalogue, 1, syscall.ENOSPC, true)
			if err := tc.change(b); fault.ReasonOf(err) != fault.LocalOverload || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("on a full disk: %v, with reason %q", err, fault.ReasonOf(err))
			}
			disk.FailIf(nil, 0, nil, false)
			if _, _, _, err := b.Pin(t.Context(), "uid:1", repo+":v1", pullthrough.Options{}); err != nil {
				t.Errorf("on a disk with room: %v", err)
			}
		})
	}
}
