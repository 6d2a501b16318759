package credentials

import (
	"errors"
	"io/fs"
	"os"
	"sync"
)

// maxFile is the most that is read of a file of logins: thousands of them, and no accident with a wrong path.
const maxFile = 4 << 20

// watched is a file whose parsed content is kept until the file changes. A file that is missing is an empty one; one
// that can't be read keeps its last good content, and is an error only while there was none.
type watched[T any] struct {
	path  string
	parse func([]byte) (T, error)

	mu     sync.Mutex // guards what follows
	seen   fs.FileInfo
	looked bool
	value  T
	good   bool
	err    error
}

// get returns the content of the file as it is now.
func (w *watched[T]) get() (value T, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.path == "" {
		return w.value, nil
	}
	info, err := os.Stat(w.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		var none T
		w.value, w.good, w.err, w.seen, w.looked = none, false, nil, nil, true
		return none, nil
	case err != nil:
		w.err = err
	case w.looked && w.seen != nil && os.SameFile(w.seen, info) &&
		w.seen.ModTime().Equal(info.ModTime()) && w.seen.Size() == info.Size():
		// unchanged
	default:
		w.read(info)
	}
	if w.good {
		return w.value, nil
	}
	return w.value, w.err
}

func (w *watched[T]) read(info fs.FileInfo) {
	w.seen, w.looked = info, true
	if info.Size() > maxFile {
		w.err = errors.New("the file is too large to be a file of logins")
		return
	}
	raw, err := os.ReadFile(w.path)
	if err != nil {
		w.err, w.seen = err, nil
		return
	}
	value, err := w.parse(raw)
	if err != nil {
		w.err = err
		return
	}
	w.value, w.good, w.err = value, true, nil
}
