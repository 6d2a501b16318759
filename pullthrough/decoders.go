package pullthrough

import (
	"context"
	"io"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

const (
	// decodersAtOnce is how many small files are decoded at once; more would not be faster, since that is bound by the
	// processor. Their bytes are all there before, so that none is held up by a slow registry.
	decodersAtOnce = 8
	// decoderWindow is the largest zstd window that is decoded: the archives' writer uses 8 MiB.
	decoderWindow = 16 << 20
	// maxBlock is the most that one block of zstd decodes to; no window need be smaller.
	maxBlock = 128 << 10
	// decoderBytes is what a decoder takes beside its window: two blocks behind it, and one before, with its literals and
	// sequences.
	decoderBytes = 1 << 20
)

func newDecoder(r io.Reader, window int64) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(max(window, maxBlock))))
}

// decoders lends the decoders of small files.
type decoders chan *zstd.Decoder

func newDecoders() decoders {
	ds := make(decoders, decodersAtOnce)
	for range decodersAtOnce {
		ds <- nil
	}
	return ds
}

// borrow waits for a decoder and points it at r.
func (ds decoders) borrow(ctx context.Context, r io.Reader) (*zstd.Decoder, error) {
	select {
	case z := <-ds:
		var err error
		if z == nil {
			z, err = newDecoder(r, smallFile)
		} else {
			err = z.Reset(r)
		}
		if err != nil {
			ds <- nil
			return nil, err
		}
		return z, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (ds decoders) giveBack(z *zstd.Decoder) {
	if z.Reset(nil) != nil {
		z.Close()
		z = nil
	}
	ds <- z
}

// fitWindow returns the window that the frame which begins with head needs to decode to size bytes, and has head say so.
// Writers that see no end ask for more; a reader that knows the end needs no more memory than the file is long. Where
// head says something else than a frame with a window, it stays.
func fitWindow(head []byte, size int64) int64 {
	var h zstd.Header
	if err := h.Decode(head); err != nil || h.Skippable {
		return decoderWindow
	}
	window := int64(min(h.WindowSize, decoderWindow))
	if h.SingleSegment {
		return int64(min(h.FrameContentSize, decoderWindow))
	}
	const descriptor = 5 // where the window stands, behind the magic number and the flags
	log := max(bits.Len64(uint64(max(size, 1)-1)), bits.Len(maxBlock-1))
	if fit := int64(1) << log; fit < int64(h.WindowSize) && log <= 31 {
		head[descriptor] = byte(log-10) << 3 // a power of two, as RFC 8878 has it
		window = min(fit, decoderWindow)
	}
	return window
}
