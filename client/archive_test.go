package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/client/clienttest"
)

const ref = "registry.example:5000/team/assets:v1"

// big is longer than several messages, and of no round length.
func big() []byte {
	data := make([]byte, 3<<20+7)
	rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

func files() fstest.MapFS {
	modified := time.Unix(1_700_000_000, 5).UTC()
	return fstest.MapFS{
		"hello.txt":       {Data: []byte("hello\n"), Mode: 0o644, ModTime: modified},
		"bin/tool":        {Data: []byte("#!/bin/sh\n"), Mode: 0o755, ModTime: modified},
		"empty":           {Mode: 0o600, ModTime: modified},
		"css/site/a.css":  {Data: []byte("a{}"), Mode: 0o644},
		"css/site/b.css":  {Data: []byte("b{}"), Mode: 0o644},
		"css.d":           {Data: []byte("x"), Mode: 0o644},
		"big.bin":         {Data: big(), Mode: 0o444, ModTime: modified},
		"name with\nline": {Data: []byte("odd"), Mode: 0o644},
	}
}

func dial(t *testing.T, d *clienttest.Daemon) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), client.WithSocket(d.Socket), client.WithStartTimeout(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func pull(t *testing.T, c *client.Client, opts ...client.ReadOption) *client.Archive {
	t.Helper()
	a, err := c.Pull(t.Context(), ref, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestArchiveIsAnFS(t *testing.T) {
	d := clienttest.Start(t)
	tree := files()
	delete(tree, "big.bin") // TestFS reads each file a byte at a time
	d.Tag(ref, tree)
	a := pull(t, dial(t, d))
	names := make([]string, 0, len(tree))
	for name := range tree {
		names = append(names, name)
	}
	if err := fstest.TestFS(a, names...); err != nil {
		t.Fatal(err)
	}
}

func TestWholeTree(t *testing.T) {
	d := clienttest.Start(t)
	want := files()
	d.Tag(ref, want)
	a := pull(t, dial(t, d))
	seen := 0
	err := fs.WalkDir(a, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		seen++
		got, err := a.ReadFile(name)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want[name].Data) {
			t.Errorf("%q: other bytes", name)
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if fi.Mode() != want[name].Mode || !fi.ModTime().Equal(want[name].ModTime) || fi.Size() != int64(len(got)) {
			t.Errorf("%q: got %v", name, fi)
		}
		if sys, ok := fi.Sys().(*client.Entry); !ok || sys.Path != name || sys.Digest == "" {
			t.Errorf("%q: Sys is %v", name, fi.Sys())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen != len(want) || a.Files != int64(len(want)) {
		t.Errorf("walked %d files, Pull said %d, there are %d", seen, a.Files, len(want))
	}
}

func TestListIsWholeAndOrdered(t *testing.T) {
	d := clienttest.Start(t)
	tree := fstest.MapFS{}
	for i := range 1234 { // more than a message
		tree[fmt.Sprintf("dir%d/file%04d", i%7, i)] = &fstest.MapFile{}
	}
	d.Tag(ref, tree)
	a := pull(t, dial(t, d))
	var want, got []string
	fs.WalkDir(tree, ".", func(name string, _ fs.DirEntry, err error) error {
		if name != "." {
			want = append(want, name)
		}
		return err
	})
	for e, err := range a.List(t.Context(), ".", true) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Path)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %d entries, want %d, or another order", len(got), len(want))
	}
	for range a.List(t.Context(), ".", true) {
		break // leaving early must not hang or leak
	}
}

func TestFileReads(t *testing.T) {
	d := clienttest.Start(t)
	want := big()
	d.Tag(ref, files())
	f, err := pull(t, dial(t, d)).Open("big.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(len(want))

	ra := f.(io.ReaderAt)
	for _, c := range []struct {
		offset int64
		length int
		n      int
		err    error
	}{
		{0, 1, 1, nil},
		{size - 1, 1, 1, nil},
		{size - 1, 2, 1, io.EOF},
		{size, 1, 0, io.EOF},
		{size + 5, 1, 0, io.EOF},
		{12345, 200_000, 200_000, nil},
		{0, len(want), len(want), nil},
		{0, len(want) + 1, len(want), io.EOF},
	} {
		buf := make([]byte, c.length)
		n, err := ra.ReadAt(buf, c.offset)
		if n != c.n || err != c.err || n > 0 && !bytes.Equal(buf[:n], want[c.offset:c.offset+int64(n)]) {
			t.Errorf("ReadAt(%d bytes, %d) = %d, %v; want %d, %v", c.length, c.offset, n, err, c.n, c.err)
		}
	}
	if _, err := ra.ReadAt(make([]byte, 1), -1); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("ReadAt before the start: %v", err)
	}

	seeker := f.(io.Seeker)
	if at, err := seeker.Seek(-100, io.SeekEnd); err != nil || at != size-100 {
		t.Fatalf("Seek = %d, %v", at, err)
	}
	var rest bytes.Buffer
	if n, err := f.(io.WriterTo).WriteTo(&rest); err != nil || n != 100 || !bytes.Equal(rest.Bytes(), want[size-100:]) {
		t.Errorf("WriteTo after Seek = %d, %v", n, err)
	}
	if at, _ := seeker.Seek(0, io.SeekCurrent); at != size {
		t.Errorf("after WriteTo the offset is %d", at)
	}
	seeker.Seek(0, io.SeekStart)
	if got, err := io.ReadAll(struct{ io.Reader }{f}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("ReadAll: %d bytes, %v", len(got), err)
	}
}

// One archive and one open file serve many goroutines.
func TestParallelReads(t *testing.T) {
	d := clienttest.Start(t)
	want := big()
	d.Tag(ref, files())
	a := pull(t, dial(t, d))
	f, err := a.Open("big.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			if got, err := a.ReadFile("big.bin"); err != nil || !bytes.Equal(got, want) {
				t.Errorf("ReadFile: %d bytes, %v", len(got), err)
			}
			buf, at := make([]byte, 100_000), int64(i)*150_001
			if _, err := f.(io.ReaderAt).ReadAt(buf, at); err != nil || !bytes.Equal(buf, want[at:at+int64(len(buf))]) {
				t.Errorf("ReadAt(%d): %v", at, err)
			}
		})
	}
	group.Wait()
}

