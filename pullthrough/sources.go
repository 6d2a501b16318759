package pullthrough

import (
	"bytes"
	"io"

	"github.com/blobd/blobd/cache/store"
)

// bytesSource is a small file in memory.
type bytesSource struct {
	bytes.Reader
	where string
}

func newBytesSource(data []byte, where string) *bytesSource {
	b := &bytesSource{where: where}
	b.Reset(data)
	return b
}

func (b *bytesSource) from() string   { return b.where }
func (b *bytesSource) verified() bool { return true }
func (b *bytesSource) close()         {}

// nothing is no bytes of a file, which say nothing about the rest of it.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }
func (nothing) from() string             { return "block" }
func (nothing) verified() bool           { return false }
func (nothing) close()                   {}

// objectSource is a file of the content cache. Where the disk fails it midway, the flight goes on from there.
type objectSource struct {
	obj    *store.Object
	flight *flightSource // holds the position
	failed bool          // the flight has taken over
}

func (o *objectSource) Read(p []byte) (int, error) {
	if o.failed {
		return o.flight.Read(p)
	}
	f := o.flight
	if f.pos >= f.limit {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.limit-f.pos)]
	n, _ := o.obj.ReadAt(p, f.pos)
	if n < len(p) {
		o.failed = true
		f.start(keyOf(f.entry, f.rng, false))
		return f.Read(p)
	}
	f.pos += int64(n)
	return n, nil
}

func (o *objectSource) from() string {
	if o.failed {
		return o.flight.from()
	}
	return "content"
}

func (o *objectSource) verified() bool { return !o.failed || o.flight.verified() }

func (o *objectSource) close() {
	o.obj.Close()
	if o.failed {
		o.flight.close()
	}
}

// blockSource is a part of a stored file, straight from its blob's blocks.
type blockSource struct{ r *blockReader }

func (b *blockSource) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	for n < len(p) && err == nil && b.r.atHand() {
		var m int
		m, err = b.r.Read(p[n:])
		n += m
	}
	return n, err
}

func (b *blockSource) from() string   { return origin(b.r.fetched) }
func (b *blockSource) verified() bool { return false }
func (b *blockSource) close()         { b.r.close() }
