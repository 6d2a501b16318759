package e2e

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestProfiles: profiles are served where they were asked for, to who names this host, and by nobody else.
func TestProfiles(t *testing.T) {
	at := freeAddress(t)
	w := &world{t: t, Host: newHost(t, setup{flags: []string{"--pprof-addr", at}})}
	w.start()
	for _, p := range []string{"heap", "goroutine", "profile?seconds=1", "trace?seconds=0.1", "symbol", "cmdline"} {
		if status, body := profile(t, at, at, p); status != http.StatusOK || body == "" {
			t.Errorf("%s: %d, %d bytes", p, status, len(body))
		}
	}
	if status, body := profile(t, at, "rebound.example", "heap"); status != http.StatusForbidden {
		t.Errorf("for a name that is not this host's: %d %.100q", status, body)
	}
	if status, _, err := w.Get(t.Context(), "/debug/pprof/heap"); err != nil || status != http.StatusNotFound {
		t.Errorf("the metrics' address: %d, %v", status, err)
	}
	w.stop()

	w.Flags = []string{"--pprof-addr", "0.0.0.0:6060"}
	if err := w.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "pprof_addr") {
		t.Errorf("an address that others can reach: %v", err)
	}
}

// profile asks a daemon's address of profiles for one of them.
func profile(t *testing.T, addr, host, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/debug/pprof/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.Close = host, true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// freeAddress is a loopback address that nobody listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
