package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/pullthrough"
)

// all receives a stream to its end.
func all[T any](stream interface{ Recv() (*T, error) }, err error) ([]*T, error) {
	var out []*T
	for err == nil {
		var m *T
		if m, err = stream.Recv(); err == nil {
			out = append(out, m)
		}
	}
	if err == io.EOF {
		err = nil
	}
	return out, err
}

func TestPull(t *testing.T) {
	d := newDomain(t, map[string][]byte{"a": []byte("123"), "b/c": []byte("4567")})
	var principal string
	var options pullthrough.Options
	d.pull = func(_ context.Context, p string, o pullthrough.Options) error {
		principal, options = p, o
		return nil
	}
	r := start(t, d, nil)
	m, err := r.Pull(t.Context(), &blobdv1.PullRequest{Reference: ref, Options: &blobdv1.ReadOptions{
		NoCache: true, MaxAge: durationpb.New(0), RequireFresh: true, RequireVerified: true,
	}})
	if err != nil {
		t.Fatal(err)
	}
	sum := digest.FromString("manifest").String()
	want := &blobdv1.PullResponse{
		Resolution: &blobdv1.Resolution{
			Reference: "registry.example/a/b@" + sum, Digest: sum, MediaType: "m", ArtifactType: "t",
			Stale: true, Age: durationpb.New(90 * time.Second), Steps: []*blobdv1.Step{{Step: "ref", Source: "cache"}},
		},
		Files: 2, Size: 7, StoredSize: 77,
	}
	if !proto.Equal(m, want) {
		t.Errorf("got  %v\nwant %v", m, want)
	}
	if !strings.HasPrefix(principal, "uid:") {
		t.Errorf("principal %q", principal)
	}
	if !options.NoCache || options.MaxAge == nil || *options.MaxAge != 0 || !options.RequireFresh || !options.RequireVerified {
		t.Errorf("options %+v", options)
	}
	if _, err := r.Pull(t.Context(), &blobdv1.PullRequest{}); err != nil || options != (pullthrough.Options{}) {
		t.Errorf("options %+v, %v; want none", options, err)
	}
	_, err = r.Pull(t.Context(), &blobdv1.PullRequest{Options: &blobdv1.ReadOptions{MaxAge: durationpb.New(-1)}})
	wantStatus(t, "a negative age", err, codes.InvalidArgument, fault.InvalidArgument)
	_, err = r.Pull(t.Context(), &blobdv1.PullRequest{
		Options: &blobdv1.ReadOptions{MaxAge: &durationpb.Duration{Seconds: 1 << 60}},
	})
	wantStatus(t, "an age that is none", err, codes.InvalidArgument, fault.InvalidArgument)
}

