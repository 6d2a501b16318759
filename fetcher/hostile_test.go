package fetcher_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// regclient goes to the `urls` of a layer that the registry does not have, and takes a manifest that is an index too.
// On the way from the wire to a parsed manifest both end.
func TestHostileManifests(t *testing.T) {
	data := pattern(1000)
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, data) })
	layer := fmt.Sprintf(`{"mediaType":"application/x","digest":%q,"size":1000,"urls":[%q]}`, digest.FromBytes(data), elsewhere.url+"/blobs/x")
	foreign := strings.Replace(smallManifest, `"layers":[]`, `"layers":[`+layer+`]`, 1)
	ambiguous := strings.Replace(smallManifest, `"layers":[]`, `"layers":[],"manifests":[]`, 1)
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for _, m := range []string{foreign, ambiguous} {
			if strings.HasSuffix(r.URL.Path, digest.FromString(m).String()) {
				w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
				_, _ = w.Write([]byte(m))
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	})
	f := open(t, fetcher.Options{Limits: quick()})
	parse := func(manifest string) (oci.Manifest, error) {
		mediaType, raw, err := f.Manifest(within(t), scope(reg.host), digest.FromString(manifest))
		if err != nil {
			t.Fatal(err)
		}
		return oci.ParseManifest(mediaType, raw)
	}
	if _, err := parse(ambiguous); !errors.Is(err, fault.ManifestInvalid) {
		t.Errorf("ambiguous: %v", err)
	}
	m, err := parse(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(f.Blob(within(t), scope(reg.host), m.Layers[0])); !errors.Is(err, fault.BlobUnknown) {
		t.Errorf("a layer with foreign urls: %v", err)
	}
	if got := elsewhere.Counts().Total(); got != 0 {
		t.Errorf("%d requests to a manifest's urls", got)
	}
}

// BenchmarkBlob reads 64 MiB over loopback through the Fetcher, and plainly, for the ratio.
func BenchmarkBlob(b *testing.B) {
	data := pattern(64 << 20)
	text := string(data)
	reg := serve(b, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	})
	blob := blobOf(data)
	f, err := fetcher.New(fetcher.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(f.Close)
	buf := make([]byte, 256<<10)
	drain := func(b *testing.B, r io.ReadCloser, err error) {
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf); err != nil || n != int64(len(data)) {
			b.Fatal(n, err)
		}
		_ = r.Close()
	}
	b.Run("fetcher", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			r, err := f.Range(b.Context(), scope(reg.host), blob, 0, int64(len(data)))
			drain(b, r.ReadCloser, err)
		}
	})
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for b.Loop() {
			res, err := client.Get(reg.url + "/v2/" + repo + "/blobs/x")
			if err != nil {
				b.Fatal(err)
			}
			drain(b, res.Body, nil)
		}
	})
}
