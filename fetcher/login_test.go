package fetcher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
	"github.com/blobd/blobd/internal/registrytest"
)

// tokenRegistry answers with a manifest to whoever has the token of the moment. Its logins are served by login, or by
// itself where that is nil.
type tokenRegistry struct {
	*faulty
	token atomic.Pointer[string]
	realm string // "" is its own /token
	login http.HandlerFunc
}

func newTokenRegistry(t *testing.T, login http.HandlerFunc) *tokenRegistry {
	t.Helper()
	reg := &tokenRegistry{login: login}
	reg.token.Store(new("first"))
	reg.faulty = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			if reg.login != nil {
				reg.login(w, r)
				return
			}
			reg.grant(w)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+*reg.token.Load() {
			realm := reg.realm
			if realm == "" {
				realm = "http://" + r.Host + "/token"
			}
			name := strings.TrimPrefix(strings.SplitN(r.URL.Path, "/manifests/", 2)[0], "/v2/")
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test",scope="repository:%s:pull"`, realm, name))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
		_, _ = w.Write([]byte(smallManifest))
	})
	return reg
}

func (reg *tokenRegistry) grant(w http.ResponseWriter) {
	_ = json.NewEncoder(w).Encode(map[string]any{"token": *reg.token.Load(), "expires_in": 3600})
}

func get(ctx context.Context, f *fetcher.Fetcher, sc oci.Scope) error {
	_, _, err := f.Manifest(ctx, sc, digest.FromString(smallManifest))
	return err
}

// A token that the registry no longer takes, long before its end, costs one new login and no error.
func TestRevokedToken(t *testing.T) {
	reg := newTokenRegistry(t, nil)
	f := open(t, fetcher.Options{})
	if err := get(within(t), f, scope(reg.host)); err != nil {
		t.Fatal(err)
	}
	reg.Reset()
	reg.token.Store(new("second"))
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := get(within(t), f, scope(reg.host)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := reg.Counts(); got.Token != 1 || got.Manifest != 5 {
		t.Fatalf("%+v", got)
	}
	reg.login = func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
	reg.token.Store(new("third"))
	if err := get(within(t), f, scope(reg.host)); !errors.Is(err, fault.UpstreamUnauthorized) {
		t.Fatalf("when there is no new token: %v", err)
	}
}

// What a login may cost: regclient gives token requests no context, no limit, and a lock of the whole host.
func TestStalledLoginHoldsNobodyUp(t *testing.T) {
	var f *fetcher.Fetcher
	arrived := make(chan struct{}, 100)
	reg := newTokenRegistry(t, nil)
	reg.login = func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "app") {
			arrived <- struct{}{}
			<-r.Context().Done()
			return
		}
		reg.grant(w)
	}
	f = open(t, fetcher.Options{Limits: fetcher.Limits{Token: 500 * time.Millisecond, RetryWait: time.Millisecond}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := get(ctx, f, scope(reg.host)); !errors.Is(err, context.DeadlineExceeded) || fault.ReasonOf(err) != "" {
		t.Fatalf("got %v", err)
	}
	if took := time.Since(begin); took > 400*time.Millisecond {
		t.Fatalf("the caller was held %v past its deadline", took)
	}
	<-arrived
	other := scope(reg.host)
	other.Repository = "acme/innocent"
	begin = time.Now()
	if err := get(within(t), f, other); err != nil || time.Since(begin) > 400*time.Millisecond {
		t.Fatalf("another repository waited %v: %v", time.Since(begin), err)
	}
	// Without a deadline the limit counts, once for all who wait together.
	begin = time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := get(within(t), f, scope(reg.host)); !errors.Is(err, fault.AuthServer) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took > 2*time.Second {
		t.Fatalf("eight callers waited %v for one limit", took)
	}
}

func TestLoginAnswers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		login http.HandlerFunc
		want  fault.Reason
	}{
		{"a flood", func(w http.ResponseWriter, r *http.Request) {
			chunk := []byte(strings.Repeat("x", 64<<10))
			_, _ = w.Write([]byte(`{"token":"`))
			for range 5000 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, fault.AuthServer},
		{"500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, fault.AuthServer},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, fault.AuthServer},
		{"429", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
		}, fault.UpstreamRateLimit},
		{"403", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, fault.UpstreamForbidden},
		{"HTML", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>")) }, fault.UpstreamForbidden},
		{"a token that is not taken", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(`{"token":"other"}`)) }, fault.UpstreamForbidden},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := newTokenRegistry(t, tc.login)
			f := open(t, fetcher.Options{Limits: quick()})
			if err := get(within(t), f, scope(reg.host)); !errors.Is(err, tc.want) {
				t.Fatalf("got %v (%s), want %s", err, fault.ReasonOf(err), tc.want)
			}
			if got := reg.Requests(); got[len(got)-1].Bytes > 16<<20 {
				t.Fatalf("%d bytes of token were taken", got[len(got)-1].Bytes)
			}
		})
	}
}

