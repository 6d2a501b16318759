package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/client/clienttest"
)

const ref = "localhost:5000/team/assets:v1"

var changed = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

func tree() fstest.MapFS {
	return fstest.MapFS{
		"hello.txt":      {Data: []byte("hello\n"), Mode: 0o644, ModTime: changed},
		"world.txt":      {Data: []byte("world\n"), Mode: 0o640, ModTime: changed},
		"bin/tool":       {Data: []byte("#!/bin/sh\n"), Mode: 0o755, ModTime: changed},
		"css/a.css":      {Data: []byte("a{}"), Mode: 0o644},
		"css/deep/b.css": {Data: []byte("b{}"), Mode: 0o644},
		"odd\nname":      {Data: []byte("odd"), Mode: 0o644},
	}
}

// start runs a daemon that serves tree as ref.
func start(t *testing.T) (d *clienttest.Daemon, digest string) {
	t.Helper()
	d = clienttest.Start(t)
	return d, d.Tag(ref, tree())
}

type result struct {
	code           int
	stdout, stderr string
}

// blobd runs a command line, against d when it is not nil.
func blobd(t *testing.T, d *clienttest.Daemon, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr, dialOptions: []client.Option{client.WithStartTimeout(0)}}
	if d != nil {
		args = append([]string{"--socket", d.Socket}, args...)
	}
	code := a.run(t.Context(), args)
	return result{code, stdout.String(), stderr.String()}
}

func TestCommands(t *testing.T) {
	d, digest := start(t)
	const tiny = "localhost:5000/team/tiny:v1"
	d.Tag(tiny, fstest.MapFS{"one": {Data: []byte("x")}})
	for _, row := range []struct {
		args string
		want []string // stdout holds these; a lone string that ends in a newline is all of it
	}{
		{"pull " + ref, []string{"localhost:5000/team/assets@" + digest, "files", " 6\n", "31 B", "ref from cache, manifest from cache"}},
		{"pull --all " + ref, []string{"fetched", "6 files, 31 B"}},
		{"ls " + ref, []string{"bin/\ncss/\nhello.txt\nodd\nname\nworld.txt\n"}},
		{"ls " + ref + " css", []string{"a.css\ndeep/\n"}},
		{"ls " + ref + " css/a.css", []string{"css/a.css\n"}},
		{"ls -R " + ref, []string{"bin/\nbin/tool\ncss/\ncss/a.css\ncss/deep/\ncss/deep/b.css\nhello.txt\nodd\nname\nworld.txt\n"}},
		{"ls -R " + ref + " /css/", []string{"css/a.css\ncss/deep/\ncss/deep/b.css\n"}},
		{"ls -l " + ref + " bin", []string{"-rwxr-xr-x           10  2024-05-06T07:08:09Z  tool\n"}},
		{"cat " + ref + " hello.txt", []string{"hello\n"}},
		{"cat " + ref + " hello.txt world.txt", []string{"hello\nworld\n"}},
		{"cat --offset 2 --length 3 " + ref + " hello.txt world.txt", []string{"llorld"}},
		{"cat --offset 2 " + ref + " hello.txt", []string{"llo\n"}},
		{"stat " + ref, []string{digest, "31 B"}},
		{"stat " + ref + " bin/tool", []string{"10 B (10 bytes)", "-rwxr-xr-x (0755)", "2024-05-06T07:08:09Z", "sha256:"}},
		{"stat " + tiny + " one", []string{"one", "1 B (1 byte)"}},
		{"stat " + ref + " css", []string{"path  css\ntype  directory\n"}},
		{"manifest " + ref, []string{string(clienttest.Manifest(digest))}},
		{"prefetch " + ref, []string{"6 files, 31 B\n"}},
		{"prefetch " + ref + " css *.txt", []string{"4 files, 18 B\n"}},
		{"cp " + ref + ":/hello.txt -", []string{"hello\n"}},
		{"healthcheck", []string{"serving\n"}},
		{"version", []string{"blobd ", "go1."}},
	} {
		t.Run(row.args, func(t *testing.T) {
			got := blobd(t, d, strings.Fields(row.args)...)
			if got.code != 0 || got.stderr != "" {
				t.Fatalf("exit %d, stderr %q", got.code, got.stderr)
			}
			if len(row.want) == 1 && got.stdout != row.want[0] {
				t.Errorf("got %q, want %q", got.stdout, row.want[0])
			}
			for _, want := range row.want {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("%q is not in %q", want, got.stdout)
				}
			}
		})
	}
}

