package pullthrough

import "context"

// checkWhole hashes a blob whose blocks are all there, and drops them when they are not the blob: a registry may have
// answered a range with wrong bytes that no file's digest covered yet. It reads the blob once more after its last reader
// has gone, one blob at a time, and gives up when a block goes meanwhile.
func (b *blob) checkWhole(ctx context.Context) {
	s := b.owner.svc
	select {
	case s.checking <- struct{}{}:
		defer func() { <-s.checking }()
	case <-ctx.Done():
		return
	}
	verifier := b.desc.Digest.Verifier()
	buf := s.blockBufs.Get().(*[]byte)
	defer s.blockBufs.Put(buf)
	for i := range b.count {
		n, err := b.partial.ReadBlock(i, *buf)
		if err != nil || ctx.Err() != nil {
			return
		}
		_, _ = verifier.Write((*buf)[:n])
	}
	if !verifier.Verified() {
		b.partial.Drop(0, b.count)
		s.obs.CacheRequest("block", "error")
	}
}