func TestStat(t *testing.T) {
	r := start(t, newDomain(t, map[string][]byte{"b/c": []byte("4567")}), nil)
	for path, want := range map[string]*blobdv1.Entry{
		"":  {Path: ".", Directory: true, Mode: 0o755},
		".": {Path: ".", Directory: true, Mode: 0o755},
		"b": {Path: "b", Directory: true, Mode: 0o755},
		"b/c": {
			Path: "b/c", Size: 4, Mode: 0o640, Uid: 7, Gid: 8, Encoding: "zstd",
			Digest: digest.FromString("4567").String(),
		},
	} {
		m, err := r.Stat(t.Context(), &blobdv1.StatRequest{Reference: ref, Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if !want.Directory {
			if at := m.Entry.GetModified().AsTime(); at.UnixNano() != 1_700_000_000_000_000_001 {
				t.Errorf("%q: modified %s", path, at)
			}
			m.Entry.Modified = nil
		}
		if !proto.Equal(m.Entry, want) || m.Resolution.GetDigest() == "" {
			t.Errorf("%q: %v", path, m)
		}
	}
	_, err := r.Stat(t.Context(), &blobdv1.StatRequest{Path: "nope"})
	wantStatus(t, "missing", err, codes.NotFound, fault.FileUnknown)
}

func TestList(t *testing.T) {
	r := start(t, newDomain(t, map[string][]byte{"a": nil, "b/c": nil, "b/d/e": nil, "f": nil}), nil)
	for _, c := range []struct {
		path      string
		recursive bool
		want      string
	}{
		{"", false, "a b/ f"},
		{"", true, "a b/ b/c b/d/ b/d/e f"},
		{"b", false, "b/c b/d/"},
		{"b", true, "b/c b/d/ b/d/e"},
	} {
		msgs, err := all(r.List(t.Context(), &blobdv1.ListRequest{Path: c.path, Recursive: c.recursive}))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, m := range msgs {
			if (m.Resolution != nil) != (i == 0) {
				t.Errorf("%q: message %d: resolution %v", c.path, i, m.Resolution)
			}
			for _, e := range m.Entries {
				if e.Directory {
					e.Path += "/"
				}
				got = append(got, e.Path)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q recursive %v: %v, want %s", c.path, c.recursive, got, c.want)
		}
	}
	for path, reason := range map[string]fault.Reason{"a": fault.NotDirectory, "x": fault.FileUnknown, "/": fault.InvalidPath} {
		for _, recursive := range []bool{false, true} {
			_, err := all(r.List(t.Context(), &blobdv1.ListRequest{Path: path, Recursive: recursive}))
			code := codes.InvalidArgument
			if reason == fault.FileUnknown {
				code = codes.NotFound
			}
			wantStatus(t, path, err, code, reason)
		}
	}
}

func TestListOfAnEmptyArchive(t *testing.T) {
	r := start(t, newDomain(t, nil), nil)
	for _, recursive := range []bool{false, true} {
		msgs, err := all(r.List(t.Context(), &blobdv1.ListRequest{Recursive: recursive}))
		if err != nil || len(msgs) != 1 || msgs[0].Resolution == nil || len(msgs[0].Entries) != 0 {
			t.Errorf("%v, %v", msgs, err)
		}
	}
}

// A listing that is longer than any message comes whole, in order, in small messages.
func TestListOfManyFiles(t *testing.T) {
	const n = 50_000
	files := make(map[string][]byte, n)
	for i := range n {
		files[fmt.Sprintf("dir/%02d/file-%06d", i%100, i)] = nil
	}
	r := start(t, newDomain(t, files), nil)
	stream, err := r.List(t.Context(), &blobdv1.ListRequest{Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	messages, found, last := 0, 0, ""
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(m); size > 512<<10 {
			t.Fatalf("a message of %d bytes", size)
		}
		messages++
		for _, e := range m.Entries {
			if !e.Directory {
				found++
			}
			if slices.Compare(strings.Split(last, "/"), strings.Split(e.Path, "/")) >= 0 {
				t.Fatalf("%s after %s", e.Path, last)
			}
			last = e.Path
		}
	}
	if found != n || messages < 10 {
		t.Errorf("%d files in %d messages", found, messages)
	}
}

func TestFetchManifest(t *testing.T) {
	r := start(t, newDomain(t, nil), nil)
	m, err := r.FetchManifest(t.Context(), &blobdv1.FetchManifestRequest{Reference: ref})
	if err != nil || string(m.Manifest) != "{}" || m.Resolution.GetDigest() == "" {
		t.Errorf("%v, %v", m, err)
	}
}

func TestPrefetch(t *testing.T) {
	d := newDomain(t, map[string][]byte{"f": nil})
	d.prefetch = func(_ context.Context, progress func(pullthrough.Progress)) error {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for i := range int64(1000) {
					progress(pullthrough.Progress{FilesDone: i, FilesTotal: 1000})
				}
			})
		}
		wg.Wait()
		progress(pullthrough.Progress{FilesDone: 1000, FilesTotal: 1000, BytesDone: 5, BytesTotal: 5, FilesUnkept: 2})
		return nil
	}
	r := start(t, d, nil)
	msgs, err := all(r.Prefetch(t.Context(), &blobdv1.PrefetchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if msgs[0].Resolution == nil || len(msgs) > 100 {
		t.Errorf("%d messages, the first %v", len(msgs), msgs[0])
	}
	want := &blobdv1.PrefetchResponse{
		FilesDone: 1000, FilesTotal: 1000, BytesDone: 5, BytesTotal: 5, FilesUnkept: 2, Done: true,
	}
	for i, m := range msgs {
		if m.Done != (i == len(msgs)-1) {
			t.Errorf("message %d of %d: %v", i, len(msgs), m)
		}
	}
	if last := msgs[len(msgs)-1]; !proto.Equal(last, want) {
		t.Errorf("the last message: %v", last)
	}

	d.prefetch = func(context.Context, func(pullthrough.Progress)) error { return errors.New("broken") }
	msgs, err = all(r.Prefetch(t.Context(), &blobdv1.PrefetchRequest{}))
	wantStatus(t, "a failure", err, codes.Internal, fault.Internal)
	if slices.ContainsFunc(msgs, func(m *blobdv1.PrefetchResponse) bool { return m.Done }) {
		t.Error("a failure said that it was done")
	}
}

// Verify tells each finding once, however many there are.
func TestVerify(t *testing.T) {
	const n = 5000
	d := newDomain(t, nil)
	d.verify = func(progress func(done, total, bytes int64), found func(cache, key, why string)) error {
		for i := range n {
			found("content", fmt.Sprint(i), "cut")
		}
		progress(n, n, 9)
		return nil
	}
	r := start(t, d, nil)
	msgs, err := all(r.admin.Verify(t.Context(), &blobdv1.VerifyRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, m := range msgs {
		for _, c := range m.Corruptions {
			if seen[c.Key] {
				t.Fatalf("%s twice", c.Key)
			}
			seen[c.Key] = true
		}
		if m.Done != (i == len(msgs)-1) || len(m.Corruptions) > 1000 {
			t.Errorf("message %d of %d: done %v, %d corruptions", i, len(msgs), m.Done, len(m.Corruptions))
		}
	}
	last := msgs[len(msgs)-1]
	if len(seen) != n || last.EntriesDone != n || last.EntriesTotal != n || last.BytesDone != 9 {
		t.Errorf("%d findings; the last message: %d of %d", len(seen), last.EntriesDone, last.EntriesTotal)
	}
}

func TestListArtifacts(t *testing.T) {
	d := newDomain(t, nil)
	d.artifacts = make([]pullthrough.ArtifactInfo, 1001)
	for i := range d.artifacts {
		d.artifacts[i].Registry, d.artifacts[i].Files, d.artifacts[i].Cached = "r", int64(i), 7
	}
	r := start(t, d, nil)
	msgs, err := all(r.admin.ListArtifacts(t.Context(), &blobdv1.ListArtifactsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	next := int64(0)
	for _, m := range msgs {
		for _, a := range m.Artifacts {
			if a.Files != next || a.Registry != "r" || a.Cached != 7 {
				t.Fatalf("artifact %d: %v", next, a)
			}
			next++
		}
	}
	if next != 1001 {
		t.Errorf("%d artifacts", next)
	}
}

func TestAdminMessages(t *testing.T) {
	r := start(t, newDomain(t, nil), nil)
	p, err := r.admin.Prune(t.Context(), &blobdv1.PruneRequest{Target: 5, UnusedFor: durationpb.New(time.Minute)})
	if err != nil || p.FreedEntries != 1 || p.FreedBytes != 5 || p.Bytes != int64(time.Minute) {
		t.Errorf("Prune: %v, %v", p, err)
	}
	_, err = r.admin.Prune(t.Context(), &blobdv1.PruneRequest{Target: -1})
	wantStatus(t, "Prune below nothing", err, codes.InvalidArgument, fault.InvalidArgument)
	_, err = r.admin.Prune(t.Context(), &blobdv1.PruneRequest{UnusedFor: durationpb.New(-1)})
	wantStatus(t, "Prune of the future", err, codes.InvalidArgument, fault.InvalidArgument)
	_, err = r.admin.Remove(t.Context(), &blobdv1.RemoveRequest{Reference: ref})
	wantStatus(t, "Remove", err, codes.NotFound, fault.ArtifactUnknown)
	if m, err := r.admin.Pin(t.Context(), &blobdv1.PinRequest{Reference: ref}); err != nil || m.Size != 10 || m.Cached != 3 {
		t.Errorf("Pin: %v, %v", m, err)
	}
	if m, err := r.admin.Unpin(t.Context(), &blobdv1.UnpinRequest{}); err != nil || m.Digest != digest.FromString("x").String() {
		t.Errorf("Unpin: %v, %v", m, err)
	}
	if m, err := r.admin.Status(t.Context(), &blobdv1.StatusRequest{}); err != nil || m.Pid == 0 {
		t.Errorf("Status: %v, %v", m, err)
	}
	if _, err := r.admin.Clear(t.Context(), &blobdv1.ClearRequest{}); err != nil {
		t.Errorf("Clear: %v", err)
	}
}
