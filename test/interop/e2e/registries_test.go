package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/blobd/blobd/internal/registrytest"
	"github.com/blobd/blobd/internal/testneed"
)

// backend is a running registry of some kind, and how a daemon gets on with it.
type backend struct {
	host     string // what blobd is told
	pushHost string
	proxy    *registrytest.Proxy // in front of host
	config   string              // of the daemon
	login    registrytest.Counts // what the first request costs besides
}

// registries are the kinds of registries that counts must hold for.
var registries = []struct {
	name  string
	start func(t *testing.T) backend
}{
	{"olareg", func(t *testing.T) backend { return olareg(t, registrytest.AuthNone, registrytest.Counts{}) }},
	{"token", func(t *testing.T) backend {
		return olareg(t, registrytest.AuthToken, registrytest.Counts{Challenge: 1, Token: 1})
	}},
	{"distribution", distribution},
}

func olareg(t *testing.T, auth registrytest.Auth, login registrytest.Counts) backend {
	t.Helper()
	r := registrytest.New(t, registrytest.Options{Auth: auth})
	b := backend{host: r.Host(), pushHost: r.PushHost(), proxy: r.Proxy, login: login}
	if auth != registrytest.AuthNone {
		config := filepath.Join(t.TempDir(), "config.json")
		text := fmt.Sprintf(`{"auths":{%q:{"username":"user","password":"secret"}}}`, r.Host())
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.config = fmt.Sprintf("credentials: {docker_config: %q}\n", config)
	}
	return b
}

// distribution is the reference registry, Debian's docker-registry.
func distribution(t *testing.T) backend {
	t.Helper()
	binary := testneed.Command(t, "docker-registry", "Debian package docker-registry")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "data"), address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
	})
	eventually(t, "the reference registry answers", func() bool {
		res, err := http.Get("http://" + address + "/v2/")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	proxy := registrytest.ProxyTo(&url.URL{Scheme: "http", Host: address})
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	return backend{host: front.Listener.Addr().String(), pushHost: address, proxy: proxy}
}
