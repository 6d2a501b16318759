package e2e

import (
	"io"
	"net/http"
	"strings"

	"github.com/blobd/blobd/internal/registrytest"
)

// flipped has a registry send wrong bytes: one bit of every answer of a kind is another. The kind is "manifest", "index"
// (blobs fetched whole) or "data" (ranges).
func flipped(reg *registrytest.Registry, kind string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, req *http.Request) bool {
		is := "other"
		switch {
		case req.Method != http.MethodGet:
		case strings.Contains(req.URL.Path, "/manifests/"):
			is = "manifest"
		case strings.Contains(req.URL.Path, "/blobs/") && req.Header.Get("Range") != "":
			is = "data"
		case strings.Contains(req.URL.Path, "/blobs/"):
			is = "index"
		}
		if is != kind {
			return false
		}
		right, err := http.NewRequestWithContext(req.Context(), http.MethodGet, "http://"+reg.PushHost()+req.URL.Path, nil)
		if err != nil {
			panic(err) // the path came with a request
		}
		right.Header = req.Header.Clone()
		res, err := http.DefaultTransport.RoundTrip(right)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return true
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return true
		}
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		for name, values := range res.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(res.StatusCode)
		_, _ = w.Write(body) // a client that went away needs no answer
		return true
	}
}
