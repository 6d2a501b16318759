package server

import "sync"

// chunkSize is the most that one message of file data carries. Measured over a unix socket, both ends in one process:
// 64 KiB to 512 KiB cost about 0.75 s of CPU a GB, 1 MiB 1.05 s (it no longer stays in the processor's cache on its way),
// and each halving doubles the messages. A smaller chunk also means that a slow caller shows sooner that it is not idle.
const chunkSize = 256 << 10

// chunkPool lends the buffers that file data is read into and sent from. gRPC gives each back once its bytes are written
// to the socket or the stream is dead. Buffers come as they were left: they are not cleared. It is a mem.BufferPool.
type chunkPool struct {
	tiers [3]sync.Pool // of *[]byte, by chunkTiers
}

// chunkTiers are the sizes lent: what a small file, a middling one, and a whole chunk need. One size would make a
// thousand callers of small files hold 256 MiB.
var chunkTiers = [3]int{8 << 10, 64 << 10, chunkSize}

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
			return // it may be somebody else's by now
		}
	}
}
