package pullthrough

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// decoding reads an entry's uncompressed bytes out of its blob and checks them: Read ends in io.EOF only when size and
// digest match, and otherwise in an error, after the blocks that they came from were dropped.
type decoding struct {
	entry  *archive.Entry
	rng    archive.Range
	blocks *blockReader
	plain  io.Reader
	zstd   *zstd.Decoder // nil for stored bytes
	light  bool          // zstd is borrowed
	room   *share        // of zstd and its file's window; nil for stored bytes and small files
	hash   hash.Hash
	want   []byte // what hash should end in; nil where nothing names it
	read   int64
	err    error // sticky; io.EOF once all is checked
}

// decode starts reading e, whose bytes are at rng. With fresh set, what is cached of the range is dropped first.
func (s *Service) decode(ctx context.Context, scope oci.Scope, e *archive.Entry, rng archive.Range, fresh bool) (*decoding, error) {
	b := s.blobs.acquire(*rng.Blob)
	if fresh {
		b.forget(rng.Offset, rng.Length)
	}
	d := &decoding{entry: e, rng: rng, hash: sha256.New()}
	switch {
	case e.HasSum:
		d.want = e.Sum[:]
	case rng.Whole:
		d.hash = rng.Blob.Digest.Algorithm().Hash()
		d.want, _ = hex.DecodeString(rng.Blob.Digest.Encoded()) // which manifests have valid
	}
	d.blocks = s.newBlockReader(ctx, b, scope, rng.Offset, rng.Length)
	d.plain = d.blocks
	var err error
	switch {
	case rng.Codec == archive.Zstd && e.Size > 0:
		err = d.openFrame(ctx, s)
	case rng.Codec == archive.TarGzip:
		err = d.openMember(ctx, s)
	}
	if err != nil {
		d.close(s)
		return nil, err
	}
	return d, nil
}

// openFrame waits for the frame's first bytes, or for all of a small one, and then for a decoder, so that nobody has one
// while a registry is slow to begin.
func (d *decoding) openFrame(ctx context.Context, s *Service) error {
	d.light = d.entry.Size <= smallFile && d.rng.Length <= smallFile+maxBlock
	head := make([]byte, zstd.HeaderMaxSize)
	if d.light {
		head = make([]byte, d.rng.Length)
	}
	n, err := io.ReadFull(d.blocks, head)
	if err != nil && err != io.ErrUnexpectedEOF {
		return err
	}
	head = head[:n]
	window := fitWindow(head, d.entry.Size)
	frame := io.MultiReader(bytes.NewReader(head), d.blocks)
	if d.light {
		d.zstd, err = s.decoders.borrow(ctx, frame)
	} else {
		if d.room, err = s.decodeRoom.take(ctx, window+decoderBytes); err != nil {
			return err
		}
		d.zstd, err = newDecoder(frame, window)
	}
	if err != nil {
		return d.broken(err)
	}
	d.plain = d.zstd
	return nil
}

// openMember passes over what stands before the entry in its bundle.
func (d *decoding) openMember(ctx context.Context, s *Service) error {
	err := d.blocks.begin()
	if err != nil {
		return err
	}
	if d.room, err = s.decodeRoom.take(ctx, decoderBytes); err != nil {
		return err
	}
	tar := bundle.Decode(d.blocks, d.rng.Blob, bundleLimits())
	if _, err := io.CopyN(io.Discard, tar, d.entry.Locator.(archive.Member).Offset); err != nil {
		return d.broken(err)
	}
	d.plain = io.LimitReader(tar, d.entry.Size)
	return nil
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
	if d.want != nil && !bytes.Equal(d.hash.Sum(nil), d.want) {
		return d.corrupt("its digest is not the one in its index", nil)
	}
	return io.EOF
}

// broken tells the failure to get bytes from the failure to decode them.
func (d *decoding) broken(err error) error {
	if d.rng.Codec == archive.Stored || fault.ReasonOf(err) != "" || d.blocks.ctx.Err() != nil {
		return err
	}
	return d.corrupt("it can't be decoded", err)
}

// corrupt drops the blocks that the bytes came from and says what is wrong.
func (d *decoding) corrupt(why string, cause error) error {
	d.blocks.blob.forget(d.rng.Offset, d.rng.Length)
	e := fault.New(fault.DigestMismatch, "file %q of blob %s: %s", d.entry.Path, d.rng.Blob.Digest, why)
	e.Err = cause
	return e.Try("if it stays so, the archive or its registry is damaged: push it again")
}

func (d *decoding) close(s *Service) {
	switch {
	case d.zstd == nil:
	case d.light:
		s.decoders.giveBack(d.zstd)
	default:
		d.zstd.Close()
	}
	if d.room != nil {
		d.room.release()
	}
	d.blocks.close()
}