// Opening a file and reading its end asks for the end alone.
func TestOpenFetchesNothing(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, files())
	a := pull(t, dial(t, d))
	f, err := a.Open("big.bin")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range d.Calls() {
		if c.Method == "ReadFile" {
			t.Fatal("Open reads")
		}
	}
}

func TestMismatchIsNeverEOF(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, files())
	d.AfterData = func(clienttest.Call) error {
		return clienttest.Status(codes.DataLoss, "DIGEST_MISMATCH", "hello.txt: not the digest of the index", "", 0)
	}
	a := pull(t, dial(t, d))
	isMismatch := func(what string, err error) {
		t.Helper()
		e, ok := errors.AsType[*client.Error](err)
		if _, isPath := errors.AsType[*fs.PathError](err); !ok || !isPath || e.Reason != "DIGEST_MISMATCH" {
			t.Errorf("%s ends in %v", what, err)
		}
	}
	data, err := a.ReadFile("hello.txt")
	isMismatch("ReadFile", err)
	if data != nil {
		t.Errorf("ReadFile returned %q with the error", data)
	}
	f, err := a.Open("hello.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	passed, err := io.ReadAll(struct{ io.Reader }{f})
	isMismatch("Read", err)
	if string(passed) != "hello\n" {
		t.Errorf("Read passed %q on", passed)
	}
	_, err = f.(io.ReaderAt).ReadAt(make([]byte, 6), 0)
	isMismatch("ReadAt", err)
	f.(io.Seeker).Seek(0, io.SeekStart)
	_, err = f.(io.WriterTo).WriteTo(io.Discard)
	isMismatch("WriteTo", err)
}

func TestErrorsAcrossTheSocket(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, files())
	c := dial(t, d)
	a := pull(t, c)
	second := func(_ any, err error) error { return err }
	for name, row := range map[string]struct {
		err    error
		is     error
		reason string
	}{
		"no such file":         {second(a.ReadFile("nope")), fs.ErrNotExist, "FILE_UNKNOWN"},
		"no such file to open": {second(a.Open("nope")), fs.ErrNotExist, "FILE_UNKNOWN"},
		"no such file to stat": {second(a.Stat("nope")), fs.ErrNotExist, "FILE_UNKNOWN"},
		"no such folder":       {second(a.ReadDir("nope")), fs.ErrNotExist, "FILE_UNKNOWN"},
		"folder read as file":  {second(a.ReadFile("css")), fs.ErrInvalid, "IS_DIRECTORY"},
		"file read as folder":  {second(a.ReadDir("empty")), fs.ErrInvalid, "NOT_DIRECTORY"},
		"absolute path":        {second(a.ReadFile("/hello.txt")), fs.ErrInvalid, ""},
		"path that leaves":     {second(a.Stat("css/../../x")), fs.ErrInvalid, ""},
		"folder that leaves":   {second(a.ReadDir("..")), fs.ErrInvalid, ""},
		"no such artifact":     {second(c.Pull(t.Context(), "registry.example/none:v1")), fs.ErrNotExist, "MANIFEST_UNKNOWN"},
		"past the end":         {second(a.OpenRange("hello.txt", 7, 1)), fs.ErrInvalid, "OUT_OF_RANGE"},
		"no admin":             {second(c.Admin().Status(t.Context(), nil)), fs.ErrPermission, "ADMIN_ONLY"},
	} {
		if !errors.Is(row.err, row.is) {
			t.Errorf("%s: %v is not %v", name, row.err, row.is)
		}
		e, ok := errors.AsType[*client.Error](row.err)
		if row.reason != "" && (!ok || e.Reason != row.reason) {
			t.Errorf("%s: reason of %v is not %s", name, row.err, row.reason)
		}
	}
}

