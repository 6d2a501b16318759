//go:build unix

package fetcher_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
)

// The reference registry (distribution) as Debian packages it: another implementation than the one in process.
func TestFetchFromDistribution(t *testing.T) {
	binary := testneed.Command(t, "docker-registry", "Debian package docker-registry")
	host := startDistribution(t, binary)
	data := pattern(300_000)
	blob := registrytest.PushBlob(t, host, repo, data)
	config := registrytest.PushBlob(t, host, repo, []byte("{}"))
	raw := registrytest.ImageManifest("application/x-test", config, blob)
	registrytest.PushManifest(t, host, repo, "v1", oci.MediaTypeImageManifest, raw)

	front := serve(t, registrytest.ProxyTo(&url.URL{Scheme: "http", Host: host}).ServeHTTP)
	f := open(t, fetcher.Options{})
	sc := scope(front.host)
	d, _, err := f.Resolve(within(t), sc, "v1")
	if err != nil || d.Digest != digest.FromBytes(raw) {
		t.Fatalf("%+v %v", d, err)
	}
	if mediaType, got, err := f.Manifest(within(t), sc, d.Digest); err != nil || mediaType != oci.MediaTypeImageManifest || !bytes.Equal(got, raw) {
		t.Fatalf("%s %q %v", mediaType, got, err)
	}
	if err := f.Stat(within(t), sc, d.Digest); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(f.Blob(within(t), sc, blob)); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for _, r := range [][2]int64{{0, 1}, {0, 300_000}, {299_999, 1}, {65_536, 65_536}} {
		got, err := readRange(f.Range(within(t), sc, blob, r[0], r[1]))
		if err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Fatalf("%v: %d bytes, %v", r, len(got), err)
		}
	}
	want := registrytest.Counts{Tag: 1, Manifest: 2, Blob: 1, Range: 4, Head: 2, Bytes: 300_000 + 1 + 300_000 + 1 + 65_536}
	if got := front.Counts(); got != want {
		t.Fatalf("requests %+v, want %+v", got, want)
	}
}

func startDistribution(t *testing.T, binary string) (host string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = lis.Addr().String()
	_ = lis.Close()
	dir := t.TempDir()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "data"), host)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "serve", file)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		if conn, err := net.Dial("tcp", host); err == nil {
			_ = conn.Close()
			return host
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("docker-registry ended: %s", out.String())
		case <-deadline:
			t.Fatal("docker-registry does not listen after 20 s")
		}
	}
}
