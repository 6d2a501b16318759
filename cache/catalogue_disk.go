package cache

import (
	"path/filepath"
	"time"

	"github.com/blobd/blobd/internal/vfs"
)

const (
	// minCompact is how long a journal may be whatever it holds: 1 MiB is read in some 20 ms at start.
	minCompact = 1 << 20
	// retryDisk is how long a disk that refused is left alone by what need not be durable.
	retryDisk = 10 * time.Second
)

// readCatalogue reads the catalogue in dir, which must be ours. Nothing is written before start is called.
func readCatalogue(fsys vfs.FS, dir string, now func() time.Time, problem func(error), b bounds) *Catalogue {
	c := &Catalogue{now: now, problem: problem, state: newState(b)}
	c.journal = readJournal(fsys, filepath.Join(dir, "catalogue"), c.read)
	return c
}

// read applies a line of the journal, and reports whether it was good.
func (c *Catalogue) read(line []byte) bool {
	r, err := parseRecord(line)
	if err != nil {
		return false
	}
	c.state.apply(r, c.now())
	return true
}

// start makes the catalogue durable from now on. A journal that was damaged, or most of which is outdated, is written
// anew.
func (c *Catalogue) start() {
	c.writing.Lock()
	defer c.writing.Unlock()
	j := &c.journal
	_ = j.fs.Remove(j.temp()) // what a crash left
	j.compactAt = max(minCompact, 2*j.size)
	outdated := j.size > minCompact && j.lines > 2*c.state.size()
	if j.open() != nil || j.damaged > 0 || outdated {
		_ = c.rewrite() // the observer hears of it
	}
}

// write writes r down; c.writing is held and r applied. A journal that refused is written anew as a whole, and so is one
// that has grown long.
func (c *Catalogue) write(r record, durable bool) error {
	j := &c.journal
	if j.closed {
		return j.err
	}
	if c.owned != nil {
		if err := c.owned(); err != nil {
			c.problem(err)
			return err
		}
	}
	if !j.stands() {
		return c.rewrite()
	}
	if j.err != nil {
		if !durable && c.now().Sub(j.failed) < retryDisk {
			return j.err
		}
		return c.rewrite()
	}
	line, err := r.line()
	if err != nil {
		return err
	}
	if err := j.append(line, durable); err != nil {
		j.failed = c.now()
		c.problem(err)
		return err
	}
	if j.size > j.compactAt {
		return c.rewrite()
	}
	return nil
}

// rewrite writes the journal anew; c.writing is held.
func (c *Catalogue) rewrite() error {
	c.mu.RLock()
	records := c.state.records(c.now())
	c.mu.RUnlock()
	err := c.journal.rewrite(records)
	if err != nil {
		c.journal.failed = c.now()
	} else {
		c.wrote(records)
	}
	c.problem(err)
	return err
}

// wrote takes down that the disk knows these records.
func (c *Catalogue) wrote(records []record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		switch r.Op {
		case opArtifact, opPin:
			if e := c.state.artifacts[r.Artifact.name()]; e != nil {
				e.written = r.Artifact.LastUsed
			}
		case opGrant:
			if g, ok := c.state.grants[*r.Scope]; ok {
				g.written = r.Until
				c.state.grants[*r.Scope] = g
			}
		}
	}
}

// close writes down the last uses and longer grants that are in memory only, and closes the journal, durably. Changes
// after that stand in memory only.
func (c *Catalogue) close() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.journal.closed {
		return nil
	}
	if c.journal.err != nil && (c.owned == nil || c.owned() == nil) {
		_ = c.rewrite() // the last chance: what the disk refused before, it may take now
	}
	var records []record
	c.mu.RLock()
	for n, e := range c.state.artifacts {
		if _, pinned := c.state.pins[n]; !pinned && !e.LastUsed.Equal(e.written) {
			a := e.Artifact
			records = append(records, record{Op: opArtifact, Artifact: &a})
		}
	}
	for scope, g := range c.state.grants {
		if !g.until.Equal(g.written) {
			records = append(records, record{Op: opGrant, Scope: &scope, Until: g.until})
		}
	}
	c.mu.RUnlock()
	for _, r := range records {
		if err := c.write(r, false); err != nil {
			break // the journal closes with this error, unless it could be written anew
		}
	}
	return c.journal.close()
}