func TestArchiveStaysWithItsDigest(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, fstest.MapFS{"f": {Data: []byte("old")}})
	c := dial(t, d)
	a := pull(t, c)
	d.Tag(ref, fstest.MapFS{"f": {Data: []byte("new")}})
	if got, err := a.ReadFile("f"); err != nil || string(got) != "old" {
		t.Errorf("after the tag moved: %q, %v", got, err)
	}
	if got, err := pull(t, c).ReadFile("f"); err != nil || string(got) != "new" {
		t.Errorf("pulled anew: %q, %v", got, err)
	}
}

func TestOptionsArrive(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, files())
	a := pull(t, dial(t, d), client.NoCache(), client.MaxAge(0), client.RequireFresh(), client.RequireVerified())
	if _, err := a.ReadFile("hello.txt"); err != nil {
		t.Fatal(err)
	}
	calls := d.Calls()
	o := calls[0].Options
	if !o.GetNoCache() || o.MaxAge == nil || o.MaxAge.AsDuration() != 0 || !o.GetRequireFresh() || !o.GetRequireVerified() {
		t.Errorf("Pull got %v", o)
	}
	if o := calls[1].Options; !o.GetNoCache() || !o.GetRequireVerified() {
		t.Errorf("ReadFile got %v", o)
	}
}

func TestContextEndsAReader(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, files())
	entered, release := make(chan struct{}), make(chan struct{})
	d.AfterData = func(clienttest.Call) error { close(entered); <-release; return nil }
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	a := pull(t, dial(t, d)).WithContext(ctx)
	go func() { <-entered; cancel() }()
	if _, err := a.ReadFile("hello.txt"); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadFile after cancel: %v", err)
	}
}

func TestManifestIsExact(t *testing.T) {
	d := clienttest.Start(t)
	digest := d.Tag(ref, files())
	res, raw, err := dial(t, d).Manifest(t.Context(), ref)
	if err != nil || !bytes.Equal(raw, clienttest.Manifest(digest)) || res.Digest != digest {
		t.Errorf("got %q of %v, %v", raw, res, err)
	}
}

func TestPrefetch(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, files())
	c := dial(t, d)
	var seen []client.Progress
	_, last, err := c.Prefetch(t.Context(), ref, []string{"css", "hello.*"}, func(p client.Progress) { seen = append(seen, p) })
	want := client.Progress{FilesDone: 3, FilesTotal: 3, BytesDone: 12, BytesTotal: 12}
	if err != nil || last != want || len(seen) != 4 || seen[3] != want {
		t.Errorf("got %+v after %d reports, %v", last, len(seen), err)
	}
}

func TestSocketRule(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv(client.SocketEnv, "")
	want := filepath.Join(dir, "blobd", "blobd.sock")
	if os.Geteuid() == 0 {
		want = "/run/blobd/blobd.sock"
	}
	if got := client.DefaultSocket(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	t.Setenv(client.SocketEnv, "/elsewhere/s")
	if got := client.DefaultSocket(); got != "/elsewhere/s" {
		t.Errorf("the environment is not heard: %s", got)
	}
}

// A reader that the daemon dropped goes on where it was.
func TestSeekAfterADroppedRead(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, files())
	var dropped atomic.Bool
	d.AfterData = func(clienttest.Call) error {
		if dropped.Swap(true) {
			return nil
		}
		return clienttest.Status(codes.Aborted, "READER_IDLE", "the reader took nothing for 1m0s", "", 0)
	}
	f, err := pull(t, dial(t, d)).Open("hello.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader := struct{ io.Reader }{f}
	if _, err := io.ReadAll(reader); err == nil {
		t.Fatal("no error")
	}
	if at, err := f.(io.Seeker).Seek(2, io.SeekStart); err != nil || at != 2 {
		t.Fatalf("Seek = %d, %v", at, err)
	}
	if got, err := io.ReadAll(reader); err != nil || string(got) != "llo\n" {
		t.Errorf("read on: %q, %v", got, err)
	}
	// The same offset as before the error counts as a new start, too.
	dropped.Store(false)
	f.(io.Seeker).Seek(0, io.SeekStart)
	if _, err := io.ReadAll(reader); err == nil {
		t.Fatal("no error the second time")
	}
	if at, _ := f.(io.Seeker).Seek(0, io.SeekCurrent); at != 6 {
		t.Errorf("the offset is %d", at)
	}
	if got, err := io.ReadAll(reader); err != nil || len(got) != 0 {
		t.Errorf("after a Seek to where it is: %q, %v", got, err)
	}
}
