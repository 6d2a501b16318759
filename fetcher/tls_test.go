package fetcher_test

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
)

func caOf(t *testing.T, s *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTLS(t *testing.T) {
	data := pattern(100)
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, data) })
	secure := httptest.NewUnstartedServer(answer)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it would complain of the handshakes that are meant to fail
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	plain := serve(t, answer)
	secureHost := strings.TrimPrefix(secure.URL, "https://")
	ca := caOf(t, secure)
	for _, tc := range []struct {
		name, host string
		conf       fetcher.Registry
		want       fault.Reason
	}{
		{"own CA", secureHost, fetcher.Registry{PlainHTTP: new(false), CAFile: ca}, ""},
		{"unknown CA", secureHost, fetcher.Registry{PlainHTTP: new(false)}, fault.UpstreamTLS},
		{"no TLS there", plain.host, fetcher.Registry{PlainHTTP: new(false)}, fault.UpstreamTLS},
		{"plain HTTP to a TLS port", secureHost, fetcher.Registry{}, fault.UpstreamProtocol},
		{"plain HTTP, loopback", plain.host, fetcher.Registry{}, ""},
		{"plain HTTP, configured", plain.host, fetcher.Registry{PlainHTTP: new(true)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plain.Reset()
			f := open(t, fetcher.Options{Limits: quick(), Registries: map[string]fetcher.Registry{tc.host: tc.conf}})
			_, err := readAll(f.Blob(within(t), scope(tc.host), blobOf(data)))
			if tc.want == "" && err != nil || tc.want != "" && !errors.Is(err, tc.want) {
				t.Fatalf("got %v (%s), want %q", err, fault.ReasonOf(err), tc.want)
			}
		})
	}
}