// Each repository asks for its own scope and nothing else, however many there are.
func TestScopesDoNotPileUp(t *testing.T) {
	reg := newTokenRegistry(t, nil)
	f := open(t, fetcher.Options{})
	for i := range 30 {
		sc := scope(reg.host)
		sc.Repository = fmt.Sprintf("acme/app%d", i)
		if err := get(within(t), f, sc); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range reg.Requests() {
		if r.Kind == registrytest.Token && strings.Count(r.Query, "scope=") != 1 {
			t.Fatalf("scopes pile up: %s", r.Query)
		}
	}
}

func TestRealmOnAnotherHost(t *testing.T) {
	var stolen atomic.Int64
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) {
		stolen.Add(1)
		_, _ = w.Write([]byte(`{"token":"first"}`))
	})
	reg := newTokenRegistry(t, nil)
	reg.realm = elsewhere.url + "/token"
	sc := scope(reg.host)
	sc.Credential = "robot"

	f := open(t, fetcher.Options{Credentials: logins(t, "secret"), Limits: quick()})
	if err := get(within(t), f, sc); !errors.Is(err, fault.AuthRealm) {
		t.Fatalf("got %v", err)
	}
	if stolen.Load() != 0 {
		t.Fatal("the login went to another host")
	}
	for _, realm := range []string{elsewhere.host, elsewhere.url} {
		f = open(t, fetcher.Options{
			Credentials: logins(t, "secret"), Limits: quick(),
			Registries: map[string]fetcher.Registry{reg.host: {TokenRealms: []string{realm}}},
		})
		if err := get(within(t), f, sc); err != nil {
			t.Fatalf("with token_realms %s: %v", realm, err)
		}
	}
}

func TestIdentityToken(t *testing.T) {
	reg := newTokenRegistry(t, nil)
	reg.login = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.PostFormValue("grant_type") != "refresh_token" || r.PostFormValue("refresh_token") != "refresh-me" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		reg.grant(w)
	}
	file := filepath.Join(t.TempDir(), "logins.yaml")
	if err := os.WriteFile(file, []byte("robot: {identity_token: refresh-me}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := credentials.New(credentials.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, fetcher.Options{Credentials: store})
	sc := scope(reg.host)
	sc.Credential = "robot"
	if err := get(within(t), f, sc); err != nil {
		t.Fatal(err)
	}
}

// A login whose secret was refused is read again with the next call, and one that was rotated works on.
func TestRotatedSecret(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Password: "new"})
	manifest, _ := reg.PutArtifact(t, repo, "v1", "application/x-test")
	file := filepath.Join(t.TempDir(), "logins.yaml")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file+".tmp", []byte("robot: {username: user, password: "+password+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".tmp", file); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	store, err := credentials.New(credentials.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, fetcher.Options{Credentials: store})
	sc := scope(reg.Host())
	sc.Credential = "robot"
	if err := f.Stat(within(t), sc, manifest.Digest); !errors.Is(err, fault.UpstreamForbidden) {
		t.Fatalf("the old secret: %v", err)
	}
	write("new")
	if err := f.Stat(within(t), sc, manifest.Digest); err != nil {
		t.Fatal(err)
	}
	write("other") // the login that worked is no longer the one of that name
	if err := f.Stat(within(t), sc, manifest.Digest); !errors.Is(err, fault.UpstreamForbidden) {
		t.Fatalf("a changed login: %v", err)
	}
}

