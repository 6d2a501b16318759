package publish_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/publish"
)

// quick are limits for registries that fail on purpose.
var quick = publish.Limits{RetryWait: time.Millisecond}

func newClient(t *testing.T, o publish.Options) *publish.Client {
	t.Helper()
	if o.Limits == (publish.Limits{}) {
		o.Limits = quick
	}
	c, err := publish.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// logins is a store with one login for host.
func logins(t *testing.T, host, user, password string) *credentials.Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "auth.json")
	text := fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, password)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := credentials.New(credentials.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ref(t *testing.T, s string) oci.Reference {
	t.Helper()
	r, err := oci.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// folder makes a folder of files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return string(b)
}

// awkward are files that a walk by folders and an order by bytes see differently, and of every kind of size.
func awkward() map[string]string {
	return map[string]string{
		"foo/a.txt": "a", "foo.txt": "dot", "foo-bar.txt": "dash", "foo/deep/er.bin": noise(300_000), "empty": "", "foo0": "0",
		"text": strings.Repeat("the same line again\n", 40_000), "ü": "umlaut", "one-block": strings.Repeat("x", 128<<10),
	}
}

// fetch gets a blob or manifest without any of our code.
func fetch(t *testing.T, host, path string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", strings.Join(oci.ManifestMediaTypes(), ","))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v %s", path, res.Status, err, raw)
	}
	return raw
}

