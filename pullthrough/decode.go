package pullthrough

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// decoderWindow is the largest zstd window that is decoded: the archives' writer uses 8 MiB.
const decoderWindow = 16 << 20

// decoders lends zstd decoders: as many at once as it was made for, since each takes up to decoderWindow and more.
type decoders chan *zstd.Decoder

func newDecoders(n int) decoders {
	ds := make(decoders, n)
	for range n {
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
			z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(decoderWindow))
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

// giveBack returns a decoder; one that may have grown large is not kept.
func (ds decoders) giveBack(z *zstd.Decoder, large bool) {
	if large || z.Reset(nil) != nil {
		z.Close()
		z = nil
	}
	ds <- z
}

// decoding reads an entry's uncompressed bytes out of its blob and checks them: Read ends in io.EOF only when size and
// digest match, and otherwise in an error, after the blocks that they came from were dropped.
type decoding struct {
	entry  *archive.Entry
	rng    archive.Range
	blocks *blockReader
	plain  io.Reader
	pool   decoders      // that zstd is from
	zstd   *zstd.Decoder // nil for stored bytes
	hash   hash.Hash
	read   int64
	err    error // sticky; io.EOF once all is checked
}

// decode starts reading e, whose bytes are at rng. With fresh set, what is cached of the range is dropped first.
func (s *Service) decode(ctx context.Context, scope oci.Scope, e *archive.Entry, rng archive.Range, fresh bool) (*decoding, error) {
	b := s.blobs.acquire(*rng.Blob)
	if fresh {
		b.forget(rng.Offset, rng.Length)
	}
	d := &decoding{entry: e, rng: rng, hash: sha256.New(), pool: s.decoders}
	if e.Size <= smallFile {
		d.pool = s.lighter
	}
	d.blocks = s.newBlockReader(ctx, b, scope, rng.Offset, rng.Length)
	d.plain = d.blocks
	if rng.Codec == archive.Zstd && e.Size > 0 {
		z, err := d.pool.borrow(ctx, d.blocks)
		if err != nil {
			d.blocks.close()
			return nil, d.broken(err)
		}
		d.zstd, d.plain = z, z
	}
	return d, nil
}

func (d *decoding) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	n, err := d.plain.Read(p)
	d.read += int64(n)
	d.hash.Write(p[:n])
	switch {
	case d.read > d.entry.Size:
		d.err = d.corrupt("it is longer than its index says", nil)
	case err == io.EOF:
		d.err = d.check()
	case err != nil:
		d.err = d.broken(err)
	}
	return n, d.err
}

// finish reads what is behind the last byte, the end, and returns the check's result: nil when all is right.
func (d *decoding) finish() error {
	var more [1]byte
	for d.err == nil {
		_, _ = d.Read(more[:])
	}
	if d.err == io.EOF {
		return nil
	}
	return d.err
}

// check is io.EOF when the entry is whole and right.
func (d *decoding) check() error {
	if d.read != d.entry.Size {
		return d.corrupt("it is shorter than its index says", nil)
	}
	if d.entry.HasSum && [32]byte(d.hash.Sum(nil)) != d.entry.Sum {
		return d.corrupt("its sha256 is not the one in its index", nil)
	}
	return io.EOF
}

// broken tells the failure to get bytes from the failure to decode them.
func (d *decoding) broken(err error) error {
	if d.zstd == nil || fault.ReasonOf(err) != "" || d.blocks.ctx.Err() != nil {
		return err
	}
	return d.corrupt("its zstd frame can't be decoded", err)
}

// corrupt drops the blocks that the bytes came from and says what is wrong.
func (d *decoding) corrupt(why string, cause error) error {
	d.blocks.blob.forget(d.rng.Offset, d.rng.Length)
	e := fault.New(fault.DigestMismatch, "file %q of blob %s: %s", d.entry.Path, d.rng.Blob.Digest, why)
	e.Err = cause
	return e.Try("if it stays so, the archive or its registry is damaged: push it again")
}

func (d *decoding) close() {
	if d.zstd != nil {
		d.pool.giveBack(d.zstd, d.entry.Size > smallFile)
	}
	d.blocks.close()
}
