package page_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/blobd/blobd/monitor/page"
)

// TestLocal: who is on this host and asks for it by address or as localhost, and nobody else.
func TestLocal(t *testing.T) {
	inside := page.Local(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for _, c := range []struct {
		from, host string
		header     string
		in         bool
	}{
		{"127.0.0.1:4000", "127.0.0.1:9465", "", true},
		{"127.8.9.10:4000", "127.0.0.1", "", true},
		{"[::1]:4000", "[::1]:9465", "", true},
		{"[::1]:4000", "[::1]", "", true},
		{"[::ffff:127.0.0.1]:4000", "127.0.0.1:9465", "", true},
		{"127.0.0.1:4000", "localhost:9465", "", true},
		{"127.0.0.1:4000", "LocalHost", "", true},
		{"127.0.0.1:4000", "10.1.2.3:9465", "", true},
		{"127.0.0.1:4000", "evil.example:9465", "", false},
		{"127.0.0.1:4000", "127.0.0.1.evil.example", "", false},
		{"127.0.0.1:4000", "localhost.evil.example", "", false},
		{"127.0.0.1:4000", "0x7f000001", "", false},
		{"127.0.0.1:4000", "", "", false},
		{"127.0.0.1:4000", "[", "", false},
		{"10.1.2.3:4000", "127.0.0.1:9465", "", false},
		{"10.1.2.3:4000", "localhost", "", false},
		{"[fe80::1%eth0]:4000", "localhost", "", false},
		{"[::ffff:10.1.2.3]:4000", "localhost", "", false},
		{"0.0.0.0:4000", "localhost", "", false},
		{"@", "localhost", "", false},
		{"", "localhost", "", false},
		{"127.0.0.1:4000", "localhost", "X-Forwarded-For", false},
		{"127.0.0.1:4000", "localhost", "Forwarded", false},
		{"127.0.0.1:4000", "localhost", "Via", false},
	} {
		t.Run(c.from+" "+c.host+" "+c.header, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr, r.Host = c.from, c.host
			if c.header != "" {
				r.Header.Set(c.header, "10.1.2.3")
			}
			w := httptest.NewRecorder()
			inside.ServeHTTP(w, r)
			switch {
			case c.in && w.Code != http.StatusTeapot:
				t.Errorf("%d %s", w.Code, w.Body)
			case !c.in && (w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "status_page: on")):
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