// unpack reads an archive as the registry has it.
func unpack(t *testing.T, host, repository, name string) (files map[string]string, tree *archive.Tree, m oci.Manifest) {
	t.Helper()
	m, err := oci.ParseManifest("", fetch(t, host, repository+"/manifests/"+name))
	if err != nil {
		t.Fatal(err)
	}
	index, data, err := blobfmt.Layers(m)
	if err != nil {
		t.Fatal(err)
	}
	blob := func(d oci.Descriptor) []byte {
		raw := fetch(t, host, repository+"/blobs/"+d.Digest.String())
		if digest.FromBytes(raw) != d.Digest || int64(len(raw)) != d.Size {
			t.Fatalf("%d bytes for %+v", len(raw), d)
		}
		return raw
	}
	tree, err = blobfmt.Decode(blob(index), data, blobfmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	all, files := blob(data), map[string]string{}
	zr, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	for n := range tree.Walk(".") {
		if n.Dir {
			continue
		}
		e, err := tree.Lookup(n.Path)
		if err != nil {
			t.Fatal(err)
		}
		r := e.Locator.(archive.Range)
		raw := all[r.Offset : r.Offset+r.Length]
		if r.Codec == archive.Zstd {
			if raw, err = zr.DecodeAll(raw, nil); err != nil {
				t.Fatal(err)
			}
		}
		if digest.FromBytes(raw).Encoded() != fmt.Sprintf("%x", e.Sum) || int64(len(raw)) != e.Size {
			t.Errorf("%s is not what the index says", n.Path)
		}
		files[n.Path] = string(raw)
	}
	return files, tree, m
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s: %d bytes, want %d", name, len(got[name]), len(text))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

func TestPushArchive(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthNone, registrytest.AuthBasic, registrytest.AuthToken} {
		for _, compress := range []publish.Compression{publish.CompressNone, publish.CompressZstd, publish.CompressAuto} {
			t.Run(fmt.Sprint(auth, compress), func(t *testing.T) {
				reg := registrytest.New(t, registrytest.Options{Auth: auth})
				o := publish.Options{}
				if auth != registrytest.AuthNone {
					o.Credentials = logins(t, reg.Host(), "user", "secret")
				}
				files := awkward()
				dir := folder(t, files)
				if err := os.Chmod(filepath.Join(dir, "foo.txt"), 0o750); err != nil {
					t.Fatal(err)
				}
				at := time.Unix(1_600_000_000, 123)
				if err := os.Chtimes(filepath.Join(dir, "foo.txt"), at, at); err != nil {
					t.Fatal(err)
				}
				p, done, err := newClient(t, o).PushArchive(t.Context(), dir, ref(t, reg.Host()+"/acme/app:v1"), publish.ArchiveOptions{
					Compress: compress, Annotations: map[string]string{"k": "v"}, UploadOptions: publish.UploadOptions{Tags: []string{"latest"}},
				})
				if err != nil || done.Sent != 3 || p.Files != int64(len(files)) {
					t.Fatalf("%+v %+v %v", p, done, err)
				}
				got, tree, m := unpack(t, reg.PushHost(), "acme/app", "latest")
				same(t, got, files)
				if m.Annotations["k"] != "v" || m.Annotations[publish.AnnotationCreated] == "" {
					t.Errorf("annotations %v", m.Annotations)
				}
				if raw := fetch(t, reg.PushHost(), "acme/app/manifests/v1"); digest.FromBytes(raw) != done.Digest {
					t.Errorf("said %s", done.Digest)
				}
				e, _ := tree.Lookup("foo.txt")
				if e.Mode != 0o750 || !e.Time().Equal(at) || int(e.UID) != max(os.Geteuid(), 0) {
					t.Errorf("%+v", e)
				}
				codec := func(name string) archive.Codec {
					e, _ := tree.Lookup(name)
					return e.Locator.(archive.Range).Codec
				}
				stored, packed := codec("foo/deep/er.bin"), codec("text")
				if (stored == archive.Zstd) != (compress == publish.CompressZstd) || (packed == archive.Stored) != (compress == publish.CompressNone) {
					t.Errorf("noise is %v, text %v", stored, packed)
				}
			})
		}
	}
}

// What is there is not sent again, and what is in another repository is mounted.
func TestPushCounts(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	dir := folder(t, awkward())
	epoch := time.Unix(1_700_000_000, 0)
	push := func(name string, o publish.ArchiveOptions) (publish.Uploaded, map[string]int) {
		t.Helper()
		reg.Reset()
		o.Epoch = &epoch
		_, done, err := newClient(t, publish.Options{}).PushArchive(t.Context(), dir, ref(t, reg.Host()+"/"+name), o)
		if err != nil {
			t.Fatal(err)
		}
		methods := map[string]int{}
		for _, r := range reg.Requests() {
			methods[r.Method]++
		}
		return done, methods
	}
	first, methods := push("acme/app:v1", publish.ArchiveOptions{})
	if first.Sent != 3 || methods[http.MethodHead] != 3 || methods[http.MethodPost] != 3 || methods[http.MethodPut] != 4 || len(methods) != 3 {
		t.Errorf("first: %+v %v", first, methods)
	}
	again, methods := push("acme/app:v2", publish.ArchiveOptions{})
	if again.Present != 3 || again.Bytes != 0 || again.Digest != first.Digest || methods[http.MethodHead] != 3 || methods[http.MethodPut] != 1 || len(methods) != 2 {
		t.Errorf("again: %+v %v", again, methods)
	}
	other, methods := push("acme/other:v1", publish.ArchiveOptions{UploadOptions: publish.UploadOptions{MountFrom: []string{"acme/app"}}})
	if other.Mounted != 3 || other.Bytes != 0 || methods[http.MethodPost] != 3 || methods[http.MethodPut] != 1 {
		t.Errorf("mounted: %+v %v", other, methods)
	}
	third, _ := push("acme/third:v1", publish.ArchiveOptions{UploadOptions: publish.UploadOptions{MountFrom: []string{"acme/none", "acme/app"}}})
	if third.Mounted != 3 {
		t.Errorf("mounted from one of two: %+v", third)
	}
}

// The same files give the same digest, whatever their times, owners and the order in which they were made.
func TestPushReproducible(t *testing.T) {
	files := awkward()
	epoch := time.Unix(1_700_000_000, 0)
	c := newClient(t, publish.Options{})
	var digests []string
	for i := range 2 {
		dir := folder(t, files)
		for name := range files {
			at := time.Unix(int64(i+1)*900_000_000, 0)
			if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
				t.Fatal(err)
			}
		}
		p, err := c.Pack(t.Context(), dir, publish.ArchiveOptions{Compress: publish.CompressAuto, Epoch: &epoch})
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, string(p.Artifact().Manifest))
		p.Close()
	}
	if digests[0] != digests[1] {
		t.Errorf("%s\n%s", digests[0], digests[1])
	}
	if !strings.Contains(digests[0], `"2023-11-14T22:13:20Z"`) {
		t.Errorf("created: %s", digests[0])
	}
}

