package registrytest_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/registrytest"
)

func get(t *testing.T, method, url, rng string) (int, string, http.Header, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if rng != "" {
		req.Header.Set("Range", rng)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.Header, err
}

func TestRegistryCounts(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	blob := reg.PutBlob(t, "acme/app", []byte("0123456789"))
	manifest, raw := reg.PutArtifact(t, "acme/app", "v1", "application/x-test", blob)
	if c := reg.Counts(); c.Total() != 0 {
		t.Fatalf("pushing was counted: %+v", c)
	}
	base := "http://" + reg.Host() + "/v2/acme/app/"
	for _, ask := range []struct{ method, path, rng, want string }{
		{http.MethodHead, "manifests/v1", "", ""},
		{http.MethodGet, "manifests/" + manifest.Digest.String(), "", string(raw)},
		{http.MethodGet, "blobs/" + blob.Digest.String(), "", "0123456789"},
		{http.MethodGet, "blobs/" + blob.Digest.String(), "bytes=2-4", "234"},
	} {
		if _, body, _, err := get(t, ask.method, base+ask.path, ask.rng); err != nil || body != ask.want {
			t.Fatalf("%s %s: %q, %v", ask.method, ask.path, body, err)
		}
	}
	want := registrytest.Counts{Tag: 1, Manifest: 1, Blob: 1, Range: 1, Head: 1, Bytes: 13}
	if got := reg.Counts(); got != want {
		t.Fatalf("counts %+v, want %+v", got, want)
	}
	reg.Reset()
	if got := reg.Counts(); got != (registrytest.Counts{}) {
		t.Fatalf("after Reset: %+v", got)
	}
}

func TestRegistryAsksForLogin(t *testing.T) {
	for _, auth := range []registrytest.Auth{registrytest.AuthBasic, registrytest.AuthToken} {
		reg := registrytest.New(t, registrytest.Options{Auth: auth})
		blob := reg.PutBlob(t, "acme/app", []byte("x"))
		status, _, header, err := get(t, http.MethodGet, "http://"+reg.Host()+"/v2/acme/app/blobs/"+blob.Digest.String(), "")
		if err != nil || status != http.StatusUnauthorized || header.Get("WWW-Authenticate") == "" {
			t.Fatalf("auth %d: status %d, %v", auth, status, err)
		}
		if got := reg.Counts(); got.Challenge != 1 || got.Total() != 1 {
			t.Fatalf("auth %d: %+v", auth, got)
		}
	}
}

func TestRegistryStopsAndStarts(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{Dir: t.TempDir()})
	blob := reg.PutBlob(t, "acme/app", []byte("x"))
	url := "http://" + reg.Host() + "/v2/acme/app/blobs/" + blob.Digest.String()
	reg.Stop()
	if _, _, _, err := get(t, http.MethodGet, url, ""); err == nil {
		t.Fatal("a stopped registry answered")
	}
	if err := reg.Start(); err != nil {
		t.Fatal(err)
	}
	if _, body, _, err := get(t, http.MethodGet, url, ""); err != nil || body != "x" {
		t.Fatalf("after Start: %q, %v", body, err)
	}
}

func TestRegistryHoldsBack(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	data := bytes.Repeat([]byte("blobd "), 50_000)
	blob := reg.PutBlob(t, "acme/app", data)
	reg.HoldAfter(1000)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reg.Host()+"/v2/acme/app/blobs/"+blob.Digest.String(), nil)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(res.Body, first); err != nil {
		t.Fatal(err)
	}
	if got := reg.Counts().Bytes; got != 1000 {
		t.Fatalf("%d bytes sent while held at 1000", got)
	}
	reg.Release()
	rest, err := io.ReadAll(res.Body)
	if err != nil || len(rest) != len(data)-1000 {
		t.Fatalf("%d more bytes, %v", len(rest), err)
	}
}

func TestRegistryThrottles(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{})
	blob := reg.PutBlob(t, "acme/app", make([]byte, 200<<10))
	reg.Throttle(1 << 20)
	begin := time.Now()
	if _, _, _, err := get(t, http.MethodGet, "http://"+reg.Host()+"/v2/acme/app/blobs/"+blob.Digest.String(), ""); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Fatalf("200 KiB at 1 MiB/s took %v", took)
	}
}
