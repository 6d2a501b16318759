package fetcher_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
)

const repo = "acme/app"

// open returns a Fetcher that ends with the test.
func open(t *testing.T, o fetcher.Options) *fetcher.Fetcher {
	t.Helper()
	f, err := fetcher.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// logins returns a store that knows the test registry's account as "robot".
func logins(t *testing.T, password string) *credentials.Store {
	t.Helper()
	file := filepath.Join(t.TempDir(), "logins.yaml")
	if err := os.WriteFile(file, []byte("robot: {username: user, password: "+password+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := credentials.New(credentials.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scope(host string) oci.Scope { return oci.Scope{Registry: host, Repository: repo} }

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

func TestFetchFromRegistry(t *testing.T) {
	for _, tc := range []struct {
		name string
		auth registrytest.Auth
		want registrytest.Counts // of a resolve, a manifest, a blob, a range and a stat
	}{
		{"open", registrytest.AuthNone, registrytest.Counts{Tag: 1, Manifest: 2, Blob: 1, Range: 1, Head: 2}},
		{"basic", registrytest.AuthBasic, registrytest.Counts{Challenge: 1, Tag: 1, Manifest: 2, Blob: 1, Range: 1, Head: 3}},
		{"token", registrytest.AuthToken, registrytest.Counts{Challenge: 1, Token: 1, Tag: 1, Manifest: 2, Blob: 1, Range: 1, Head: 3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := registrytest.New(t, registrytest.Options{Auth: tc.auth})
			data := pattern(300_000)
			blob := reg.PutBlob(t, repo, data)
			manifest, raw := reg.PutArtifact(t, repo, "v1", "application/x-test", blob)
			f := open(t, fetcher.Options{Credentials: logins(t, "secret")})
			sc := scope(reg.Host())
			if tc.auth != registrytest.AuthNone {
				sc.Credential = "robot"
			}
			ctx := t.Context()

			got, gotRaw, err := f.Resolve(ctx, sc, "v1")
			if err != nil || got.Digest != manifest.Digest || got.MediaType != oci.MediaTypeImageManifest || gotRaw != nil {
				t.Fatalf("Resolve: %+v, %q, %v", got, gotRaw, err)
			}
			mediaType, gotRaw, err := f.Manifest(ctx, sc, manifest.Digest)
			if err != nil || mediaType != oci.MediaTypeImageManifest || !bytes.Equal(gotRaw, raw) {
				t.Fatalf("Manifest: %s %q %v", mediaType, gotRaw, err)
			}
			r, err := f.Blob(ctx, sc, blob)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(r); err != nil || !bytes.Equal(body, data) {
				t.Fatalf("Blob: %d bytes, %v", len(body), err)
			}
			_ = r.Close()
			part, err := f.Range(ctx, sc, blob, 1000, 5000)
			if err != nil || part.Offset != 1000 || part.Length != 5000 {
				t.Fatalf("Range: %+v, %v", part, err)
			}
			if body, err := io.ReadAll(part); err != nil || !bytes.Equal(body, data[1000:6000]) {
				t.Fatalf("Range: %d bytes, %v", len(body), err)
			}
			_ = part.Close()
			if err := f.Stat(ctx, sc, manifest.Digest); err != nil {
				t.Fatal(err)
			}
			tc.want.Bytes = int64(len(data)) + 5000
			if got := reg.Counts(); got != tc.want {
				t.Fatalf("requests %+v, want %+v: %+v", got, tc.want, reg.Requests())
			}
		})
	}
}

func TestParallelColdCallsShareALogin(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthToken})
	blob := reg.PutBlob(t, repo, pattern(1000))
	reg.PutArtifact(t, repo, "v1", "application/x-test", blob)
	f := open(t, fetcher.Options{Credentials: logins(t, "secret")})
	sc := scope(reg.Host())
	sc.Credential = "robot"
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, _, err := f.Resolve(t.Context(), sc, "v1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := registrytest.Counts{Challenge: 1, Token: 1, Tag: 10, Head: 11}
	if got := reg.Counts(); got != want {
		t.Fatalf("requests %+v, want %+v", got, want)
	}
}

func TestRefusals(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthToken})
	blob := reg.PutBlob(t, repo, pattern(1000))
	reg.PutArtifact(t, repo, "v1", "application/x-test", blob)
	f := open(t, fetcher.Options{Credentials: logins(t, "wrong-but-well-formed")})
	missing := digest.FromString("nothing")
	named, unnamed := scope(reg.Host()), scope(reg.Host())
	named.Credential = "robot"
	gone := named
	gone.Credential = "nobody"

	public := registrytest.New(t, registrytest.Options{})
	for _, tc := range []struct {
		name string
		ask  func(context.Context) error
		want fault.Reason
	}{
		{"no login", func(ctx context.Context) error { _, _, err := f.Resolve(ctx, unnamed, "v1"); return err }, fault.UpstreamForbidden},
		{"wrong login", func(ctx context.Context) error { _, _, err := f.Resolve(ctx, named, "v1"); return err }, fault.UpstreamForbidden},
		{"no such login", func(ctx context.Context) error { _, _, err := f.Resolve(ctx, gone, "v1"); return err }, fault.CredentialUnusable},
		{"no such tag", func(ctx context.Context) error {
			_, _, err := f.Resolve(ctx, scope(public.Host()), "v1")
			return err
		}, fault.ManifestUnknown},
		{"no such manifest", func(ctx context.Context) error {
			_, _, err := f.Manifest(ctx, scope(public.Host()), missing)
			return err
		}, fault.ManifestUnknown},
		{"no such manifest to stat", func(ctx context.Context) error {
			return f.Stat(ctx, scope(public.Host()), missing)
		}, fault.ManifestUnknown},
		{"no such blob", func(ctx context.Context) error {
			_, err := f.Blob(ctx, scope(public.Host()), oci.Descriptor{Digest: missing, Size: 7})
			return err
		}, fault.BlobUnknown},
		{"no such blob, a range", func(ctx context.Context) error {
			_, err := f.Range(ctx, scope(public.Host()), oci.Descriptor{Digest: missing, Size: 7}, 1, 2)
			return err
		}, fault.BlobUnknown},
		{"a range past the end", func(ctx context.Context) error {
			_, err := f.Range(ctx, scope(public.Host()), oci.Descriptor{Digest: missing, Size: 7}, 5, 3)
			return err
		}, fault.OutOfRange},
		{"a malformed digest", func(ctx context.Context) error {
			_, _, err := f.Manifest(ctx, scope(public.Host()), "sha256:xyz")
			return err
		}, fault.InvalidDigest},
		{"no such host", func(ctx context.Context) error {
			_, _, err := f.Resolve(ctx, scope("registry.invalid"), "v1")
			return err
		}, fault.UpstreamDNS},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := tc.ask(ctx)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v (%s), want %s", err, fault.ReasonOf(err), tc.want)
			}
			for _, secret := range []string{"wrong-but-well-formed", "dXNlcjp3"} {
				if strings.Contains(err.Error(), secret) {
					t.Fatalf("the error tells the secret: %v", err)
				}
			}
		})
	}
}

func TestStoppedRegistryIsUnreachable(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	reg.PutArtifact(t, repo, "v1", "application/x-test")
	f := open(t, fetcher.Options{Limits: quick()})
	if _, _, err := f.Resolve(t.Context(), scope(reg.Host()), "v1"); err != nil {
		t.Fatal(err)
	}
	reg.Stop()
	_, _, err := f.Resolve(t.Context(), scope(reg.Host()), "v1")
	if !errors.Is(err, fault.UpstreamUnreachable) {
		t.Fatalf("got %v", err)
	}
	if err := reg.Start(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Resolve(t.Context(), scope(reg.Host()), "v1"); err != nil {
		t.Fatalf("after the registry came back: %v", err)
	}
}