func TestReload(t *testing.T) {
	reg := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthToken})
	manifest, _ := reg.PutArtifact(t, repo, "v1", "application/x-test")
	conf := map[string]fetcher.Registry{reg.Host(): {Credential: "robot"}}
	f := open(t, fetcher.Options{})
	if name := f.Credential(reg.Host(), repo); name != "" {
		t.Fatalf("credential %q without a configuration", name)
	}
	if err := f.Stat(within(t), scope(reg.Host()), manifest.Digest); !errors.Is(err, fault.UpstreamForbidden) {
		t.Fatalf("anonymous: %v", err)
	}
	if err := f.Reload(fetcher.Options{Registries: conf, Credentials: logins(t, "secret")}); err != nil {
		t.Fatal(err)
	}
	sc := scope(reg.Host())
	if sc.Credential = f.Credential(reg.Host(), repo); sc.Credential != "robot" {
		t.Fatalf("credential %q", sc.Credential)
	}
	if err := f.Stat(within(t), sc, manifest.Digest); err != nil {
		t.Fatal(err)
	}
	bad := map[string]fetcher.Registry{"r.example": {CAFile: filepath.Join(t.TempDir(), "none.pem")}}
	if err := f.Reload(fetcher.Options{Registries: bad}); err == nil {
		t.Fatal("a missing CA file was accepted")
	}
	if err := f.Stat(within(t), sc, manifest.Digest); err != nil {
		t.Fatalf("a refused Reload changed something: %v", err)
	}
}

// A token that ends while its server stalls costs those who need a new one a single limit between them: they queue in
// regclient's lock, where no context reaches them.
func TestExpiredTokenAndStalledLogin(t *testing.T) {
	var stall atomic.Bool
	reg := newTokenRegistry(t, nil)
	reg.login = func(w http.ResponseWriter, r *http.Request) {
		if stall.Load() {
			<-r.Context().Done()
			return
		}
		// regclient gives a token at least a minute and renews it five seconds before its end.
		_ = json.NewEncoder(w).Encode(map[string]any{
			"token": "first", "expires_in": 60, "issued_at": time.Now().Add(-54500 * time.Millisecond).UTC(),
		})
	}
	f := open(t, fetcher.Options{Limits: fetcher.Limits{Token: 300 * time.Millisecond, RetryWait: time.Millisecond}})
	if err := get(within(t), f, scope(reg.host)); err != nil {
		t.Fatal(err)
	}
	stall.Store(true)
	<-time.After(700 * time.Millisecond)
	begin := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			// regclient goes on with the old token where it gets no new one, and this registry still takes it.
			if err := get(within(t), f, scope(reg.host)); err != nil && !errors.Is(err, fault.AuthServer) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took > 1500*time.Millisecond {
		t.Fatalf("eight callers waited %v for one limit of 300 ms", took)
	}
}

func TestCloseEndsAStalledLogin(t *testing.T) {
	arrived := make(chan struct{}, 10)
	reg := newTokenRegistry(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	f := open(t, fetcher.Options{Limits: fetcher.Limits{Token: time.Hour}})
	failed := make(chan error)
	go func() { failed <- get(t.Context(), f, scope(reg.host)) }()
	<-arrived
	f.Close()
	if err := <-failed; !errors.Is(err, fault.ShuttingDown) {
		t.Fatalf("got %v", err)
	}
}
