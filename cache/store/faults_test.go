package store_test

import (
	"syscall"
	"testing"

	"github.com/blobd/blobd/cache/store/storetest"
)

func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		sticky bool
	}{
		{syscall.ENOSPC, false}, {syscall.EIO, false}, {syscall.EIO, true},
	} {
		name := tt.err.Error()
		if tt.sticky {
			name += " from then on"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.FaultWalk(t, tt.err, tt.sticky)
		})
	}
}
