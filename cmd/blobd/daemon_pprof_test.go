package main

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Profiles are at an address of their own, for requests that name this host, and end with the daemon.
func TestProfiles(t *testing.T) {
	td := startTest(t, shortDir(t), "pprof_addr: 127.0.0.1:0\n")
	addr := td.pprof.listener.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, tt := range []struct {
		path, host string
		status     int
		says       string
	}{
		{"/debug/pprof/", addr, http.StatusOK, "goroutine"},
		{"/debug/pprof/", "localhost:" + port, http.StatusOK, "goroutine"},
		{"/debug/pprof/heap?debug=1", "[::1]:" + port, http.StatusOK, "heap profile"},
		{"/debug/pprof/cmdline", "localhost", http.StatusOK, ""},
		{"/debug/pprof/goroutine?debug=2", "127.0.0.1", http.StatusOK, "TestProfiles"},
		{"/debug/pprof/", "[::1]", http.StatusOK, "goroutine"},
		{"/debug/pprof/", "evil.example:" + port, http.StatusForbidden, "this host alone"},
		{"/debug/pprof/heap", "localhost.evil.example", http.StatusForbidden, "this host alone"},
		{"/debug/pprof/heap", "192.0.2.1:" + port, http.StatusForbidden, "this host alone"},
		{"/debug/pprof/no-such-profile", addr, http.StatusNotFound, ""},
		{"/metrics", addr, http.StatusNotFound, ""},
		{"/", addr, http.StatusNotFound, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != tt.status || !strings.Contains(string(body), tt.says) {
			t.Errorf("%s for %s: %d %.100q, %v; want %d and %q", tt.path, tt.host, res.StatusCode, body, err, tt.status, tt.says)
		}
	}
	if status, _ := td.get(t, "/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("the metrics' address has profiles too: %d", status)
	}
	td.end(t)
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("the address of profiles outlives the daemon")
	}
}