// An upload that breaks off goes on where the registry says, and otherwise begins anew; the result is right either way.
func TestPushResumes(t *testing.T) {
	files := map[string]string{"a": noise(200_000), "b": strings.Repeat("b", 3_000_000), "c": noise(2_000_000), "d": "d"}
	for _, c := range []struct {
		name  string
		fault func(n int32, r *http.Request) int // status to answer the n-th PUT or PATCH of a blob with after taking 1 MB; 0: none
		fail  fault.Reason
	}{
		{"cut", func(n int32, r *http.Request) int { return map[bool]int{true: -1}[n <= 2] }, ""},
		{"502", func(n int32, r *http.Request) int { return map[bool]int{true: 502}[n <= 2] }, ""},
		{"429", func(n int32, r *http.Request) int { return map[bool]int{true: 429}[n <= 2] }, ""},
		{"always 503", func(n int32, r *http.Request) int { return 503 }, fault.Upstream5xx},
		{"denied", func(n int32, r *http.Request) int { return 403 }, fault.UpstreamForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{})
			var n atomic.Int32
			reg.Fault(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut && r.Method != http.MethodPatch || !strings.Contains(r.URL.Path, "/blobs/uploads/") || r.ContentLength < 1_500_000 {
					return false
				}
				status := c.fault(n.Add(1), r)
				if status == 0 {
					return false
				}
				_, _ = io.CopyN(io.Discard, r.Body, 1_000_000)
				if status < 0 {
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(status)
				return true
			})
			_, done, err := newClient(t, publish.Options{}).PushArchive(t.Context(), folder(t, files),
				ref(t, reg.Host()+"/acme/app:v1"), publish.ArchiveOptions{})
			if c.fail != "" {
				if !errors.Is(err, c.fail) {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil || done.Sent != 3 {
				t.Fatalf("%+v %v", done, err)
			}
			got, _, _ := unpack(t, reg.PushHost(), "acme/app", "v1")
			same(t, got, files)
		})
	}
}

// A registry that says how far it got is believed: what it has is not sent again.
func TestPushGoesOn(t *testing.T) {
	const cut = 1_000_000
	body := []byte(noise(3_000_000))
	for _, zipped := range []bool{false, true} {
		reg := registrytest.New(t, registrytest.Options{})
		var mu sync.Mutex // guards kept: handlers run one after another, on connections of their own
		var kept bytes.Buffer
		var session atomic.Value // the path of the large blob's
		session.Store("")
		reg.Fault(func(w http.ResponseWriter, r *http.Request) bool {
			large := strings.Contains(r.URL.Path, "/blobs/uploads/") && r.ContentLength > 1_500_000
			if !(large && session.Load() == "") && r.URL.Path != session.Load() {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case r.Method == http.MethodPut && session.CompareAndSwap("", r.URL.Path):
				_, _ = io.CopyN(&kept, r.Body, cut)
				panic(http.ErrAbortHandler)
			case r.Method == http.MethodGet:
				w.Header().Set("Location", r.URL.Path)
				w.Header().Set("Range", fmt.Sprintf("0-%d", kept.Len()-1))
				w.WriteHeader(http.StatusNoContent)
			case r.Method == http.MethodPatch:
				if got := r.Header.Get("Content-Range"); !strings.HasPrefix(got, fmt.Sprintf("%d-", kept.Len())) {
					t.Errorf("goes on at %q", got)
				}
				_, _ = io.Copy(&kept, r.Body)
				w.Header().Set("Location", r.URL.Path+"?state=1")
				w.WriteHeader(http.StatusAccepted)
			case r.Method == http.MethodPut:
				if r.URL.Query().Get("digest") != digest.FromBytes(kept.Bytes()).String() || r.URL.Query().Get("state") != "1" {
					t.Errorf("ends with %s, and has %d bytes of another digest", r.URL, kept.Len())
				}
				w.WriteHeader(http.StatusCreated)
			default:
				return false
			}
			return true
		})
		compress := publish.CompressNone
		if zipped {
			compress = publish.CompressZstd
		}
		_, _, err := newClient(t, publish.Options{}).PushArchive(t.Context(),
			folder(t, map[string]string{"a": "a", "b": string(body), "c": "c", "d": string(body[:500_000])}),
			ref(t, reg.Host()+"/acme/app:v1"), publish.ArchiveOptions{Compress: compress})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A file that changes between the two times that it is read is an error that names it.
func TestPushOfAChangingFolder(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"bytes":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "b"), []byte("xyz"), 0o644) },
		"longer":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "b"), []byte("bbbb"), 0o644) },
		"shorter": func(dir string) error { return os.Truncate(filepath.Join(dir, "b"), 1) },
		"gone":    func(dir string) error { return os.Remove(filepath.Join(dir, "b")) },
		"a link": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "b")), os.Symlink("a", filepath.Join(dir, "b")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{})
			c := newClient(t, publish.Options{})
			dir := folder(t, map[string]string{"a": "aaa", "b": "bbb"})
			p, err := c.Pack(t.Context(), dir, publish.ArchiveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			_, err = c.Upload(t.Context(), ref(t, reg.Host()+"/acme/app:v1"), p.Artifact(), publish.UploadOptions{})
			if err == nil || !strings.Contains(err.Error(), "file b") {
				t.Errorf("%v", err)
			}
			for _, r := range reg.Requests() {
				if r.Kind == registrytest.Tag {
					t.Errorf("a manifest was sent: %+v", r)
				}
			}
		})
	}
}

