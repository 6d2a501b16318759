package cache

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/blobd/blobd/internal/vfs"
)

// maxLine bounds a line of the journal. The longest is the pin of an archive of a million files: 33 bytes a file, in
// base64.
const maxLine = 64 << 20

// journal is an append-only file of lines. One that failed (err is set) takes no more lines until it is rewritten: what
// it lacks is not known. Not safe for concurrent use.
type journal struct {
	fs        vfs.FS
	path      string
	file      vfs.File // nil unless open
	size      int64    // what is in it, damage too
	lines     int      // lines that were read, damaged ones too
	damaged   int      // lines that were lost when it was read
	compactAt int64    // the size from which it should be rewritten
	err       error    // why it takes no more lines; nil while it does
	failed    time.Time
	closed    bool
}

// readJournal gives the lines in path, without newlines, to visit, which reports whether a line was good. Line is only
// good during the call. A file that is not there is empty; one that can't be read has failed.
func readJournal(fsys vfs.FS, path string, visit func(line []byte) bool) journal {
	j := journal{fs: fsys, path: path, compactAt: minCompact}
	file, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j
	}
	if err != nil {
		j.err = err
		return j
	}
	defer file.Close()
	if err := j.scan(file, visit); err != nil {
		j.err = fmt.Errorf("catalogue: %w", err)
	}
	return j
}

// scan gives the lines of r to visit.
func (j *journal) scan(r io.Reader, visit func(line []byte) bool) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, n, err := readLine(lines)
		j.size += n
		if line = bytes.TrimSuffix(line, []byte("\n")); len(line) > 0 || n > maxLine {
			j.lines++
			if n > maxLine || !visit(line) {
				j.damaged++
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// readLine returns the next line with its newline, and its length; a line longer than maxLine is skipped.
func readLine(r *bufio.Reader) (line []byte, n int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		n += int64(len(part))
		if n <= maxLine {
			line = append(line, part...)
		} else {
			line = nil
		}
		if err != bufio.ErrBufferFull {
			return line, n, err
		}
	}
}

// temp is the name of the file that is to replace the journal: always the same, so that none is left behind.
func (j *journal) temp() string { return j.path + ".tmp" }

// open opens the journal for appending, and makes it where there is none.
func (j *journal) open() error {
	if j.err != nil {
		return j.err
	}
	if j.err = j.fs.MkdirAll(filepath.Dir(j.path)); j.err != nil {
		return j.err
	}
	j.file, j.err = j.fs.OpenRW(j.path)
	if errors.Is(j.err, fs.ErrNotExist) {
		j.file, j.err = j.fs.Create(j.path)
	}
	return j.err
}

// append adds a line, which must begin and end with a newline: then what a torn write left behind reaches no further.
func (j *journal) append(line []byte, durable bool) error {
	n, err := vfs.WriteAt(j.file, line, j.size)
	j.size += int64(n)
	if err == nil && durable {
		err = j.file.Sync()
	}
	j.err = err
	return err
}

// stands reports whether the journal that is open is still the file of its name; it may have been removed with the folder.
func (j *journal) stands() bool {
	if j.file == nil {
		return true
	}
	there, err := j.fs.Lstat(j.path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	open, err := j.file.Stat()
	return err != nil || there.Stamp == open.Stamp
}

// rewrite replaces the journal by one of these records, durably, and mends one that failed. The old one stands until the
// new one is complete.
func (j *journal) rewrite(records []record) error {
	j.err = j.replace(records)
	if j.err == nil {
		j.damaged, j.compactAt = 0, max(minCompact, 2*j.size)
	}
	return j.err
}

func (j *journal) replace(records []record) error {
	dir := filepath.Dir(j.path)
	if err := j.fs.MkdirAll(dir); err != nil {
		return err
	}
	temp := j.temp()
	size, err := j.writeFile(temp, records)
	if err != nil {
		_ = j.fs.Remove(temp)
		return err
	}
	if j.file != nil {
		_ = j.file.Close() // before the rename, which some systems refuse for an open file
		j.file = nil
	}
	if err := j.fs.Rename(temp, j.path); err != nil {
		_ = j.fs.Remove(temp)
		return err
	}
	if err := j.fs.SyncDir(dir); err != nil {
		return err
	}
	j.size, j.err = size, nil
	return j.open()
}

// writeFile writes records to a new file, synced, and returns its size.
func (j *journal) writeFile(path string, records []record) (size int64, err error) {
	if err := j.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	file, err := j.fs.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 64<<10)
	for _, r := range records {
		line, err := r.line()
		if err != nil {
			return 0, err
		}
		if _, err := w.Write(line); err != nil {
			return 0, err
		}
		size += int64(len(line))
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return size, file.Sync()
}

// close syncs and closes the journal for good. It returns what the journal failed with, if it did.
func (j *journal) close() error {
	err := j.err
	if j.file != nil {
		err = errors.Join(err, j.file.Sync(), j.file.Close())
		j.file = nil
	}
	j.closed, j.err = true, fs.ErrClosed
	return err
}
