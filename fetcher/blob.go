package fetcher

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Blob gets a whole blob: one GET. The stream has exactly d.Size bytes and ends in io.EOF only when they match
// d.Digest; else in an error, fault.DigestMismatch for wrong bytes. It lives as long as ctx and is for one goroutine.
func (f *Fetcher) Blob(ctx context.Context, scope oci.Scope, d oci.Descriptor) (io.ReadCloser, error) {
	if err := checkDescriptor(scope, d); err != nil {
		return nil, err
	}
	verifier := d.Digest.Algorithm().Digester()
	if d.Size == 0 {
		if got := verifier.Digest(); got != d.Digest {
			return nil, mismatch("blob "+d.Digest.String()+" of "+scope.Registry+"/"+scope.Repository, d.Digest, got)
		}
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	s := &stream{f: f, ctx: ctx, scope: scope, desc: d, end: d.Size}
	if err := s.open(kindBlob); err != nil {
		return nil, err
	}
	return &verified{stream: s, digester: verifier}, nil
}

// Range gets length bytes of a blob from offset: one GET; where the host says that there is no such range, a HEAD and
// one more GET. Where the host sends the whole blob instead, which is
// remembered for Limits.Quirk, the Body is that. The bytes are not verified: only the whole blob has a digest. The Body
// lives as long as ctx and is for one goroutine.
func (f *Fetcher) Range(ctx context.Context, scope oci.Scope, d oci.Descriptor, offset, length int64) (oci.Body, error) {
	if err := checkDescriptor(scope, d); err != nil {
		return oci.Body{}, err
	}
	if offset < 0 || length < 0 || offset > d.Size || length > d.Size-offset {
		return oci.Body{}, fault.New(fault.OutOfRange, "bytes %d+%d of blob %s of %s/%s, which has %d",
			offset, length, d.Digest, scope.Registry, scope.Repository, d.Size)
	}
	if length == 0 {
		return oci.Body{ReadCloser: io.NopCloser(bytes.NewReader(nil)), Offset: offset}, nil
	}
	s := &stream{f: f, ctx: ctx, scope: scope, desc: d, at: offset, end: offset + length}
	if err := s.open(kindRange); err != nil {
		return oci.Body{}, err
	}
	return oci.Body{ReadCloser: s, Offset: s.at, Length: s.end - s.at}, nil
}

// checkDescriptor refuses descriptors that regclient would take for "anything goes".
func checkDescriptor(scope oci.Scope, d oci.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fault.Wrap(fault.InvalidDigest, err, "blob %q of %s/%s", d.Digest, scope.Registry, scope.Repository)
	}
	if d.Size < 0 {
		return fault.New(fault.InvalidArgument, "blob %s of %s/%s: its size is %d", d.Digest, scope.Registry, scope.Repository, d.Size)
	}
	return nil
}

// stream is bytes [at, end) of a blob, from one answer after the other when answers are cut.
type stream struct {
	f       *Fetcher
	ctx     context.Context
	scope   oci.Scope
	desc    oci.Descriptor
	at, end int64
	reply   *reply
	resumes int
	moved   bool // since the last answer began
	err     error
}

// open asks for what is missing. For the first answer to a range, the whole blob is welcome: then the stream is that.
func (s *stream) open(want kind) error {
	first := s.reply == nil
	return s.f.each(s.ctx, s.scope, func(src source) error {
		c := call{kind: want, digest: s.desc.Digest, size: s.desc.Size}
		now := src.host.now()
		if want == kindRange && src.host.noRange.has(now) {
			c.kind, c.whole = kindBlob, true
		}
		if c.kind == kindRange {
			c.offset, c.length = s.at, s.end-s.at
		}
		r, err := src.ask(s.ctx, c)
		if errors.Is(err, errNoSuchRange) {
			if err := src.confirm(s.ctx, s.desc, err); err != nil {
				return err
			}
			r, err = src.ask(s.ctx, c)
		}
		if err != nil {
			return err
		}
		if want == kindRange && c.kind == kindRange && r.whole {
			src.host.noRange.note(now, src.host.gen.Limits.Quirk)
		}
		switch {
		case r.whole && first:
			s.at, s.end = 0, s.desc.Size
		case r.whole:
			if _, err := io.CopyN(io.Discard, r.body, s.at); err != nil {
				_ = r.Close()
				return s.cut(err)
			}
		}
		s.reply, s.moved = r, false
		return nil
	})
}

