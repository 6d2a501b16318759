package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blobd/blobd/client/clienttest"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/registrytest"
)

// With --no-cache, files that share a block of the archive cost one request together, and nothing comes out of the cache
// that was there before the command.
func TestNoCacheFetchesOnce(t *testing.T) {
	var all []archivetest.File
	var some []string
	for i := range 20 {
		path := fmt.Sprintf(`a[b*?\/%02d`, i)
		all = append(all, archivetest.File{Path: path, Data: fmt.Appendf(nil, "%d", i)})
		if i%4 == 0 {
			some = append(some, path)
		}
	}
	r := registrytest.New(t, registrytest.Options{})
	if _, err := archivetest.PushFiles(t.Context(), r.PushHost(), "team/app:v1", all, archivetest.Options{}); err != nil {
		t.Fatal(err)
	}
	ref, td := r.Host()+"/team/app:v1", startTest(t, shortDir(t), "")
	dest := t.TempDir()
	for name, args := range map[string][]string{
		"cat of one":     {"cat", "--no-cache", ref, some[0]},
		"cat of several": append([]string{"cat", "--no-cache", ref}, some...),
		"cp of all":      {"cp", "--force", "--no-cache", ref, filepath.Join(dest, "all")},
		"cp of a folder": {"cp", "--force", "--no-cache", ref + `:/a[b*?\`, filepath.Join(dest, "folder")},
		"cp of a file":   {"cp", "--force", "--no-cache", ref + ":/" + some[0], filepath.Join(dest, "file")},
	} {
		for range 2 { // cold and warm
			r.Reset()
			var stdout, stderr strings.Builder
			if exit := run(t.Context(), append(args, "--socket", td.socket), &stdout, &stderr); exit != 0 {
				t.Fatalf("%s: exit %d, %s", name, exit, stderr.String())
			}
			if got := r.Counts(); got.Range != 1 {
				t.Errorf("%s: %+v, want 1 range", name, got)
			}
		}
	}
	var stdout, stderr strings.Builder
	exit := run(t.Context(), []string{"cat", "--no-cache", ref, some[0], "nope", "--socket", td.socket}, &stdout, &stderr)
	if exit != exitNotFound || stdout.String() != "0" || strings.Contains(stderr.String(), "pattern") {
		t.Errorf("a file that is not there: exit %d, %q, %s", exit, stdout.String(), stderr.String())
	}
	if got := files(t, dest); len(got) != 41 {
		t.Errorf("copied %d files", len(got))
	}
}

// The files are read from the digest that was fetched, without being fetched again.
func TestNoCacheReadsWhatItFetched(t *testing.T) {
	d, digest := start(t)
	if got := blobd(t, d, "cat", "--no-cache", "--require-verified", ref, "hello.txt", "world.txt"); got.stdout != "hello\nworld\n" {
		t.Fatalf("%+v", got)
	}
	var reads []clienttest.Call
	for _, c := range d.Calls() {
		switch {
		case c.Method == "ReadFile":
			reads = append(reads, c)
		case c.Method == "Prefetch" && !c.Options.GetNoCache():
			t.Error("the prefetch does not fetch anew")
		}
	}
	if len(reads) != 2 || slices.ContainsFunc(reads, func(c clienttest.Call) bool {
		return !strings.HasSuffix(c.Reference, digest) || c.Options.GetNoCache() || !c.Options.GetRequireVerified()
	}) {
		t.Errorf("reads: %v", reads)
	}
}