func TestJSON(t *testing.T) {
	d, digest := start(t)
	decode := func(args ...string) (lines []map[string]any) {
		t.Helper()
		got := blobd(t, d, append([]string{"-o", "json"}, args...)...)
		if got.code != 0 || got.stderr != "" {
			t.Fatalf("%v: exit %d, stderr %q", args, got.code, got.stderr)
		}
		for dec := json.NewDecoder(strings.NewReader(got.stdout)); dec.More(); {
			var v map[string]any
			if err := dec.Decode(&v); err != nil {
				t.Fatalf("%v: %v in %q", args, err, got.stdout)
			}
			lines = append(lines, v)
		}
		return lines
	}
	if v := decode("pull", ref)[0]; v["digest"] != digest || v["files"] != 6.0 || v["size"] != 31.0 || v["stale"] != false {
		t.Errorf("pull: %v", v)
	}
	if v := decode("ls", "-R", ref); len(v) != 9 || v[1]["path"] != "bin/tool" || v[1]["mode"] != "0755" || v[2]["type"] != "directory" {
		t.Errorf("ls -R: %v", v)
	}
	if v := decode("stat", ref, "hello.txt")[0]; v["size"] != 6.0 || v["modified"] != "2024-05-06T07:08:09Z" {
		t.Errorf("stat: %v", v)
	}
	if v := decode("healthcheck")[0]; v["status"] != "serving" {
		t.Errorf("healthcheck: %v", v)
	}
	if v := decode("version")[0]; v["version"] == "" {
		t.Errorf("version: %v", v)
	}
}

// Each bad input is one line that says what and what to do, with its exit code.
func TestBadInput(t *testing.T) {
	d, _ := start(t)
	none := filepath.Join(t.TempDir(), "none.sock")
	for name, row := range map[string]struct {
		args string
		code int
		want []string
	}{
		"unknown file":      {"cat " + ref + " nope", exitNotFound, []string{"nope", "; "}},
		"folder as a file":  {"cat " + ref + " css", exitUsage, []string{"css: is a folder; "}},
		"no such artifact":  {"pull localhost:5000/none:v1", exitNotFound, []string{"localhost:5000/none:v1", "; "}},
		"offset past end":   {"cat --offset 1KiB " + ref + " hello.txt", exitUsage, []string{"hello.txt", "past its end"}},
		"path that leaves":  {"cat " + ref + " ../x", exitUsage, []string{`"../x"`, "; "}},
		"source that does":  {"cp " + ref + ":/a/../../b .", exitUsage, []string{"no path inside an archive"}},
		"no argument":       {"cat", exitUsage, []string{"cat: got 0 arguments, takes REF PATH…; see `blobd cat --help`"}},
		"one too few":       {"cat " + ref, exitUsage, []string{"cat: got 1 argument, takes REF PATH…"}},
		"one too many":      {"cache path x", exitUsage, []string{"cache path: got 1 argument, takes none"}},
		"unknown command":   {"pul", exitUsage, []string{`unknown command "pul": did you mean pull; see`}},
		"unknown of cache":  {"cache frobnicate", exitUsage, []string{`cache: unknown command "frobnicate"`}},
		"unknown flag":      {"ls --frob " + ref, exitUsage, []string{"ls: unknown flag: --frob; see `blobd ls --help`"}},
		"bad duration":      {"pull --max-age soon " + ref, exitUsage, []string{`"soon" is not a duration`}},
		"negative duration": {"pull --max-age -1s " + ref, exitUsage, []string{`"-1s" is not a duration`}},
		"bad size":          {"cat --offset many " + ref + " x", exitUsage, []string{"many"}},
		"negative offset":   {"cat --offset -1 " + ref + " x", exitUsage, []string{`"-1" is not a size; write 0 or more bytes`}},
		"endless offset":    {"cat --offset 9223372036854775808 " + ref + " x", exitUsage, []string{"less than 8 EiB"}},
		"bad output":        {"-o yaml version", exitUsage, []string{`"yaml" is neither text nor json`}},
		"no daemon":         {"--socket " + none + " pull " + ref, exitUnreachable, []string{none, "; start one with `blobd serve`"}},
		"no daemon, health": {"--socket " + none + " healthcheck", exitUnreachable, []string{none}},
		"no daemon, life":   {"--socket " + none + " healthcheck --live", exitUnreachable, []string{none}},
		"no admin":          {"status", exitDenied, []string{"admin", "; "}},
		"no admin, path":    {"cache path", exitDenied, []string{"admin", "; "}},
		"folder to stdout":  {"cp " + ref + " -", exitUsage, []string{"a folder can't go to stdout"}},
		"no such folder":    {"cp " + ref + ":/hello.txt /nowhere/at/all/x", exitOther, []string{"there is no folder"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := blobd(t, d, strings.Fields(row.args)...)
			if got.code != row.code {
				t.Errorf("exit %d, want %d", got.code, row.code)
			}
			if got.stdout != "" {
				t.Errorf("stdout holds %q", got.stdout)
			}
			if !strings.HasPrefix(got.stderr, "blobd: ") || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("not one line: %q", got.stderr)
			}
			for _, want := range append(row.want, "") {
				if !strings.Contains(got.stderr, want) {
					t.Errorf("%q is not in %q", want, got.stderr)
				}
			}
			if strings.Contains(got.stderr, "rpc") || strings.Contains(got.stderr, "desc =") {
				t.Errorf("gRPC speaks: %q", got.stderr)
			}
		})
	}
}

