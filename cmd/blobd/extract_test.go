package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"

	"google.golang.org/grpc/codes"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client/clienttest"
)

func TestSplitSource(t *testing.T) {
	for arg, want := range map[string][2]string{
		"host:5000/repo:tag:/path":                    {"host:5000/repo:tag", "path"},
		"host:5000/repo:tag":                          {"host:5000/repo:tag", "."},
		"host/repo:tag:/":                             {"host/repo:tag", "."},
		"host/repo:tag:/a/b/":                         {"host/repo:tag", "a/b"},
		"host/repo@sha256:00:/a":                      {"host/repo@sha256:00", "a"},
		"host/repo:/a":                                {"host/repo", "a"},
		"host/repo:tag:/a:/b":                         {"host/repo:tag", "a:/b"},
		"host:5000/repo:tag@sha256:00:/with space/ü:": {"host:5000/repo:tag@sha256:00", "with space/ü:"},
	} {
		ref, path, err := splitSource(arg)
		if err != nil || ref != want[0] || path != want[1] {
			t.Errorf("%q is %q and %q, %v; want %q", arg, ref, path, err, want)
		}
	}
	for _, arg := range []string{"", ":/a", "host/repo:/../a", "host/repo:/a/../../b", "host/repo:/a//b", "http://host/repo"} {
		if ref, path, err := splitSource(arg); exitCode(err) != exitUsage {
			t.Errorf("%q is %q and %q, %v", arg, ref, path, err)
		}
	}
}

