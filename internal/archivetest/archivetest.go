// Package archivetest makes blob archives for tests, as the published writer does, and hostile ones. It shares no code
// with the reader, archive/blobfmt; test/interop checks it against the published library.
package archivetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/oci"
)

// File is one file of an archive to be.
type File struct {
	Path    string
	Data    []byte
	Content *io.SectionReader // instead of Data, for what is too big to hold in memory; see Random
	Frame   []byte            // where not nil, what stands in the data as the file's zstd frame, true or not; see RunLength
	Mode    fs.FileMode       // 0 stands for 0o644
	UID     uint32
	GID     uint32
	ModTime int64 // Unix nanoseconds
}

func (f File) open() io.Reader {
	if f.Content != nil {
		return io.NewSectionReader(f.Content, 0, f.Content.Size())
	}
	return bytes.NewReader(f.Data)
}

// Options say how an archive is written. The zero value writes stored files in the published writer's order, that of
// fs.WalkDir, which its own reader can't always search.
type Options struct {
	Zstd        bool               // one zstd frame a file; none for an empty one
	EmptyFrames bool               // with Zstd: a frame for an empty file too, as with newer zstd libraries
	Stored      func(File) bool    // with Zstd: files that stay as they are
	Sorted      bool               // entries in the order of their paths' bytes
	Alter       func(index *Index) // the last word on what the index says, for hostile ones
}

// Write writes the data blob to w and returns the index and the data's descriptor. The same arguments give the same bytes.
func Write(w io.Writer, files []File, o Options) (index []byte, data oci.Descriptor, err error) {
	c := newCopier(o)
	hash := sha256.New()
	out := &counter{w: io.MultiWriter(w, hash)}
	idx := Index{Version: 1}
	for _, f := range ordered(files, o.Sorted) {
		e := Entry{
			Path: f.Path, DataOffset: out.n, UID: f.UID, GID: f.GID, ModTime: f.ModTime, Mode: uint32(f.Mode.Perm()),
		}
		if f.Mode == 0 {
			e.Mode = 0o644
		}
		if c.zstd(f) {
			e.Compression = 1
		}
		sum := sha256.New()
		n, err := c.copy(out, f, sum)
		if err != nil {
			return nil, oci.Descriptor{}, err
		}
		e.OriginalSize = uint64(n)
		e.DataSize = out.n - e.DataOffset
		e.Hash = sum.Sum(nil)
		idx.Entries = append(idx.Entries, e)
	}
	idx.DataSize = out.n
	idx.DataHash = hash.Sum(nil)
	data = oci.Descriptor{
		MediaType: mediaTypeData, Size: int64(out.n), Digest: digest.NewDigestFromBytes(digest.SHA256, idx.DataHash),
	}
	if o.Alter != nil {
		o.Alter(&idx)
	}
	return idx.Encode(), data, nil
}

// writeData writes what Write writes to w, without the index, which saves all the hashing.
func writeData(w io.Writer, files []File, o Options) error {
	c := newCopier(o)
	for _, f := range ordered(files, o.Sorted) {
		if f.Frame != nil {
			if _, err := w.Write(f.Frame); err != nil {
				return err
			}
		} else if _, err := c.copy(w, f, io.Discard); err != nil {
			return err
		}
	}
	return nil
}

// copier encodes files with the published writer's settings.
type copier struct {
	options Options
	enc     *zstd.Encoder
	buf     []byte
}

func newCopier(o Options) *copier {
	// No frame for nothing was the default of the zstd library that the published writer was built with.
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(o.EmptyFrames))
	if err != nil {
		panic(err) // the options are good
	}
	return &copier{options: o, enc: enc, buf: make([]byte, 32<<10)}
}

// zstd reports whether f is compressed.
func (c *copier) zstd(f File) bool {
	return f.Frame != nil || c.options.Zstd && (c.options.Stored == nil || !c.options.Stored(f))
}

// copy writes f to w as it stands in the data, and its content to sum. It returns the content's size.
func (c *copier) copy(w io.Writer, f File, sum io.Writer) (int64, error) {
	content := io.TeeReader(f.open(), sum)
	switch {
	case f.Frame != nil:
		if _, err := w.Write(f.Frame); err != nil {
			return 0, err
		}
		return io.CopyBuffer(struct{ io.Writer }{io.Discard}, content, c.buf)
	case !c.zstd(f):
		return io.CopyBuffer(struct{ io.Writer }{w}, content, c.buf)
	}
	c.enc.Reset(w)
	n, err := io.CopyBuffer(struct{ io.Writer }{c.enc}, content, c.buf) // hides Encoder.ReadFrom, which cuts blocks elsewhere
	return n, errors.Join(err, c.enc.Close())
}

// Build is Write into memory.
func Build(files []File, o Options) (index, data []byte) {
	var buf bytes.Buffer
	index, _, err := Write(&buf, files, o)
	if err != nil {
		panic(err) // neither memory nor the encoder fails
	}
	return index, buf.Bytes()
}

// ordered returns files in the order in which they are written.
func ordered(files []File, byBytes bool) []File {
	type keyed struct {
		key  string
		file File
	}
	all := make([]keyed, len(files))
	for i, f := range files {
		all[i] = keyed{f.Path, f}
		if !byBytes {
			all[i].key = strings.ReplaceAll(f.Path, "/", "\x00") // folder by folder, as a walk sees them
		}
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	out := make([]File, len(files))
	for i, k := range all {
		out[i] = k.file
	}
	return out
}

type counter struct {
	w io.Writer
	n uint64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += uint64(n)
	return n, err
}