func TestErrorsAsJSON(t *testing.T) {
	d, _ := start(t)
	got := blobd(t, d, "-o", "json", "cat", ref, "nope")
	var v struct{ Error failure }
	if err := json.Unmarshal([]byte(got.stderr), &v); err != nil {
		t.Fatalf("%v in %q", err, got.stderr)
	}
	if v.Error.Exit != exitNotFound || got.code != exitNotFound || v.Error.Reason != "FILE_UNKNOWN" ||
		v.Error.Message == "" || v.Error.Remedy == "" {
		t.Errorf("got %+v", v.Error)
	}
}

// What a message holds can neither break its line nor reach the terminal.
func TestErrorIsOneLine(t *testing.T) {
	d, _ := start(t)
	d.Before = func(clienttest.Call) error {
		return clienttest.Status(codes.DataLoss, "INDEX_INVALID", "two\nlines\x1b[31m", "", 0)
	}
	got := blobd(t, d, "pull", ref)
	if got.stderr != "blobd: two lines [31m\n" || got.code != exitIntegrity {
		t.Errorf("exit %d, %q", got.code, got.stderr)
	}
}

// A cat of many files stays with the digest it resolved, even when the tag moves midway.
func TestCatStaysWithItsDigest(t *testing.T) {
	d, _ := start(t)
	moved := tree()
	moved["world.txt"] = &fstest.MapFile{Data: []byte("moved\n")}
	d.AfterData = func(clienttest.Call) error { d.Tag(ref, moved); return nil }
	if got := blobd(t, d, "cat", ref, "hello.txt", "world.txt"); got.stdout != "hello\nworld\n" {
		t.Errorf("got %q", got.stdout)
	}
	pulls := 0
	for _, c := range d.Calls() {
		if c.Method == "Pull" {
			pulls++
		}
	}
	if pulls != 1 {
		t.Errorf("%d pulls", pulls)
	}
}

func TestCatOfWrongBytesFails(t *testing.T) {
	d, _ := start(t)
	d.AfterData = func(clienttest.Call) error {
		return clienttest.Status(codes.DataLoss, "DIGEST_MISMATCH", "hello.txt: not what the index says", "", 0)
	}
	got := blobd(t, d, "cat", ref, "hello.txt", "world.txt")
	if got.code != exitIntegrity || got.stdout != "hello\n" || got.stderr != "blobd: hello.txt: not what the index says\n" {
		t.Errorf("got %+v", got)
	}
}

func TestHealthcheckOfADrainingDaemon(t *testing.T) {
	d, _ := start(t)
	d.Health.Shutdown()
	got := blobd(t, d, "healthcheck")
	if got.code != exitUnreachable || got.stdout != "" || got.stderr != "blobd: the daemon is not serving; see its log\n" {
		t.Errorf("got %+v", got)
	}
	if got := blobd(t, d, "healthcheck", "--live"); got.code != exitOK || got.stdout != "not serving\n" || got.stderr != "" {
		t.Errorf("--live: got %+v", got)
	}
}

