package pullthrough

import (
	"runtime"
	"sync"
	"weak"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
)

// liveTrees finds the decoded indexes that somebody still uses, without keeping any alive: the memory tier may refuse or
// drop a large one while readers hold it, and decoding it again for each of them would multiply it.
type liveTrees struct {
	mu    sync.Mutex // guards trees
	trees map[digest.Digest]weak.Pointer[archive.Tree]
}

func (l *liveTrees) get(of digest.Digest) (*archive.Tree, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.trees[of].Value()
	return t, t != nil
}

func (l *liveTrees) put(of digest.Digest, t *archive.Tree) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trees == nil {
		l.trees = make(map[digest.Digest]weak.Pointer[archive.Tree])
	}
	l.trees[of] = weak.Make(t)
	runtime.AddCleanup(t, l.forget, of)
}

// clear forgets all, so that what was cleared from the disk is not answered from memory and then gone.
func (l *liveTrees) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.trees)
}

// forget drops an entry whose tree is gone.
func (l *liveTrees) forget(of digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trees[of].Value() == nil {
		delete(l.trees, of)
	}
}
