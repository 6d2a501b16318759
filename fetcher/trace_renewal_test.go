package fetcher_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/oci"
)

// pipes is a listener whose connections are made in memory, where time is virtual.
type pipes chan net.Conn

func (p pipes) dial(_ *net.Dialer, ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// A token that is renewed because it ends soon, before anybody was refused, is traced as the request of who asks then.
func TestTracerOfARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/token":
				_ = json.NewEncoder(w).Encode(map[string]any{"token": "t", "expires_in": 60})
			case r.Header.Get("Authorization") == "":
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s",scope="repository:acme/app:pull"`)
				w.WriteHeader(http.StatusUnauthorized)
			default:
				w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
				_, _ = w.Write([]byte(smallManifest))
			}
		})}
		wire, plain := make(pipes), true
		defer server.Close()
		defer close(wire)
		go func() { _ = server.Serve(wire) }()
		traced := &book{}
		f, err := fetcher.New(fetcher.Options{
			Tracer: traced, Dial: wire.dial, Registries: map[string]fetcher.Registry{"registry.test": {PlainHTTP: &plain}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, who := range []string{"first", "second"} {
			traced.lines = nil
			if err := get(by(t, who), f, scope("registry.test")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
		}
		if len(traced.lines) != 2 || !strings.HasPrefix(traced.lines[0], "second: GET token 200") || !strings.HasPrefix(traced.lines[1], "second: GET manifest 200") {
			t.Errorf("heard %q", traced.lines)
		}
	})
}