func TestPushSkips(t *testing.T) {
	dir := folder(t, map[string]string{"a": "a", "sub/b": "b"})
	if err := errors.Join(os.Symlink("a", filepath.Join(dir, "link")), os.Symlink("sub", filepath.Join(dir, "dirlink")),
		os.MkdirAll(filepath.Join(dir, "none/below"), 0o755)); err != nil {
		t.Skip(err)
	}
	p, err := newClient(t, publish.Options{}).Pack(t.Context(), dir, publish.ArchiveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if want := (publish.Skipped{Symlinks: 2, EmptyFolders: 1}); p.Skipped != want || p.Files != 2 {
		t.Errorf("%+v", p)
	}
	if got := p.Skipped.String(); got != "2 symbolic links, 1 empty folder" {
		t.Errorf("%q", got)
	}
	_, err = newClient(t, publish.Options{}).Pack(t.Context(), filepath.Join(dir, "a"), publish.ArchiveOptions{})
	if !errors.Is(err, fault.InvalidArgument) {
		t.Errorf("a file as a folder: %v", err)
	}
}

func TestWrongLogins(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthToken} {
		reg := registrytest.New(t, registrytest.Options{Auth: auth})
		for _, o := range []publish.Options{{}, {Credentials: logins(t, reg.Host(), "user", "wrong")}} {
			_, _, err := newClient(t, o).PushArchive(t.Context(), folder(t, nil), ref(t, reg.Host()+"/acme/app:v1"), publish.ArchiveOptions{})
			if !errors.Is(err, fault.UpstreamUnauthorized) && !errors.Is(err, fault.UpstreamForbidden) {
				t.Errorf("%v: %v", auth, err)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		auth     registrytest.Auth
		password string
		asks     bool
		want     fault.Reason
	}{
		{registrytest.AuthNone, "any", false, ""},
		{registrytest.AuthBasic, "secret", true, ""},
		{registrytest.AuthBasic, "wrong", true, fault.UpstreamUnauthorized},
		{registrytest.AuthToken, "secret", true, ""},
		{registrytest.AuthToken, "wrong", true, fault.UpstreamForbidden}, // olareg's token server says 403
	} {
		t.Run(fmt.Sprint(c.auth, c.password), func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{Auth: c.auth})
			asks, err := newClient(t, publish.Options{}).Check(t.Context(), reg.Host(), credentials.Credential{Username: "user", Password: c.password})
			if fault.ReasonOf(err) != c.want || err == nil && asks != c.asks {
				t.Errorf("%v %v", asks, err)
			}
			if err != nil && strings.Contains(err.Error(), "wrong") {
				t.Errorf("the password is in %v", err)
			}
		})
	}
	reg := registrytest.New(t, registrytest.Options{})
	reg.Stop()
	if _, err := newClient(t, publish.Options{}).Check(t.Context(), reg.Host(), credentials.Credential{}); !errors.Is(err, fault.UpstreamUnreachable) {
		t.Errorf("%v", err)
	}
}

func TestProgress(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	var done, total int64
	c := newClient(t, publish.Options{Progress: func(d, n int64) { done, total = d, n }})
	p, _, err := c.PushArchive(t.Context(), folder(t, awkward()), ref(t, reg.Host()+"/acme/app:v1"), publish.ArchiveOptions{})
	if want := p.Data.Size + p.Index.Size + 2; err != nil || done != want || total != want {
		t.Errorf("%d of %d, want %d: %v", done, total, want, err)
	}
}

func TestCancelled(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	reg.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			cancel()
			_, _ = io.Copy(io.Discard, r.Body) // until the client goes
			panic(http.ErrAbortHandler)
		}
		return false
	})
	_, _, err := newClient(t, publish.Options{}).PushArchive(ctx, folder(t, map[string]string{"a": noise(5_000_000)}),
		ref(t, reg.Host()+"/acme/app:v1"), publish.ArchiveOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
