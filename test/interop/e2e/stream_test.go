package e2e

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/archivetest"
)

// TestFirstBytesEarly has the registry hold back all of a file but its first MiB: the reader has bytes by then.
func TestFirstBytesEarly(t *testing.T) {
	for name, f := range map[string]archivetest.File{
		"stored": file("f", 1, 8<<20),
		"zstd":   {Path: "f", Content: archivetest.Compressible(1, 32<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: name == "zstd"}, file("a", 2, 1000), f)
			w.run("pull", w.ref("acme/app:v1"))
			w.reg.HoldAfter(1 << 20)
			cat := w.Command(t.Context(), "cat", w.ref("acme/app:v1"), "f")
			out, err := cat.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cat.Start(); err != nil {
				t.Fatal(err)
			}
			begin := make([]byte, 512<<10)
			if _, err := io.ReadFull(out, begin); err != nil { // hangs where the daemon waits for the end
				t.Fatal(err)
			}
			w.reg.Release()
			same(t, "cat", append(begin, readAll(t, out)...), content(f))
			if err := cat.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestClosedPipe closes the pipe that a cat writes to: it ends at once and says nothing, and the daemon's fetch ends
// with it.
func TestClosedPipe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{}, file("f", 1, 64<<20))
	w.reg.HoldAfter(1 << 20)
	cat := w.Command(t.Context(), "cat", w.ref("acme/app:v1"), "f")
	var stderr strings.Builder
	cat.Stderr = &stderr
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	w.reg.Release()
	err = cat.Wait()
	if err == nil || stderr.String() != "" {
		t.Errorf("cat: %v, stderr %q; want to end as by SIGPIPE, silently", err, stderr.String())
	}
	if code := cat.ProcessState.ExitCode(); code != -1 && code != 128+13 {
		t.Errorf("cat: exit code %d, want 141 or an end by SIGPIPE", code)
	}
	eventually(t, "no flight goes on", func() bool { return w.metric("blobd_flights") == 0 })
}

// TestLongListing lists far more than a message holds.
func TestLongListing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	files := archivetest.Many(30_000)
	push(t, w.reg.PushHost(), "acme/many:v1", archivetest.Options{}, files...)
	var want []string
	for _, f := range files {
		want = append(want, f.Path)
	}
	var got []string
	for line := range strings.Lines(string(w.run("ls", "-R", w.ref("acme/many:v1")))) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasSuffix(line, "/") {
			got = append(got, line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("ls -R lists %d files, want %d, in their order", len(got), len(want))
	}
	if n := strings.Count(string(w.run("ls", w.ref("acme/many:v1"), "package-000/module-07")), "\n"); n != 100 {
		t.Errorf("ls of one folder: %d lines, want 100", n)
	}
}

// TestCopy extracts an archive through the content cache: what it fetched is warm, what is warm it does not fetch.
func TestCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	files := []archivetest.File{
		file("a/one", 1, 1<<20), {Path: "a/two", Data: []byte("#!/bin/sh\n"), Mode: 0o755}, {Path: "empty"}, file("z", 2, 70_000),
	}
	push(t, w.reg.PushHost(), "acme/app:v1", archivetest.Options{Zstd: true}, files...)
	ref := w.ref("acme/app:v1")
	w.reads(content(files[0]), "cat", ref, "a/one")
	w.reg.Reset()
	dest := filepath.Join(t.TempDir(), "dest")
	w.run("cp", ref, dest)
	for _, f := range files {
		got, err := os.ReadFile(filepath.Join(dest, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		same(t, f.Path, got, content(f))
	}
	if fi, err := os.Stat(filepath.Join(dest, "a", "two")); err != nil || fi.Mode().Perm()&0o100 == 0 {
		t.Errorf("a/two: %v, %v, want it executable", fi.Mode(), err)
	}
	for _, s := range spans(t, w.reg.Proxy) {
		if s.last-s.first > 256<<10 {
			t.Errorf("cp fetched %d bytes: a/one was warm", s.last-s.first+1)
		}
	}
	w.reg.Reset()
	w.reads(content(files[3]), "cat", ref, "z")
	w.run("cp", ref, filepath.Join(dest, "again"))
	costs(t, "all of it again", w.reg.Proxy, nothing)
	if r := w.Run(t.Context(), "cp", ref, dest); r.Exit == 0 {
		t.Error("cp overwrote files without --force")
	}
	w.run("cp", "--force", ref, dest)
	w.run("cp", ref+":/a/two", filepath.Join(dest, "renamed"))
	if got, err := os.ReadFile(filepath.Join(dest, "renamed")); err != nil || string(got) != "#!/bin/sh\n" {
		t.Errorf("one file: %q, %v", got, err)
	}
}