// confirm asks a host that refused a range of a blob, for the reason given, whether the blob is what its descriptor says.
// When it returns nil the refusal may have been a mistake.
func (s source) confirm(ctx context.Context, d oci.Descriptor, refused error) error {
	r, err := s.ask(ctx, call{kind: kindBlob, digest: d.Digest, size: d.Size, head: true})
	switch {
	case err == nil:
		return r.Close()
	case errors.Is(err, fault.SizeMismatch):
		return fault.Wrap(fault.BadRange, err, "the blob is not what its descriptor says")
	case errors.Is(err, errNoHead):
		return refused
	}
	return err
}

// Read gives what has come, and goes on with a new answer where one was cut.
func (s *stream) Read(p []byte) (int, error) {
	for s.err == nil {
		if s.at == s.end {
			s.err = s.finish()
			s.reply.host.failed(s.ctx, s.err)
			break
		}
		if len(p) == 0 {
			return 0, nil
		}
		n, err := s.reply.body.Read(p[:min(int64(len(p)), s.end-s.at)])
		if n > 0 {
			s.at += int64(n)
			s.moved = true
			return n, nil // an error comes again with the next Read
		}
		if err != nil {
			s.err = s.resume(err)
		}
	}
	return 0, s.err
}

// finish makes sure that there is no more than was asked for, which also gives the connection back for reuse.
func (s *stream) finish() error {
	var more [1]byte
	if n, _ := s.reply.body.Read(more[:]); n > 0 {
		return fault.New(fault.SizeMismatch, "%s: it goes on after %d bytes", s.what(), s.end)
	}
	return io.EOF
}

func (s *stream) what() string { return s.reply.what(s.reply.host.name) }

// resume opens a new answer where the last one was cut by err, unless err is no cut or there is no hope. After a mirror
// there is: where it is too slow, or cuts without a byte more, the next host goes on.
func (s *stream) resume(err error) error {
	h := s.reply.host
	cut := err == io.EOF || isCut(err)
	next := h.name != s.scope.Registry && (isSlow(err) || cut && !s.moved)
	switch {
	case next && s.resumes < h.gen.Limits.Resumes:
		h.failed(s.ctx, s.cut(err))
		h.passOver()
	case !cut:
		h.failed(s.ctx, err)
		return err
	case !s.moved || s.resumes == h.gen.Limits.Resumes:
		err = s.cut(err)
		h.failed(s.ctx, err)
		return err
	}
	s.resumes++
	_ = s.reply.Close()
	return s.open(kindRange)
}

func (s *stream) cut(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if !isCut(err) {
		return err
	}
	what := "blob " + s.desc.Digest.String() + " of " + s.scope.Registry + "/" + s.scope.Repository
	return fault.Wrap(fault.Truncated, err, "%s: cut short at byte %d of %d, %d times", what, s.at, s.end, s.resumes+1).
		Try("try again")
}

// Close ends the stream; it does not wait for what has not come.
func (s *stream) Close() error {
	if s.err == nil {
		s.err = errClosed
	}
	return s.reply.Close()
}

// verified is a stream whose end is good only if all of it was.
type verified struct {
	*stream
	digester digest.Digester
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.stream.Read(p)
	_, _ = v.digester.Hash().Write(p[:n])
	if err == io.EOF {
		if got := v.digester.Digest(); got != v.desc.Digest {
			v.stream.err = mismatch(v.what(), v.desc.Digest, got)
			v.reply.host.failed(v.ctx, v.stream.err)
			return n, v.stream.err
		}
	}
	return n, err
}
