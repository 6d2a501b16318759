package registrytest

import (
	"bytes"
	"context"
	"fmt"
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
	d := oci.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
	base := "http://" + r.PushHost()
	res := send(t, http.MethodPost, base+"/v2/"+repository+"/blobs/uploads/", "", nil, http.StatusAccepted)
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	q.Set("digest", d.Digest.String())
	to.RawQuery = q.Encode()
	to.Scheme, to.Host = "http", r.PushHost()
	send(t, http.MethodPut, to.String(), d.MediaType, data, http.StatusCreated)
	return d
}

// PutManifest stores raw under tag, or by its digest alone where tag is empty, uncounted, and returns its descriptor.
func (r *Registry) PutManifest(t testing.TB, repository, tag, mediaType string, raw []byte) oci.Descriptor {
	t.Helper()
	d := oci.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	name := tag
	if name == "" {
		name = d.Digest.String()
	}
	send(t, http.MethodPut, "http://"+r.PushHost()+"/v2/"+repository+"/manifests/"+name, mediaType, raw, http.StatusCreated)
	return d
}

// PutArtifact stores layers and a manifest that names them under tag, and returns the manifest's descriptor and bytes.
func (r *Registry) PutArtifact(t testing.TB, repository, tag, artifactType string, layers ...oci.Descriptor) (oci.Descriptor, []byte) {
	t.Helper()
	raw := ImageManifest(artifactType, r.PutBlob(t, repository, []byte("{}")), layers...)
	return r.PutManifest(t, repository, tag, oci.MediaTypeImageManifest, raw), raw
}

func send(t testing.TB, method, to, mediaType string, body []byte, want int) *http.Response {
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
		t.Fatal(fmt.Errorf("%s %s: %s: %s", method, to, res.Status, text))
	}
	return res
}
