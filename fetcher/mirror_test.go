package fetcher_test

import (
	"bytes"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func TestMirrorsInOrder(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	host := func(name string, status int, body string) *faulty {
		return serve(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked = append(asked, name+"?ns="+r.URL.Query().Get("ns"))
			mu.Unlock()
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	for _, tc := range []struct {
		name                  string
		first, second, origin int
		bodies                [3]string
		asked                 int
		want                  fault.Reason
	}{
		{"the first has it", 200, 200, 200, [3]string{smallManifest, smallManifest, smallManifest}, 1, ""},
		{"the second has it", 404, 200, 200, [3]string{"", smallManifest, smallManifest}, 2, ""},
		{"the first is damaged", 200, 200, 200, [3]string{"{}", smallManifest, smallManifest}, 2, ""},
		{"none has it", 403, 404, 200, [3]string{"", "", smallManifest}, 3, ""},
		{"nobody has it", 403, 500, 404, [3]string{}, 5, fault.ManifestUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked = nil
			first, second := host("first", tc.first, tc.bodies[0]), host("second", tc.second, tc.bodies[1])
			origin := host("origin", tc.origin, tc.bodies[2])
			f := open(t, fetcher.Options{Limits: quick(), Registries: map[string]fetcher.Registry{
				origin.host: {Mirrors: []string{first.host, second.host}},
			}})
			_, raw, err := f.Manifest(within(t), scope(origin.host), digest.FromString(smallManifest))
			if fault.ReasonOf(err) != tc.want || tc.want == "" && string(raw) != smallManifest {
				t.Fatalf("%q, %v", raw, err)
			}
			all := []string{"first?ns=" + origin.host, "second?ns=" + origin.host, "origin?ns="}
			if tc.want != "" { // the second is tried three times
				all = []string{all[0], all[1], all[1], all[1], all[2]}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(asked) != tc.asked {
				t.Fatalf("asked %q", asked)
			}
			for i := range asked {
				if asked[i] != all[i] {
					t.Fatalf("asked %q", asked)
				}
			}
		})
	}
}

// A mirror that is down costs its tries once, then its breaker answers for it.
func TestMirrorDown(t *testing.T) {
	dead := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
		_, _ = w.Write([]byte(smallManifest))
	})
	limits := quick()
	limits.BreakerMin, limits.BreakerMax = 1<<40, 1<<40
	f := open(t, fetcher.Options{Limits: limits, Registries: map[string]fetcher.Registry{
		origin.host: {Mirrors: []string{dead.host}},
	}})
	for range 3 {
		if _, _, err := f.Manifest(within(t), scope(origin.host), digest.FromString(smallManifest)); err != nil {
			t.Fatal(err)
		}
	}
	if got := dead.Counts().Total(); got != 3 {
		t.Fatalf("%d requests to the mirror", got)
	}
}

// The login of the registry never goes to a mirror.
func TestMirrorHasItsOwnLogin(t *testing.T) {
	mirror := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if user, _, ok := r.BasicAuth(); ok {
			t.Errorf("the mirror saw the login of %s", user)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="mirror"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) })
	f := open(t, fetcher.Options{Limits: quick(), Credentials: logins(t, "secret"), Registries: map[string]fetcher.Registry{
		origin.host: {Mirrors: []string{mirror.host}},
	}})
	sc := scope(origin.host)
	sc.Credential = "robot"
	if err := f.Stat(within(t), sc, digest.FromString(smallManifest)); !errors.Is(err, fault.ManifestUnknown) {
		t.Fatal(err)
	}
	if mirror.Counts().Challenge != 1 {
		t.Fatalf("%+v", mirror.Counts())
	}
}

// A mirror that stalls in the middle of a blob is given up for the next host, which goes on where it stopped, and is left
// out for a while.
func TestMirrorStallsMidway(t *testing.T) {
	data := pattern(1000)
	mirror := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(data[:300])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) { sendRange(w, r, data) })
	limits := quick()
	limits.Mirror, limits.BreakerMax = 100*time.Millisecond, time.Hour
	f := open(t, fetcher.Options{Limits: limits, Registries: map[string]fetcher.Registry{
		origin.host: {Mirrors: []string{mirror.host}},
	}})
	for range 2 {
		got, err := readAll(f.Blob(within(t), scope(origin.host), blobOf(data)))
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if m, o := mirror.Counts(), origin.Requests(); m.Blob != 1 || len(o) != 2 || o[0].Range != "bytes=300-999" || o[1].Range != "" {
		t.Fatalf("%+v, then %+v", m, o)
	}
}