// files reads what is below dir: path → mode and bytes.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		rel, _ := filepath.Rel(dir, path)
		got[filepath.ToSlash(rel)] = fmt.Sprintf("%v %s", fi.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCopy(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	d, _ := start(t)
	all := map[string]string{}
	for name, f := range tree() {
		all[name] = fmt.Sprintf("%v %s", f.Mode, f.Data)
	}
	hello := all["hello.txt"]
	for name, row := range map[string]struct {
		from, to string
		want     map[string]string
	}{
		"whole archive":               {"", "out", prefixed("out/", all)},
		"whole archive, by a slash":   {":/", "out/", prefixed("out/", all)},
		"into a folder that is there": {"", "there", prefixed("there/", all)},
		"folder":                      {":/css", "out", map[string]string{"out/a.css": all["css/a.css"], "out/deep/b.css": all["css/deep/b.css"]}},
		"deep new folder":             {":/css/deep", "a/b/c", map[string]string{"a/b/c/b.css": all["css/deep/b.css"]}},
		"file":                        {":/hello.txt", "copy", map[string]string{"copy": hello}},
		"file into a folder":          {":/hello.txt", "there", map[string]string{"there/hello.txt": hello}},
		"file into a new folder":      {":/hello.txt", "out/", map[string]string{"out/hello.txt": hello}},
		"executable":                  {":/bin/tool", "tool", map[string]string{"tool": all["bin/tool"]}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			os.Mkdir(filepath.Join(dir, "there"), 0o755)
			to := filepath.Join(dir, row.to)
			if strings.HasSuffix(row.to, "/") {
				to += "/"
			}
			if got := blobd(t, d, "cp", ref+row.from, to); got.code != 0 || got.stderr != "" {
				t.Fatalf("%+v", got)
			}
			if got := files(t, dir); fmt.Sprint(got) != fmt.Sprint(row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func prefixed(prefix string, in map[string]string) map[string]string {
	out := map[string]string{}
	for name, v := range in {
		out[prefix+name] = v
	}
	return out
}

func TestCopyKeepsTimesAndDropsSetuid(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, fstest.MapFS{"su": {Data: []byte("x"), Mode: 0o755 | fs.ModeSetuid, ModTime: changed}})
	to := filepath.Join(t.TempDir(), "su")
	if got := blobd(t, d, "cp", ref+":/su", to); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	fi, err := os.Stat(to)
	if err != nil {
		t.Fatal(err)
	}
	if !fi.ModTime().Equal(changed) || fi.Mode()&fs.ModeSetuid != 0 {
		t.Errorf("got %v", fs.FormatFileInfo(fi))
	}
}

func TestCopyOverwritesOnlyByForce(t *testing.T) {
	d, _ := start(t)
	dir := t.TempDir()
	mine := filepath.Join(dir, "hello.txt")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := blobd(t, d, "cp", ref, dir)
	if got.code != exitOther || !strings.Contains(got.stderr, "blobd: hello.txt: exists already; overwrite it with --force\n") ||
		!strings.Contains(got.stderr, "blobd: 1 of 6 files could not be copied\n") || got.stdout != "5 files, 25 B\n" {
		t.Errorf("%+v", got)
	}
	if data, _ := os.ReadFile(mine); string(data) != "mine" {
		t.Errorf("overwrote it: %q", data)
	}
	for _, c := range d.Calls() {
		if c.Method == "ReadFile" && c.Path == "hello.txt" {
			t.Error("fetched what it could not keep")
		}
	}
	got = blobd(t, d, "-o", "json", "cp", ref+":/hello.txt", mine)
	var out copied
	if err := json.Unmarshal([]byte(got.stdout), &out); err != nil || len(out.Failed) != 1 || out.Failed[0].Path != "hello.txt" {
		t.Errorf("%v in %+v", err, got)
	}
	if got := blobd(t, d, "cp", "--force", ref, dir); got.code != 0 || got.stderr != "" {
		t.Errorf("--force: %+v", got)
	}
	if data, _ := os.ReadFile(mine); string(data) != "hello\n" {
		t.Errorf("--force left %q", data)
	}
}

// Bytes that turn out wrong never appear, under their name or another; the other files do.
func TestCopyOfWrongBytes(t *testing.T) {
	d, _ := start(t)
	d.AfterData = func(c clienttest.Call) error {
		if c.Path == "css/a.css" {
			return clienttest.Status(codes.DataLoss, "DIGEST_MISMATCH", "css/a.css: not what the index says", "", 0)
		}
		return nil
	}
	dir := t.TempDir()
	got := blobd(t, d, "cp", ref, dir)
	if got.code != exitIntegrity || !strings.Contains(got.stderr, "blobd: css/a.css: not what the index says\n") {
		t.Errorf("%+v", got)
	}
	have := files(t, dir)
	if _, there := have["css/a.css"]; there || len(have) != 5 {
		t.Errorf("left %v", have)
	}
}

// A daemon that is gone ends the whole copy, and leaves no half files.
func TestCopyEndsWithTheDaemon(t *testing.T) {
	d := clienttest.Start(t)
	many := fstest.MapFS{}
	for i := range 100 {
		many[fmt.Sprintf("f%02d", i)] = &fstest.MapFile{Data: make([]byte, 100_000), Mode: 0o644}
	}
	d.Tag(ref, many)
	var reads atomic.Int32
	d.AfterData = func(clienttest.Call) error {
		if reads.Add(1) > 10 {
			return clienttest.Status(codes.Unavailable, "SHUTTING_DOWN", "blobd is shutting down", "", 0)
		}
		return nil
	}
	dir := t.TempDir()
	got := blobd(t, d, "cp", ref, dir)
	if got.code != exitUnreachable || !strings.HasSuffix(got.stderr, "blobd: blobd is shutting down\n") {
		t.Errorf("%+v", got)
	}
	for name, v := range files(t, dir) {
		if strings.Contains(name, ".tmp") || len(v) < 100_000 {
			t.Errorf("left %s", name)
		}
	}
	if n := reads.Load(); n > 10+2*extractAtOnce {
		t.Errorf("%d reads", n)
	}
}

// Links that stand in the destination lead nowhere else.
func TestCopyNeverLeavesItsDestination(t *testing.T) {
	d, _ := start(t)
	for name, link := range map[string]string{"folder": "css", "file": "hello.txt"} {
		for _, force := range []string{"--force=false", "--force"} {
			t.Run(name+force, func(t *testing.T) {
				dir, outside := t.TempDir(), t.TempDir()
				target := outside
				if name == "file" {
					target = filepath.Join(outside, "hello.txt")
				}
				if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
					t.Skip(err)
				}
				got := blobd(t, d, "cp", force, ref, dir)
				if left := files(t, outside); len(left) > 0 {
					t.Errorf("wrote outside: %v", left)
				}
				// A link in place of a file is replaced by force; one in place of a folder is not followed.
				if replaced := name == "file" && force == "--force"; (got.code == 0) != replaced {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}

// What a daemon lists is checked here too.
func TestCopyRefusesPathsThatLeave(t *testing.T) {
	for _, evil := range []string{"../evil", "/abs", "a/../../evil", "", ".", "css/../../evil"} {
		for _, from := range []string{"", ":/css"} {
			d, _ := start(t)
			d.Listing = []*blobdv1.Entry{{Path: "hello.txt", Size: 6}, {Path: evil, Size: 6}}
			dir := t.TempDir()
			got := blobd(t, d, "cp", ref+from, filepath.Join(dir, "dest"))
			if got.code != exitOther || got.stderr == "" {
				t.Errorf("%q below %q: %+v", evil, from, got)
			}
			if left := files(t, dir); len(left) > 0 {
				t.Errorf("%q below %q: wrote %v", evil, from, left)
			}
		}
	}
}

// What stands in the way is said in one line that names it and what to do, and no temporary file.
func TestCopyTellsWhatIsInTheWay(t *testing.T) {
	d, _ := start(t)
	for name, row := range map[string]struct {
		file, folder, link string // what stands in the folder of the test
		args               []string
		want               string // all of stderr, where %s is that folder
	}{
		"a file for the destination":    {file: "f", args: []string{ref, "f"}, want: "%s/f is not a folder; copy to another place, or remove it"},
		"a file, by a slash":            {file: "f", args: []string{ref + ":/hello.txt", "f/"}, want: "%s/f is not a folder; copy to another place, or remove it"},
		"below a file":                  {file: "f", args: []string{ref + ":/hello.txt", "f/x"}, want: "%s/f is not a folder; copy to another place, or remove it"},
		"deep below a file":             {file: "f", args: []string{ref, "f/x/y"}, want: "%s/f is not a folder; copy to another place, or remove it"},
		"a link to nowhere":             {link: "f", args: []string{ref, "f"}, want: "%s/f is not a folder; copy to another place, or remove it"},
		"no folder":                     {args: []string{ref + ":/hello.txt", "no/x"}, want: "there is no folder %s/no to copy to; make it first"},
		"a folder for a file":           {folder: "hello.txt/x", args: []string{ref + ":/hello.txt", "."}, want: "hello.txt: a folder stands there, which --force does not overwrite; remove it, or copy to another place"},
		"a folder for a file, forced":   {folder: "hello.txt", args: []string{"--force", ref + ":/hello.txt", "."}, want: "hello.txt: a folder stands there, which --force does not overwrite; remove it, or copy to another place"},
		"a file for a folder":           {file: "deep", args: []string{ref + ":/css", "."}, want: "css/deep/b.css: deep is a file, and a folder must be there; remove it, or copy to another place\nblobd: 1 of 2 files could not be copied"},
		"a file for a folder, forced":   {file: "css", args: []string{"--force", ref, "."}, want: "css/deep/b.css: css is a file, and a folder must be there; remove it, or copy to another place"},
		"a link out of the destination": {link: "deep", args: []string{ref + ":/css", "."}, want: "css/deep/b.css: deep is a link that leads to no folder in the destination; remove it, or copy to another place\nblobd: 1 of 2 files could not be copied"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if row.folder != "" {
				os.MkdirAll(filepath.Join(dir, row.folder), 0o755)
			}
			if row.file != "" {
				os.WriteFile(filepath.Join(dir, row.file), nil, 0o644)
			}
			if row.link != "" {
				if err := os.Symlink("../nowhere", filepath.Join(dir, row.link)); err != nil {
					t.Skip(err)
				}
			}
			last := len(row.args) - 1
			to := row.args[last]
			args := append(append([]string{"cp"}, row.args[:last]...), dir+string(os.PathSeparator)+filepath.FromSlash(to))
			got := blobd(t, d, args...)
			want := "blobd: " + filepath.FromSlash(strings.ReplaceAll(row.want, "%s", dir)) + "\n"
			if got.code != exitOther || !strings.Contains(got.stderr, want) {
				t.Errorf("exit %d, %q, want %q", got.code, got.stderr, want)
			}
			if strings.Contains(got.stderr, ".tmp") {
				t.Errorf("names a temporary file: %q", got.stderr)
			}
		})
	}
}

func TestDiskErrors(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("other words")
	}
	full := &os.PathError{Op: "write", Path: ".blobd-X.tmp", Err: syscall.ENOSPC}
	for err, want := range map[error]string{
		diskError(full): "a: can't be written: no space left on device; copy to another disk, or make room on this one",
		diskError(errors.Join(&os.LinkError{Op: "renameat", Old: ".blobd-X.tmp", New: "a", Err: syscall.EACCES}, full)): "a: can't be written: permission denied; copy to a folder that this user can write",
		full: "a: write .blobd-X.tmp: no space left on device; write to another disk, or make room on this one",
	} {
		if got := describe(fmt.Errorf("a: %w", err)).line(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := errors.New("the daemon's"); diskError(err) != err {
		t.Error("another error was changed")
	}
}
