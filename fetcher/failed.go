package fetcher

import (
	"context"
	"errors"

	"github.com/blobd/blobd/internal/fault"
)

// failed tells of err, with which a request to h or its answer's body ended, where that is a failure of h.
func (h *host) failed(ctx context.Context, err error) {
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || h.gen.Failed == nil || ctx.Err() != nil || errors.Is(err, errNoHead) || errors.Is(err, errNoSuchRange) {
		return
	}
	switch e.Reason {
	case fault.ManifestUnknown, fault.BlobUnknown, fault.ShuttingDown, fault.LocalOverload:
		return
	}
	h.gen.Failed(h.name, e)
}
