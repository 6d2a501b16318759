// Package source makes folders to archive: small ones with all that is awkward, and big ones.
package source

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/blobd/blobd/internal/archivetest"
)

// ModTime is when every file of a folder made here was last modified, to the nanosecond.
var ModTime = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

// Awkward fills dir with small files whose order as paths is not their order in a walk, which is where the library's
// own reader loses them; with names that are not ASCII, empty files, several modes; and with what its writer leaves
// out: an empty folder and, where the system has them, a symbolic link.
func Awkward(dir string) error {
	for _, path := range []string{
		"foo/a.txt", "foo/b/c/d.txt", "foo.txt", "foo-bar.txt", "foo-bar/x", "foo0", "foo!/x",
		"a", "a.b/c", "a-b/c", "b/c/d/e/f/g/h", "b/c.d", "b/c-d", "b/cc",
		"ünï/cödé.txt", "日本語/ファイル", "with space/and more", " leading", "🙂",
	} {
		if err := write(dir, path, strings.NewReader("this is "+path+"\n"), 0o644); err != nil {
			return err
		}
	}
	for path, mode := range map[string]os.FileMode{"empty": 0o644, "foo/empty": 0o600} {
		if err := write(dir, path, strings.NewReader(""), mode); err != nil {
			return err
		}
	}
	for path, mode := range map[string]os.FileMode{"bin/run": 0o755, "secret": 0o600, "bin/readonly": 0o444} {
		if err := write(dir, path, strings.NewReader("#!/bin/sh\n"), mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "hollow"), 0o755); err != nil {
		return err
	}
	_ = os.Symlink("foo.txt", filepath.Join(dir, "link")) // not everywhere allowed, and not archived anyway
	return nil
}

// Big fills dir with a file of 16 MiB that compresses, one of 9 MiB that does not, and sizes around the one from which
// the writer leaves the size out of its frames, 128 KiB.
func Big(dir string) error {
	for path, content := range map[string]io.Reader{
		"compressible.log":  archivetest.Compressible(1, 16<<20),
		"noise.bin":         archivetest.Random(2, 9<<20),
		"sizes/under":       archivetest.Compressible(3, 128<<10-1),
		"sizes/at":          archivetest.Compressible(4, 128<<10),
		"sizes/over":        archivetest.Compressible(5, 128<<10+1),
		"sizes/over-random": archivetest.Random(6, 128<<10+1),
	} {
		if err := write(dir, path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// GoSource is the folder of Go's own source code, some 11,000 files: big, real, and not to be written to.
func GoSource(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src"), nil
}

func write(dir, path string, content io.Reader, mode os.FileMode) error {
	name := filepath.Join(dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Chtimes(name, ModTime, ModTime); err != nil {
		return err
	}
	return os.Chmod(name, mode) // beside the umask
}
