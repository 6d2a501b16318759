package registrytest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/oci"
)

type unguardedKey struct{}

func unguarded(ctx context.Context) context.Context {
	return context.WithValue(ctx, unguardedKey{}, true)
}

func isUnguarded(ctx context.Context) bool { return ctx.Value(unguardedKey{}) != nil }

// PutBlob stores data as a blob of the repository, uncounted, and returns its descriptor.
func (r *Registry) PutBlob(t testing.TB, repository string, data []byte) oci.Descriptor {
	t.Helper()
	return PushBlob(t, r.PushHost(), repository, data)
}

// PutManifest stores raw under tag, or by its digest alone where tag is empty, uncounted, and returns its descriptor.
func (r *Registry) PutManifest(t testing.TB, repository, tag, mediaType string, raw []byte) oci.Descriptor {
	t.Helper()
	return PushManifest(t, r.PushHost(), repository, tag, mediaType, raw)
}

// PutArtifact stores a manifest that names layers under tag, and returns the manifest's descriptor and bytes.
func (r *Registry) PutArtifact(t testing.TB, repository, tag, artifactType string, layers ...oci.Descriptor) (oci.Descriptor, []byte) {
	t.Helper()
	raw := ImageManifest(artifactType, r.PutBlob(t, repository, []byte("{}")), layers...)
	return r.PutManifest(t, repository, tag, oci.MediaTypeImageManifest, raw), raw
}

// PushBlob is PutBlob for any open registry that speaks plain HTTP on host.
func PushBlob(t testing.TB, host, repository string, data []byte) oci.Descriptor {
	t.Helper()
	d := oci.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
	begun := send(t, http.MethodPost, "http://"+host+"/v2/"+repository+"/blobs/uploads/", "", nil, http.StatusAccepted)
	to, err := url.Parse(begun.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	q.Set("digest", d.Digest.String())
	to.RawQuery = q.Encode()
	to.Scheme, to.Host = "http", host
	send(t, http.MethodPut, to.String(), d.MediaType, data, http.StatusCreated)
	return d
}

// PushManifest is PutManifest for any open registry that speaks plain HTTP on host.
func PushManifest(t testing.TB, host, repository, tag, mediaType string, raw []byte) oci.Descriptor {
	t.Helper()
	d := oci.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	name := tag
	if name == "" {
		name = d.Digest.String()
	}
	send(t, http.MethodPut, "http://"+host+"/v2/"+repository+"/manifests/"+name, mediaType, raw, http.StatusCreated)
	return d
}

func send(t testing.TB, method, to, mediaType string, body []byte, want int) http.Header {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no connection outlives the call
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 512))
		t.Fatalf("%s %s: %s: %s", method, to, res.Status, text)
	}
	return res.Header
}
