package interop_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/blobfmt"
	"github.com/blobd/blobd/internal/oci"
)

// stored is an archive as it lies in a registry.
type stored struct {
	manifest, index, data []byte
	tree                  *archive.Tree
}

// fetch reads the archive at host/repository:reference with nothing but GETs, checks every digest, and decodes it.
func fetch(t *testing.T, host, repository, reference string) stored {
	t.Helper()
	var s stored
	var mediaType string
	s.manifest, mediaType = get(t, host, repository+"/manifests/"+reference)
	m, err := oci.ParseManifest(mediaType, s.manifest)
	if err != nil {
		t.Fatal(err)
	}
	if !blobfmt.Matches(m) {
		t.Errorf("%s is not a blob archive's manifest", s.manifest)
	}
	index, data, err := blobfmt.Layers(m)
	if err != nil {
		t.Fatal(err)
	}
	s.index, s.data = getBlob(t, host, repository, index), getBlob(t, host, repository, data)
	if s.tree, err = blobfmt.Decode(s.index, data, blobfmt.Limits{}); err != nil {
		t.Fatal(err)
	}
	return s
}

func getBlob(t *testing.T, host, repository string, d oci.Descriptor) []byte {
	t.Helper()
	b, _ := get(t, host, repository+"/blobs/"+d.Digest.String())
	if int64(len(b)) != d.Size || digest.FromBytes(b) != d.Digest {
		t.Fatalf("%s: got %d bytes, sha256 %s", d.Digest, len(b), digest.FromBytes(b))
	}
	return b
}

func get(t *testing.T, host, path string) (body []byte, contentType string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/v2/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", strings.Join(oci.ManifestMediaTypes(), ", "))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v", path, resp.Status, err)
	}
	return body, resp.Header.Get("Content-Type")
}

// read is the bytes of a file of the archive.
func (s stored) read(zr *zstd.Decoder, e *archive.Entry) ([]byte, error) {
	r := e.Locator.(archive.Range)
	raw := s.data[r.Offset : r.Offset+r.Length]
	if r.Codec == archive.Stored || e.Size == 0 {
		return raw, nil
	}
	b, err := zr.DecodeAll(raw, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Path, err)
	}
	return b, nil
}
