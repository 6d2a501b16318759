package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/blobd/blobd/cache/store"
)

// Verify reads everything that the caches hold, and drops what is not as it should be. It reports after each entry how
// many of about how many are done and how many bytes were read, and each bad thing as it is found: the name of its
// cache, its key and what is wrong. Both are called from one goroutine and may be nil. Of a blob that is not whole the
// blocks are checked, and the bad ones dropped. Nothing counts as read by this.
//
// It ends early with ctx, and else fails only when a cache can't be listed. What is evicted meanwhile is left out.
func (c *Caches) Verify(ctx context.Context, progress func(done, total, bytes int64),
	found func(cache, key, why string)) error {
	v := verification{ctx: ctx, progress: progress, found: found}
	if v.progress == nil {
		v.progress = func(int64, int64, int64) {}
	}
	if v.found == nil {
		v.found = func(string, string, string) {}
	}
	select {
	case <-c.Store.Scanned(): // only then it is known how much is here
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, k := range kinds() {
		v.total += c.entries(k.folder)
	}
	for _, k := range kinds() {
		class := c.Store.Class(k.folder)
		check := v.object
		if k.folder == FolderBlocks {
			check = v.partial
		}
		err := class.Walk(ctx, func(key store.Key) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if why := check(class, k.folder, key); why != nil {
				v.found(k.name, key.String(), why.Error())
			}
			v.done++
			v.progress(v.done, max(v.done, v.total), v.bytes)
			return ctx.Err()
		})
		if err != nil {
			return fmt.Errorf("verify the %s cache: %w", k.name, err)
		}
	}
	return nil
}

// verification is a Verify under way.
type verification struct {
	ctx                context.Context
	progress           func(done, total, bytes int64)
	found              func(cache, key, why string)
	done, total, bytes int64
}

// entries returns how many entries a cache seems to have.
func (c *Caches) entries(folder string) int64 {
	for _, u := range c.Store.Usage().Classes {
		if u.Name == folder {
			return u.Entries
		}
	}
	return 0
}

// errGone is why an entry that was there a moment ago, and that nobody evicted, can't be opened.
var errGone = errors.New("its file is missing, empty or not readable as what it should be")

// object checks an entry of any cache but blocks, and returns why it was bad.
func (v *verification) object(class *store.Class, folder string, key store.Key) (why error) {
	if !class.Contains(key) {
		return nil // evicted
	}
	check := checkOf(folder, key)
	ran := false
	o, err := class.Peek(key, func(r io.Reader) error {
		ran = true
		why = check(io.TeeReader(r, &count{&v.bytes}))
		return why
	})
	if err != nil {
		return v.unopened(why, err)
	}
	if !ran { // it was checked before, and its file has not changed since: but the disk may have
		why = check(io.TeeReader(&within{v.ctx, io.NewSectionReader(o, 0, o.Size())}, &count{&v.bytes}))
	}
	_ = o.Close() // it was only read
	if why == nil || v.ctx.Err() != nil {
		return nil
	}
	return v.remove(class, key, why)
}

// unopened returns why an entry could not be opened: what its check found, or what can be said without.
func (v *verification) unopened(why, err error) error {
	switch {
	case why != nil:
		return why
	case errors.Is(err, store.ErrNotFound):
		return errGone
	}
	return err
}

// remove drops an entry that is bad for this reason.
func (v *verification) remove(class *store.Class, key store.Key, why error) error {
	_, err := class.Remove(key, store.ReasonCorrupt)
	return errors.Join(why, err)
}

// partial checks a blob as far as it is here: each block, and the whole when all are.
func (v *verification) partial(class *store.Class, _ string, key store.Key) error {
	if !class.Contains(key) {
		return nil // evicted
	}
	p, err := class.OpenPartial(key, store.AnySize, false)
	if err != nil {
		return v.unopened(nil, err)
	}
	bad, why := v.blocks(p, key)
	_ = p.Close() // it was only read
	switch {
	case v.ctx.Err() != nil:
		return nil
	case bad > 0:
		return fmt.Errorf("%d of %d blocks are bad", bad, p.Blocks())
	case why != nil:
		return v.remove(class, key, why)
	}
	return nil
}

// blocks reads the blocks of p, which drops the bad ones, and says how many that were, or why all of them together are
// not what key promises.
func (v *verification) blocks(p *store.Partial, key store.Key) (bad int, why error) {
	complete := p.Complete()
	whole := newKeySum(key)
	buf := make([]byte, store.BlockSize)
	for block := 0; block < p.Blocks() && v.ctx.Err() == nil; block++ {
		if !p.Has(block) {
			continue
		}
		n, err := p.ReadBlock(block, buf)
		if err != nil {
			bad++
			continue
		}
		v.bytes += int64(n)
		if complete {
			_, _ = whole.Write(buf[:n]) // never fails
		}
	}
	if complete && bad == 0 {
		why = whole.check()
	}
	return bad, why
}

// checkOf returns the check of what stands under key in a folder.
func checkOf(folder string, key store.Key) store.Check {
	if folder == FolderContent {
		return isKey(key)
	}
	return func(r io.Reader) error {
		raw, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		// A derived key is that of a record of ours, or of an entry whose digest is no sha256.
		if key.Kind == store.Derived && (folder == FolderRefs || bytes.HasPrefix(raw, []byte(recordMagic))) {
			return recordUnder(raw, key)
		}
		err = isKey(key)(bytes.NewReader(raw))
		if err == nil && folder == FolderManifests {
			err = isJSON(raw)
		}
		return err
	}
}

// count adds up what is written to it.
type count struct{ n *int64 }

func (c *count) Write(p []byte) (int, error) {
	*c.n += int64(len(p))
	return len(p), nil
}

// within ends a reader with its context.
type within struct {
	ctx context.Context
	r   io.Reader
}

func (w *within) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}