func TestStalenessIsSaid(t *testing.T) {
	d, digest := start(t)
	d.Stale = 2 * time.Hour
	want := "blobd: the registry can't be had; this is what the tag was 2h ago: " + digest + "\n"
	for _, args := range []string{"ls " + ref, "cat " + ref + " hello.txt", "manifest " + ref, "cp " + ref + ":/hello.txt -", "prefetch " + ref} {
		if got := blobd(t, d, strings.Fields(args)...); got.code != 0 || got.stderr != want {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := blobd(t, d, "pull", ref); !strings.Contains(got.stdout, "2h ago: stale") {
		t.Errorf("pull: %+v", got)
	}
}

func TestInterrupted(t *testing.T) {
	d, _ := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan struct{})
	d.Before = func(clienttest.Call) error {
		close(entered)
		<-ctx.Done()
		return nil
	}
	go func() { <-entered; cancel() }()
	var stdout, stderr bytes.Buffer
	a := &app{stdout: &stdout, stderr: &stderr}
	if code := a.run(ctx, []string{"--socket", d.Socket, "pull", ref}); code != exitOther || stderr.String() != "blobd: interrupted\n" {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
}

// Nobody reads stdout any more: that is no error to talk about.
func TestClosedPipe(t *testing.T) {
	d := clienttest.Start(t)
	d.Tag(ref, fstest.MapFS{"big": {Data: make([]byte, 8<<20)}})
	for _, args := range [][]string{{"cat", ref, "big"}, {"ls", ref}, {"pull", ref}, {"manifest", ref}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		var stderr bytes.Buffer
		a := &app{stdout: w, stderr: &stderr}
		if code := a.run(t.Context(), append([]string{"--socket", d.Socket}, args...)); code != exitPipe || stderr.Len() > 0 {
			t.Errorf("%v: exit %d, stderr %q", args, code, stderr.String())
		}
		w.Close()
	}
}

func TestReadFlagsArrive(t *testing.T) {
	for _, args := range []string{
		"pull", "ls", "stat", "manifest", "prefetch", "cat %s hello.txt", "cp %s:/hello.txt -",
	} {
		d, _ := start(t)
		if !strings.Contains(args, "%s") {
			args += " %s"
		}
		line := strings.Fields(strings.Replace(args, "%s", ref, 1))
		got := blobd(t, d, append([]string{line[0], "--no-cache", "--max-age", "0", "--require-fresh"}, line[1:]...)...)
		if got.code != 0 {
			t.Errorf("%v: %+v", line, got)
			continue
		}
		if o := d.Calls()[0].Options; !o.GetNoCache() || o.MaxAge == nil || !o.GetRequireFresh() {
			t.Errorf("%v: the daemon got %v", line, o)
		}
	}
	d, _ := start(t)
	blobd(t, d, "cat", "--require-verified", ref, "hello.txt")
	if calls := d.Calls(); !calls[len(calls)-1].Options.GetRequireVerified() {
		t.Errorf("cat --require-verified: the daemon got %v", calls)
	}
}

// fakeAdmin answers as a daemon whose cache is half full would.
type fakeAdmin struct {
	blobdv1.UnimplementedAdminServiceServer
	pruned  *blobdv1.PruneRequest
	cleared *blobdv1.ClearRequest
}

func (*fakeAdmin) Status(context.Context, *blobdv1.StatusRequest) (*blobdv1.StatusResponse, error) {
	return &blobdv1.StatusResponse{
		Version: "v1", Pid: 42, Started: timestamppb.Now(), Socket: "/s", CacheDir: "/c", Bytes: 5 << 20, Limit: 10 << 20,
		DiskFree: 1 << 30, MinFree: 1 << 20, Problems: []string{"the disk is full"}, Config: "socket: /s\n",
		Caches: []*blobdv1.CacheStatus{{Name: "content", Path: "/c/content", Enabled: true, Bytes: 5 << 20, Limit: 10 << 20, Entries: 3}},
	}, nil
}

func (*fakeAdmin) ListArtifacts(
	_ *blobdv1.ListArtifactsRequest, s grpc.ServerStreamingServer[blobdv1.ListArtifactsResponse],
) error {
	for range 2 {
		a := &blobdv1.Artifact{
			Registry: "localhost:5000", Repository: "team/assets", Digest: "sha256:" + strings.Repeat("ab", 32), Tags: []string{"v1"},
			Files: 6, Size: 31, Cached: 31, Pinned: true, LastUsed: timestamppb.New(time.Now().Add(-2 * time.Hour)),
		}
		if err := s.Send(&blobdv1.ListArtifactsResponse{Artifacts: []*blobdv1.Artifact{a}}); err != nil {
			return err
		}
	}
	return nil
}

func (a *fakeAdmin) Prune(_ context.Context, r *blobdv1.PruneRequest) (*blobdv1.PruneResponse, error) {
	a.pruned = r
	return &blobdv1.PruneResponse{
		FreedEntries: 3, FreedBytes: 3 << 20, Bytes: 2 << 20,
		Kept: []*blobdv1.Kept{{Reason: "pinned", Entries: 1, Bytes: 1 << 20}},
	}, nil
}

func (a *fakeAdmin) Clear(_ context.Context, r *blobdv1.ClearRequest) (*blobdv1.ClearResponse, error) {
	a.cleared = r
	return &blobdv1.ClearResponse{
		FreedEntries: 1, FreedBytes: 1 << 10, Kept: []*blobdv1.Kept{{Reason: "in use", Entries: 2, Bytes: 2 << 10}},
	}, nil
}

func (*fakeAdmin) Remove(_ context.Context, r *blobdv1.RemoveRequest) (*blobdv1.RemoveResponse, error) {
	if r.GetReference() != ref {
		return nil, clienttest.Status(codes.NotFound, "ARTIFACT_UNKNOWN", r.GetReference()+" is not cached", "", 0)
	}
	return &blobdv1.RemoveResponse{Digest: "sha256:ab", FreedEntries: 2, FreedBytes: 31}, nil
}

func (*fakeAdmin) Verify(_ *blobdv1.VerifyRequest, s grpc.ServerStreamingServer[blobdv1.VerifyResponse]) error {
	bad := []*blobdv1.Corruption{{Cache: "content", Key: "sha256:cd", Why: "a bit is flipped"}}
	if err := s.Send(&blobdv1.VerifyResponse{EntriesDone: 1, EntriesTotal: 2, BytesDone: 10, Corruptions: bad}); err != nil {
		return err
	}
	return s.Send(&blobdv1.VerifyResponse{EntriesDone: 2, EntriesTotal: 2, BytesDone: 20, Done: true})
}

func (*fakeAdmin) Pin(_ context.Context, r *blobdv1.PinRequest) (*blobdv1.PinResponse, error) {
	if r.GetReference() != ref {
		return nil, clienttest.Status(codes.FailedPrecondition, "PIN_BUDGET", "pins would take 11 GiB of 10 GiB", "unpin something", 0)
	}
	res := &blobdv1.Resolution{Reference: "localhost:5000/team/assets@sha256:ab", Digest: "sha256:ab"}
	return &blobdv1.PinResponse{Resolution: res, Size: 2 << 20, Cached: 1 << 20}, nil
}

func (*fakeAdmin) Unpin(context.Context, *blobdv1.UnpinRequest) (*blobdv1.UnpinResponse, error) {
	return &blobdv1.UnpinResponse{Digest: "sha256:ab"}, nil
}

func TestAdminCommands(t *testing.T) {
	d, _ := start(t)
	service := new(fakeAdmin)
	d.SetAdmin(service)
	for _, row := range []struct {
		args   string
		code   int
		stdout []string
		stderr string
	}{
		{"status", 0, []string{"version", "v1", "pid", "42", "problem: the disk is full", "5.0 MiB of 10 MiB", "content"}, ""},
		{"cache status", 0, []string{"/c", "content", "5.0 MiB", "/c/content"}, ""},
		{"cache path", 0, []string{"/c\n"}, ""},
		{"cache ls", 0, []string{"REPOSITORY", "localhost:5000/team/assets  v1    sha256:abababababab  6", "2h ago", "pinned"}, ""},
		{"cache prune --target 2MiB --unused-for 1h --dry-run", 0,
			[]string{"would free 3 entries, 3.0 MiB\nkept 1 entry, 1.0 MiB: pinned (end a pin with `blobd unpin`)\nleft 2.0 MiB\n"}, ""},
		{"cache clear content block", 0, []string{"freed 1 entry, 1.0 KiB\nkept 2 entries, 2.0 KiB: in use by readers now\n"}, ""},
		{"cache rm " + ref, 0, []string{"removed sha256:ab\nfreed 2 entries, 31 B\n"}, ""},
		{"cache rm other:v1", exitNotFound, nil, "other:v1 is not cached"},
		{"cache verify", exitIntegrity, []string{"dropped content sha256:cd: a bit is flipped\nverified 2 entries, 20 B\n"}, "1 entry bad on disk"},
		{"pin " + ref, 0, []string{"pinned localhost:5000/team/assets@sha256:ab: 2.0 MiB when all of it is cached, 1.0 MiB now\n"}, ""},
		{"pin other:v1", exitIntegrity, nil, "pins would take 11 GiB of 10 GiB; unpin something"},
		{"unpin " + ref, 0, []string{"unpinned sha256:ab\n"}, ""},
	} {
		t.Run(row.args, func(t *testing.T) {
			got := blobd(t, d, strings.Fields(row.args)...)
			if got.code != row.code || (got.stderr == "") != (row.stderr == "") || !strings.Contains(got.stderr, row.stderr) {
				t.Fatalf("exit %d, stderr %q", got.code, got.stderr)
			}
			for _, want := range row.stdout {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("%q is not in %q", want, got.stdout)
				}
			}
			// With -o json each line of stdout is an object.
			got = blobd(t, d, append([]string{"-o", "json"}, strings.Fields(row.args)...)...)
			for dec := json.NewDecoder(strings.NewReader(got.stdout)); dec.More(); {
				var v map[string]any
				if err := dec.Decode(&v); err != nil {
					t.Fatalf("%v in %q", err, got.stdout)
				}
			}
		})
	}
	if r := service.pruned; r.GetTarget() != 2<<20 || r.GetUnusedFor().AsDuration() != time.Hour || !r.GetDryRun() {
		t.Errorf("prune asked for %v", r)
	}
	if got := service.cleared.GetCaches(); len(got) != 2 || got[0] != "content" || got[1] != "block" {
		t.Errorf("clear asked for %v", got)
	}
}

func TestPruneTarget(t *testing.T) {
	d, _ := start(t)
	service := new(fakeAdmin)
	d.SetAdmin(service)
	for args, want := range map[string]int64{"": 0, "--target 0": 1, "--target 0B": 1, "--unused-for 1h": 0, "--target 3KiB": 3 << 10} {
		if got := blobd(t, d, strings.Fields("cache prune "+args)...); got.code != 0 || service.pruned.GetTarget() != want {
			t.Errorf("%q asks for %d, want %d: %+v", args, service.pruned.GetTarget(), want, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	d, _ := start(t)
	for name, row := range map[string]struct {
		service blobdv1.AdminServiceServer
		args    []string
		want    string
	}{
		"reference":        {new(fakeAdmin), []string{"pull", "local"}, "localhost:5000/team/assets:v1\n"},
		"another":          {new(fakeAdmin), []string{"pull", "ghcr.io/"}, ":4\n"},
		"path":             {new(fakeAdmin), []string{"ls", ref, ""}, ":4\n"},
		"source of cp":     {new(fakeAdmin), []string{"cp", ""}, "localhost:5000/team/assets:v1\n"},
		"place of cp":      {new(fakeAdmin), []string{"cp", ref, ""}, ":0\n"},
		"no right to list": {nil, []string{"pull", ""}, ":4\n"},
		"cache":            {nil, []string{"cache", "clear", "co"}, "content\n"},
	} {
		d.SetAdmin(row.service)
		args := append([]string{"__complete", row.args[0], "--socket", d.Socket}, row.args[1:]...)
		got := blobd(t, nil, args...)
		if got.code != 0 || !strings.HasPrefix(got.stdout, row.want) {
			t.Errorf("%s: got %+v, want %q", name, got, row.want)
		}
	}
}

// Every command says what it does, and all but the groups show how.
func TestEveryCommandHasHelp(t *testing.T) {
	root := newRootCommand(&app{})
	for _, cmd := range root.Commands() {
		for _, c := range append(cmd.Commands(), cmd) {
			switch {
			case c.Name() == "help" || c.Name() == "completion" || c.Parent().Name() == "completion":
			case c.Short == "":
				t.Errorf("%s says nothing", c.CommandPath())
			case !c.HasSubCommands() && c.Example == "":
				t.Errorf("%s shows no example", c.CommandPath())
			}
		}
	}
	if got := blobd(t, nil, "--help"); got.code != 0 || !strings.Contains(got.stdout, "Exit codes:") {
		t.Errorf("--help: %+v", got)
	}
	if got := blobd(t, nil, "completion", "bash"); got.code != 0 || !strings.Contains(got.stdout, "blobd") {
		t.Errorf("completion: %+v", got)
	}
}
