package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/blobd/blobd/archive"
)

const (
	chunkSize = 128 << 10 // the size of zstd's blocks

	// What auto looks at: all of a file up to three samples, else its start, its middle and its end.
	sampleSize = 128 << 10
	// shrunk is what must be left at most, in sixteenths: below that a frame costs more than it saves, since a stored file can
	// be read in parts.
	shrunk = 15
)

// fileEncoder makes of a file what stands for it in the data of an archive. The same file gives the same bytes.
type fileEncoder struct {
	frame *zstd.Encoder
	buf   []byte
}

func newFileEncoder() (*fileEncoder, error) {
	// One goroutine and no frame for nothing, as the published writer; more goroutines would cut other blocks.
	frame, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(false))
	if err != nil {
		return nil, err
	}
	return &fileEncoder{frame: frame, buf: make([]byte, chunkSize)}, nil
}

func (e *fileEncoder) close() { _ = e.frame.Close() }

// codec decides how a file is stored.
func (e *fileEncoder) codec(c Compression, f io.ReaderAt, size int64) (archive.Codec, error) {
	switch c {
	case CompressZstd:
		return archive.Zstd, nil
	case CompressAuto:
	default:
		return archive.Stored, nil
	}
	sample := e.buf[:0:0]
	for _, at := range []int64{0, (size - sampleSize) / 2, size - sampleSize} {
		if size <= 3*sampleSize {
			sample = make([]byte, size)
			if _, err := f.ReadAt(sample, 0); err != nil && err != io.EOF {
				return 0, err
			}
			break
		}
		part := make([]byte, sampleSize)
		if _, err := f.ReadAt(part, at); err != nil && err != io.EOF {
			return 0, err
		}
		sample = append(sample, part...)
	}
	if n := len(e.frame.EncodeAll(sample, nil)); n > 0 && n*16 <= len(sample)*shrunk {
		return archive.Zstd, nil
	}
	return archive.Stored, nil
}

// encode writes a file of this size to w and returns the sha256 of its content. It fails when the file has another size.
func (e *fileEncoder) encode(ctx context.Context, w io.Writer, f io.Reader, size int64, c archive.Codec) (sum [32]byte, err error) {
	x := e.begin(f, size, c)
	var out bytes.Buffer
	for {
		if ctx.Err() != nil {
			return sum, context.Cause(ctx)
		}
		out.Reset()
		more, err := x.step(&out)
		if err != nil {
			return sum, err
		}
		if _, err := w.Write(out.Bytes()); err != nil {
			return sum, err
		}
		if !more {
			return x.total(), nil
		}
	}
}

// encoding is one file on its way through an encoder.
type encoding struct {
	*fileEncoder
	file  io.Reader
	left  int64
	codec archive.Codec
	sum   hash.Hash
	want  *[32]byte // nil: it is not known yet
	began bool
}

func (e *fileEncoder) begin(f io.Reader, size int64, c archive.Codec) *encoding {
	return &encoding{fileEncoder: e, file: f, left: size, codec: c, sum: sha256.New()}
}

// step reads on and adds to out what comes of it. Nothing of the last chunk comes out of a file that is not what it
// should be. It reports whether there is more.
func (x *encoding) step(out *bytes.Buffer) (more bool, err error) {
	if x.codec == archive.Zstd && !x.began {
		x.frame.Reset(out)
	}
	x.began = true
	chunk := x.buf[:min(int64(len(x.buf)), x.left)]
	if _, err := io.ReadFull(x.file, chunk); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = errChanged // it was longer
		}
		return false, err
	}
	x.sum.Write(chunk)
	x.left -= int64(len(chunk))
	if x.left == 0 {
		if err := x.finish(); err != nil {
			return false, err
		}
	}
	if x.codec == archive.Stored {
		out.Write(chunk)
		return x.left > 0, nil
	}
	if _, err := x.frame.Write(chunk); err != nil {
		return false, err
	}
	if x.left > 0 {
		return true, nil
	}
	return false, x.frame.Close()
}

// finish holds what was read against what it should be.
func (x *encoding) finish() error {
	var one [1]byte
	if n, err := io.ReadFull(x.file, one[:]); n > 0 {
		return errChanged // it has grown
	} else if err != io.EOF {
		return err
	}
	if x.want != nil && x.total() != *x.want {
		return errChanged
	}
	return nil
}

func (x *encoding) total() (sum [32]byte) {
	x.sum.Sum(sum[:0])
	return sum
}

// summing is a writer that keeps a sum and a length only.
type summing struct {
	sum hash.Hash
	n   int64
}

func (s *summing) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return s.sum.Write(p)
}
