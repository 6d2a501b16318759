package server

import "sync"

// chunkSize is the most that one message of file data carries. Fewer, larger messages cost less each; beyond 1 MiB
// nothing is gained on a unix socket, and a message must stay well under the 4 MiB that clients accept by default.
const chunkSize = 1 << 20

// chunkPool lends the buffers that file data is read into and sent from. gRPC gives each back once its bytes are written
// to the socket or the stream is dead. Buffers come as they were left: they are not cleared. It is a mem.BufferPool.
type chunkPool struct {
	tiers [3]sync.Pool // of *[]byte, by chunkTiers
}

// chunkTiers are the sizes lent: what a small file, one or two blocks, and a whole chunk need. One size would make a
// thousand callers of small files hold a GiB.
var chunkTiers = [3]int{8 << 10, 128 << 10, chunkSize}

// Get returns a buffer of the given length, at most chunkSize.
func (p *chunkPool) Get(length int) *[]byte {
	for i, size := range chunkTiers {
		if length > size {
			continue
		}
		buf, ok := p.tiers[i].Get().(*[]byte)
		if !ok {
			b := make([]byte, size)
			buf = &b
		}
		*buf = (*buf)[:length]
		return buf
	}
	b := make([]byte, length)
	return &b
}

// Put takes a buffer back.
func (p *chunkPool) Put(buf *[]byte) {
	for i, size := range chunkTiers {
		if cap(*buf) == size {
			p.tiers[i].Put(buf)
		}
	}
}
