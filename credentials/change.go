package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// lockEvery is how often a lock is tried for that another process has: it has it for milliseconds, or while a helper asks.
const lockEvery = 20 * time.Millisecond

// document is the content of a File while it is changed: all its keys, and those that we know.
type document struct {
	keys  map[string]json.RawMessage
	auths map[string]json.RawMessage
	known dockerFile
}

// change rewrites the file as edit says, while nobody else does.
func (f *File) change(ctx context.Context, edit func(*document) error) error {
	path := f.path
	if path == "" {
		return errors.New("this user has no configuration folder")
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays one
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockEvery); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Path(), err)
	}
	defer lock.Close() // its file stays: removing it would let two in
	d, err := readDocument(path)
	if err != nil {
		return err
	}
	if err := edit(d); err != nil {
		return err
	}
	return d.write(path)
}

func readDocument(path string) (*document, error) {
	d := &document{keys: map[string]json.RawMessage{}, auths: map[string]json.RawMessage{}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(raw)) == "" {
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	if d.known, err = parseDocker(raw); err != nil {
		return nil, err
	}
	if json.Unmarshal(raw, &d.keys) != nil { // `null` is an object for the one above
		return nil, errors.New("not a Docker config (JSON)")
	}
	if auths, ok := d.keys["auths"]; ok && json.Unmarshal(auths, &d.auths) != nil {
		return nil, errors.New("not a Docker config (JSON)")
	}
	if d.keys == nil {
		d.keys = map[string]json.RawMessage{}
	}
	if d.auths == nil {
		d.auths = map[string]json.RawMessage{}
	}
	return d, nil
}

// write puts the document in the file's place, whole or not at all.
func (d *document) write(path string) (err error) {
	if d.keys["auths"], err = json.Marshal(d.auths); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(d.keys, "", "\t")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".auth-*") // for its owner alone
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(append(raw, '\n'))
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
