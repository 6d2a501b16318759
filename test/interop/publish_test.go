package interop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/meigma/blob"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/bcrypt"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/file"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/blobd/blobd/archive/files"
	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/archivetest"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
	"github.com/blobd/blobd/publish"
	"github.com/blobd/blobd/test/interop/peer"
	"github.com/blobd/blobd/test/interop/source"
)

// kinds are registries to push to, as host:port; those with a login take user and secret.
var kinds = []struct {
	name  string
	login bool
	start func(t *testing.T) string
}{
	{"olareg", false, func(t *testing.T) string { return registrytest.New(t, registrytest.Options{}).Host() }},
	{"olareg-basic", true, func(t *testing.T) string {
		return registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic}).Host()
	}},
	{"olareg-token", true, func(t *testing.T) string {
		return registrytest.New(t, registrytest.Options{Auth: registrytest.AuthToken}).Host()
	}},
	{"distribution-htpasswd", true, distribution},
	{"go-containerregistry", false, func(t *testing.T) string {
		s := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}},
}

// distribution is the reference registry, Debian's docker-registry, with a password file.
func distribution(t *testing.T) string {
	t.Helper()
	binary := testneed.Command(t, "docker-registry", "Debian package docker-registry")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n"+
		"auth: {htpasswd: {realm: test, path: %q}}\n", filepath.Join(dir, "data"), address, filepath.Join(dir, "htpasswd"))
	for name, content := range map[string]string{"htpasswd": "user:" + string(hash) + "\n", "config.yml": text} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "serve", filepath.Join(dir, "config.yml"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return address
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("docker-registry does not listen after 30 s")
		}
	}
}

