package archivetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/oci"
)

const (
	artifactType   = "application/vnd.meigma.blob.v1"
	mediaTypeIndex = "application/vnd.meigma.blob.index.v1+flatbuffers"
	mediaTypeData  = "application/vnd.meigma.blob.data.v1"
	mediaTypeEmpty = "application/vnd.oci.empty.v1+json"
)

// Layers are the descriptors of an archive's two blobs.
func Layers(index, data []byte) (indexLayer, dataLayer oci.Descriptor) {
	return describe(mediaTypeIndex, index), describe(mediaTypeData, data)
}

func describe(mediaType string, b []byte) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// Manifest is the manifest of an archive with these layers.
func Manifest(layers ...oci.Descriptor) []byte {
	raw, err := json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        oci.Descriptor    `json:"config"`
		Layers        []oci.Descriptor  `json:"layers"`
		Annotations   map[string]string `json:"annotations"`
	}{
		2, oci.MediaTypeImageManifest, artifactType, describe(mediaTypeEmpty, []byte("{}")), layers,
		map[string]string{"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
	})
	if err != nil {
		panic(err)
	}
	return raw
}

// Push puts an archive into the registry at address (host:port, plain HTTP) as name (repository:tag) and returns the
// manifest's digest.
func Push(ctx context.Context, address, name string, index, data []byte) (digest.Digest, error) {
	i, d := Layers(index, data)
	r := registry{address: address}
	return r.push(ctx, name, i, index, d, func(w io.Writer) error { _, err := w.Write(data); return err })
}

// PushFiles writes an archive of files and puts it into a registry as Push does, in memory that does not grow with the
// files' Content: the data is made twice, once to know its digest and once to send it.
func PushFiles(ctx context.Context, address, name string, files []File, o Options) (digest.Digest, error) {
	index, data, err := Write(io.Discard, files, o)
	if err != nil {
		return "", err
	}
	r := registry{address: address}
	return r.push(ctx, name, describe(mediaTypeIndex, index), index, data, func(w io.Writer) error {
		return writeData(w, files, o)
	})
}

type registry struct{ address string }

func (r registry) push(
	ctx context.Context, name string, index oci.Descriptor, rawIndex []byte, data oci.Descriptor, writeData func(io.Writer) error,
) (digest.Digest, error) {
	writer := func(b []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(b); return err }
	}
	repository, _, ok := strings.Cut(name, ":")
	if !ok {
		return "", fmt.Errorf("%s has no tag", name)
	}
	err := errors.Join(
		r.pushBlob(ctx, repository, describe(mediaTypeEmpty, []byte("{}")), writer([]byte("{}"))),
		r.pushBlob(ctx, repository, index, writer(rawIndex)),
		r.pushBlob(ctx, repository, data, writeData),
	)
	if err != nil {
		return "", err
	}
	return r.pushManifest(ctx, name, oci.MediaTypeImageManifest, Manifest(index, data))
}

func (r registry) pushBlob(ctx context.Context, repository string, d oci.Descriptor, write func(io.Writer) error) error {
	resp, err := r.do(ctx, http.MethodPost, r.url(repository, "blobs/uploads/"), "", 0, nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	upload, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil {
		return err
	}
	query := upload.Query()
	query.Set("digest", d.Digest.String())
	upload.RawQuery = query.Encode()
	body, w := io.Pipe()
	go func() { w.CloseWithError(write(w)) }() // ends when the request does: the transport closes body
	_, err = r.do(ctx, http.MethodPut, upload, "application/octet-stream", d.Size, body, http.StatusCreated)
	return errors.Join(err, body.Close())
}

func (r registry) pushManifest(ctx context.Context, name, mediaType string, raw []byte) (digest.Digest, error) {
	repository, tag, _ := strings.Cut(name, ":")
	_, err := r.do(ctx, http.MethodPut, r.url(repository, "manifests/"+tag), mediaType, int64(len(raw)),
		io.NopCloser(bytes.NewReader(raw)), http.StatusCreated)
	return digest.FromBytes(raw), err
}

func (r registry) url(repository, rest string) *url.URL {
	return &url.URL{Scheme: "http", Host: strings.TrimPrefix(r.address, "http://"), Path: "/v2/" + repository + "/" + rest}
}

func (r registry) do(
	ctx context.Context, method string, u *url.URL, contentType string, size int64, body io.ReadCloser, want int,
) (*http.Response, error) {
	if size == 0 && body != nil {
		body.Close()
		body = http.NoBody // else the transport would take 0 for unknown
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s %s: %s: %s", method, u, resp.Status, answer)
	}
	return resp, err
}
