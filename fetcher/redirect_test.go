package fetcher_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
)

func TestRedirectToStorage(t *testing.T) {
	data := pattern(10_000)
	storage := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the login went along with the redirect")
		}
		if r.URL.RawQuery != "signature=abc" {
			t.Errorf("query %q", r.URL.RawQuery)
		}
		sendRange(w, r, data)
	})
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, storage.url+"/bucket/blobs/x?signature=abc", http.StatusTemporaryRedirect)
	})
	f := open(t, fetcher.Options{Credentials: logins(t, "secret")})
	sc := scope(reg.host)
	sc.Credential = "robot"
	if got, err := readAll(f.Blob(within(t), sc, blobOf(data))); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if got, err := readRange(f.Range(within(t), sc, blobOf(data), 500, 100)); err != nil || !bytes.Equal(got, data[500:600]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if got := storage.Counts(); got.Blob != 1 || got.Range != 1 {
		t.Fatalf("at the storage: %+v", got)
	}
}

func TestRedirectsThatFail(t *testing.T) {
	data := pattern(1000)
	var storageStatus, good atomic.Int64
	storage := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if good.Add(-1) >= 0 {
			sendRange(w, r, data)
			return
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="give me your login"`)
		w.WriteHeader(int(storageStatus.Load()))
	})
	to := func(location string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
		}
	}
	expires := to(storage.url + "/blobs/x")
	for _, tc := range []struct {
		name    string
		answer  http.HandlerFunc
		status  int64
		want    fault.Reason
		atFirst int // requests to the registry
	}{
		{"a loop", to("/v2/again"), 0, fault.RedirectLoop, 6},
		{"no location", to(""), 0, fault.UpstreamProtocol, 1},
		{"another protocol", to("file:///etc/passwd"), 0, fault.UpstreamRedirect, 2},
		{"the metadata service", to("http://169.254.169.254/latest/meta-data"), 0, fault.AddressRefused, 1},
		{"expired, 400", expires, 400, fault.UpstreamRedirect, 2},
		{"expired, 401", expires, 401, fault.UpstreamRedirect, 2},
		{"expired, 403", expires, 403, fault.UpstreamRedirect, 2},
		{"expired, 410", expires, 410, fault.UpstreamRedirect, 2},
		{"not there", expires, 404, fault.BlobUnknown, 1},
		{"storage is down", expires, 503, fault.Upstream5xx, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			storageStatus.Store(tc.status)
			good.Store(0)
			reg := serve(t, tc.answer)
			f := open(t, fetcher.Options{Limits: quick()})
			_, err := readAll(f.Blob(within(t), scope(reg.host), blobOf(data)))
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v (%s), want %s", err, fault.ReasonOf(err), tc.want)
			}
			if got := reg.Counts().Total(); got != tc.atFirst {
				t.Fatalf("%d requests to the registry, want %d", got, tc.atFirst)
			}
		})
	}
}

func TestNoRedirectOutOfTLS(t *testing.T) {
	data := pattern(10)
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, data) })
	reg := httptest.NewTLSServer(http.RedirectHandler(plain.url+"/blobs/x", http.StatusFound))
	t.Cleanup(reg.Close)
	host := strings.TrimPrefix(reg.URL, "https://")
	f := open(t, fetcher.Options{Limits: quick(), Registries: map[string]fetcher.Registry{host: {PlainHTTP: new(false), CAFile: caOf(t, reg)}}})
	if _, err := readAll(f.Blob(within(t), scope(host), blobOf(data))); !errors.Is(err, fault.UpstreamRedirect) {
		t.Fatalf("got %v", err)
	}
	if plain.Counts().Total() != 0 {
		t.Fatal("the redirect was followed")
	}
}