// publisher is a client with this password for user at a registry; "" is nobody.
func publisher(t *testing.T, host, password string) *publish.Client {
	t.Helper()
	o := publish.Options{}
	if password != "" {
		path := filepath.Join(t.TempDir(), "auth.json")
		_, err := credentials.OpenFile(path).Login(t.Context(), host, credentials.Credential{Username: "user", Password: password})
		if err != nil {
			t.Fatal(err)
		}
		if o.Credentials, err = credentials.New(credentials.Options{LoginFile: path}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := publish.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func reference(t *testing.T, s string) oci.Reference {
	t.Helper()
	r, err := oci.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestPublishToEveryRegistry: what blobd pushes to a registry, the published library pulls, finds file by file and verifies;
// a second push sends nothing; a copy within the registry moves nothing; a wrong login is an error.
func TestPublishToEveryRegistry(t *testing.T) {
	for _, k := range kinds {
		for _, compress := range []publish.Compression{publish.CompressNone, publish.CompressZstd, publish.CompressAuto} {
			t.Run(k.name+"-"+string(compress), func(t *testing.T) {
				host, password := k.start(t), ""
				if k.login {
					password = "secret"
					if _, err := publisher(t, host, "wrong").Tag(t.Context(), reference(t, host+"/acme/x:v1"), "v2"); fault.ReasonOf(err) !=
						fault.UpstreamUnauthorized && fault.ReasonOf(err) != fault.UpstreamForbidden {
						t.Errorf("a wrong login: %v", err)
					}
				}
				dir := made(t, source.Awkward)
				c := publisher(t, host, password)
				o := publish.ArchiveOptions{Compress: compress, Epoch: new(time.Unix(1_700_000_000, 0))}
				_, first, err := c.PushArchive(t.Context(), dir, reference(t, host+"/acme/app:v1"), o)
				if err != nil || first.Sent != 3 {
					t.Fatalf("%+v %v", first, err)
				}
				_, again, err := publisher(t, host, password).PushArchive(t.Context(), dir, reference(t, host+"/acme/app:v2"), o)
				if err != nil || again.Present != 3 || again.Digest != first.Digest {
					t.Errorf("%+v %v", again, err)
				}
				copied, err := c.Copy(t.Context(), reference(t, host+"/acme/app:v1"), reference(t, host+"/acme/other:v1"), publish.CopyOptions{})
				if err != nil || copied.Digest != first.Digest {
					t.Errorf("%+v %v", copied, err)
				}
				// go-containerregistry's has one store for all repositories.
				if copied.Mounted+copied.Present != 3 {
					t.Errorf("a copy within the registry: %+v", copied)
				}
				if d, err := c.Tag(t.Context(), reference(t, host+"/acme/other:v1"), "latest"); err != nil || d != first.Digest {
					t.Errorf("%s %v", d, err)
				}
				library(t, host, password, "acme/other:latest", dir)
			})
		}
	}
}

// library pulls an archive with the published library and compares every file with those of dir.
func library(t *testing.T, host, password, name, dir string) {
	t.Helper()
	login := blob.WithAnonymous()
	if password != "" {
		login = blob.WithStaticCredentials(host, "user", password)
	}
	client, err := blob.NewClient(blob.WithPlainHTTP(true), login)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := client.Pull(t.Context(), host+"/"+name)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		n++
		want, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		if got, err := theirs.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the library reads %d bytes of %s's %d: %v", len(got), path, len(want), err)
		}
		return nil
	})
	if err != nil || theirs.Len() != n || n == 0 {
		t.Errorf("the library sees %d files of %d: %v", theirs.Len(), n, err)
	}
}

// TestPublishAllOfGo pushes Go's own source tree, which holds files that the published library's own archives of it don't
// let it find.
func TestPublishAllOfGo(t *testing.T) {
	dir, err := source.GoSource(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reg := registrytest.New(t, registrytest.Options{})
	p, _, err := publisher(t, reg.Host(), "").PushArchive(t.Context(), dir, reference(t, reg.Host()+"/go/src:v1"), publish.ArchiveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := peer.Client()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := client.Pull(t.Context(), reg.PushHost()+"/go/src:v1")
	if err != nil || int64(theirs.Len()) != p.Files {
		t.Fatalf("%d files of %d: %v", theirs.Len(), p.Files, err)
	}
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if _, ok := theirs.Entry(path); !ok && err == nil && d.Type().IsRegular() {
			t.Errorf("the library can't find %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// orasRepository is how oras-go sees a repository.
func orasRepository(t *testing.T, name string) *remote.Repository {
	t.Helper()
	repo, err := remote.NewRepository(name)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	repo.Client = &auth.Client{Credential: auth.StaticCredential(repo.Reference.Registry, auth.Credential{Username: "user", Password: "secret"})}
	return repo
}

// TestFilesToOras: oras-go pulls what blobd pushed, into the same files.
func TestFilesToOras(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			host, password := k.start(t), ""
			if k.login {
				password = "secret"
			}
			dir := t.TempDir()
			want := map[string]string{"model.bin": string(archivetest.Bytes(archivetest.Random(1, 300_000))), "sub/config.json": "{}", "empty": "", "twin": ""}
			var list []publish.File
			for _, title := range []string{"model.bin", "sub/config.json", "empty", "twin"} {
				path := filepath.Join(dir, strings.ReplaceAll(title, "/", "-"))
				if err := os.WriteFile(path, []byte(want[title]), 0o644); err != nil {
					t.Fatal(err)
				}
				list = append(list, publish.File{Path: path, Title: title})
			}
			list[1].MediaType = "application/json"
			done, err := publisher(t, host, password).PushFiles(t.Context(), list, reference(t, host+"/acme/files:v1"), publish.FilesOptions{
				ArtifactType: "application/x-model", Annotations: map[string]string{"k": "v"},
			})
			if err != nil {
				t.Fatal(err)
			}
			to := t.TempDir()
			store, err := file.New(to)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			got, err := oras.Copy(t.Context(), orasRepository(t, host+"/acme/files"), "v1", store, "v1", oras.DefaultCopyOptions)
			if err != nil || got.Digest != done.Digest {
				t.Fatalf("%+v %v", got, err)
			}
			for title, text := range want {
				if raw, err := os.ReadFile(filepath.Join(to, title)); err != nil || string(raw) != text {
					t.Errorf("%s: %d bytes of %d, %v", title, len(raw), len(text), err)
				}
			}
		})
	}
}

// TestFilesFromOras: what oras-go pushes, blobd reads as an archive of files.
func TestFilesFromOras(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	dir := t.TempDir()
	store, err := file.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var layers []ocispec.Descriptor
	want := map[string]digest.Digest{}
	for name, text := range map[string]string{"a.txt": "aaa", "sub/b.json": "{}"} {
		at := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		d, err := store.Add(t.Context(), name, "", "")
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, d)
		want[name] = digest.FromString(text)
	}
	m, err := oras.PackManifest(t.Context(), store, oras.PackManifestVersion1_1, "application/x-thing", oras.PackManifestOptions{Layers: layers})
	if err == nil {
		err = store.Tag(t.Context(), m, "v1")
	}
	if err == nil {
		_, err = oras.Copy(t.Context(), store, "v1", orasRepository(t, reg.Host()+"/acme/files"), "v1", oras.DefaultCopyOptions)
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, mediaType := get(t, reg.Host(), "acme/files/manifests/v1")
	parsed, err := oci.ParseManifest(mediaType, raw)
	if err != nil || !files.Matches(parsed) {
		t.Fatalf("%s %v", raw, err)
	}
	tree, err := files.Tree(parsed, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]digest.Digest{}
	for n := range tree.Walk(".") {
		if e, err := tree.Lookup(n.Path); err == nil && !n.Dir {
			got[n.Path] = digest.NewDigestFromBytes(digest.SHA256, e.Sum[:])
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestCopyBetweenRegistries copies an index of two archives with a signature, from a registry that lists referrers to one
// that does not and back, and nothing is lost.
func TestCopyBetweenRegistries(t *testing.T) {
	from := registrytest.New(t, registrytest.Options{})
	middle, back := distribution(t), registrytest.New(t, registrytest.Options{})
	c := publisher(t, middle, "secret")
	var children []oci.Descriptor
	for _, name := range []string{"a", "b"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		p, done, err := c.PushArchive(t.Context(), dir, reference(t, from.Host()+"/acme/app:"+name), publish.ArchiveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		children = append(children, oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: done.Digest, Size: int64(len(p.Artifact().Manifest))})
	}
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d},{"mediaType":%q,"digest":%q,"size":%d}]}`,
		oci.MediaTypeImageIndex, children[0].MediaType, children[0].Digest, children[0].Size, children[1].MediaType, children[1].Digest, children[1].Size)
	top := from.PutManifest(t, "acme/app", "v1", oci.MediaTypeImageIndex, []byte(index))
	signature := oci.Manifest{
		MediaType: oci.MediaTypeImageManifest, ArtifactType: "application/x-signature", Config: oci.EmptyConfig(), Subject: &top,
		Annotations: map[string]string{"signed": "yes"},
	}
	signed := from.PutManifest(t, "acme/app", "", oci.MediaTypeImageManifest, signature.Encode())

	hop := func(src, dst string) {
		t.Helper()
		done, err := c.Copy(t.Context(), reference(t, src), reference(t, dst), publish.CopyOptions{Referrers: true})
		if err != nil || done.Digest != top.Digest || done.Manifests != 4 || done.Referrers != 1 {
			t.Fatalf("%s: %+v %v", dst, done, err)
		}
		d, list, err := c.Referrers(t.Context(), reference(t, dst), "application/x-signature")
		if err != nil || d != top.Digest || len(list) != 1 || list[0].Digest != signed.Digest || list[0].Annotations["signed"] != "yes" {
			t.Errorf("%s: %s %+v %v", dst, d, list, err)
		}
		if _, list, err := c.Referrers(t.Context(), reference(t, dst), "application/x-other"); err != nil || len(list) != 0 {
			t.Errorf("%s: another type: %+v %v", dst, list, err)
		}
	}
	hop(from.Host()+"/acme/app:v1", middle+"/acme/app:v1")
	hop(middle+"/acme/app:v1", middle+"/acme/copy:v1") // mounted
	hop(middle+"/acme/copy:v1", back.Host()+"/acme/app:v1")
	library(t, back.Host(), "", "acme/app@"+children[1].Digest.String(), func() string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "b"), []byte("b"), 0o644); err != nil {
			t.Fatal(err)
		}
		return dir
	}())
}
