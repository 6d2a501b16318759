package pullthrough

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
)

// liveTrees are the decoded indexes that somebody uses: each is there once for all who use it, and takes its share of the
// room for indexes until the last of them has gone.
type liveTrees struct {
	mu    sync.Mutex // guards all below
	trees map[digest.Digest]*liveTree
}

// liveTree is one of them. It is made by the first who wants it, before it is there.
type liveTree struct {
	of    digest.Digest
	users int
	tree  *archive.Tree // nil until somebody has brought it
	share *share
}

// hold adds a user to the tree of the manifest of; release takes one away.
func (l *liveTrees) hold(of digest.Digest) *liveTree {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.trees[of]
	if !ok {
		t = &liveTree{of: of}
		if l.trees == nil {
			l.trees = make(map[digest.Digest]*liveTree)
		}
		l.trees[of] = t
	}
	t.users++
	return t
}

// get returns the tree, if somebody has brought it.
func (l *liveTrees) get(t *liveTree) (*archive.Tree, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.tree, t.tree != nil
}

// bring hands tree and its share over, and returns the one to use: somebody may have been faster. Where nobody is left to
// use it the share is given back.
func (l *liveTrees) bring(t *liveTree, tree *archive.Tree, s *share) *archive.Tree {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.tree != nil || t.users == 0 {
		s.release()
	} else {
		t.tree, t.share = tree, s
	}
	if t.tree != nil {
		return t.tree
	}
	return tree
}

func (l *liveTrees) release(t *liveTree) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.users--; t.users > 0 {
		return
	}
	if l.trees[t.of] == t {
		delete(l.trees, t.of)
	}
	if t.share != nil {
		t.share.release()
		t.tree, t.share = nil, nil
	}
}

// clear forgets all, so that what was cleared from the disk is not answered from memory and then gone.
func (l *liveTrees) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.trees)
}
