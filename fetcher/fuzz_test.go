package fetcher

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/credentials"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// FuzzContentRange: a 206 counts only if it says, in the one way that RFC 9110 has, that it is the range asked for of a
// blob as long as its descriptor says.
func FuzzContentRange(f *testing.F) {
	for _, value := range []string{
		"bytes 5-14/100", "bytes 5-14/*", "bytes 5-14/101", "bytes 5-13/100", "bytes 6-14/100", "bytes 0-99/100", "bytes */100", "",
		"bytes 5-14/+100", "bytes 5-14/0100", "bytes 5-14/", "bytes 5-14", "bytes=5-14/100", "bytes  5-14/100", "bytes 05-14/100",
		"bytes 5-14/100, bytes 20-30/100", "bytes 5-14/18446744073709551716", "bytes 5-14/100\x00", "octets 5-14/100",
	} {
		f.Add(value, uint32(5), uint32(9), uint32(85))
	}
	spec := regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+|\*)$`)
	f.Fuzz(func(t *testing.T, value string, offset, more, rest uint32) {
		c := &call{kind: kindRange, offset: int64(offset), length: int64(more) + 1, size: int64(offset) + int64(more) + 1 + int64(rest)}
		err := checkRange(c, http.Header{"Content-Range": {value}})
		if err != nil {
			if err.Reason != fault.BadRange {
				t.Fatalf("%q: %v", value, err)
			}
		} else {
			m := spec.FindStringSubmatch(value)
			if m == nil {
				t.Fatalf("%q was taken", value)
			}
			same := func(s string, want int64) bool { return s == strconv.FormatInt(want, 10) }
			if !same(m[1], c.offset) || !same(m[2], c.offset+c.length-1) || m[3] != "*" && !same(m[3], c.size) {
				t.Fatalf("%q was taken for %d+%d of %d", value, c.offset, c.length, c.size)
			}
		}
		// What a good registry answers is always taken; said twice it is nothing that can be relied on.
		good := fmt.Sprintf("bytes %d-%d/%d", c.offset, c.offset+c.length-1, c.size)
		if err := checkRange(c, http.Header{"Content-Range": {good}}); err != nil {
			t.Fatalf("%q: %v", good, err)
		}
		if value != good && checkRange(c, http.Header{"Content-Range": {good, value}}) == nil {
			t.Fatalf("%q and %q were taken together", good, value)
		}
	})
}

// FuzzRetryAfter: both forms of the header mean what RFC 9110 says, never a time that has passed, and a number too
// large to count is not taken for none: it is longer than any patience.
func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{
		"", "0", "1", "60", "120", "3600", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", strings.Repeat("9", 400),
		"-1", "+5", "1.5", "1e3", " 7 ", "0x10", "soon", "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 15 Jan 2027 08:01:40 GMT",
		"Friday, 15-Jan-27 08:01:40 GMT", "Fri Jan 15 08:01:40 2027", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT",
	} {
		f.Add(value, int64(1_800_000_000))
	}
	digits := regexp.MustCompile(`^[0-9]+$`)
	f.Fuzz(func(t *testing.T, value string, at int64) {
		now := time.Unix(at%(1<<33), 0).UTC()
		got, ok := retryAfter(value, now)
		if got < 0 || !ok && got != 0 {
			t.Fatalf("%q: %v, %v", value, got, ok)
		}
		if digits.MatchString(value) {
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n < 1<<31 && (!ok || got != time.Duration(n)*time.Second) {
				t.Fatalf("%q: %v, %v", value, got, ok)
			} else if !ok || (err != nil || n >= 1<<31) && got < 24*time.Hour {
				t.Fatalf("%q is a long time, not %v, %v", value, got, ok)
			}
		}
		// A date of the form that is required, that many seconds from now.
		later := time.Duration(at&0xfffff) * time.Second
		if got, ok := retryAfter(now.Add(later).Format(http.TimeFormat), now); !ok || got != later {
			t.Fatalf("%v from %s: %v, %v", later, now, got, ok)
		}
		if got, ok := retryAfter(now.Add(-time.Second).Format(http.TimeFormat), now); !ok || got != 0 {
			t.Fatalf("a second ago: %v, %v", got, ok)
		}
	})
}

// FuzzRealm: a registry on the internet sends its logins to its own domain by https alone. The oracle knows the domains
// of these registries and nothing of public suffixes.
func FuzzRealm(f *testing.F) {
	registries := []struct{ addr, domain string }{
		{"registry-1.docker.io", "docker.io"}, {"ghcr.io", "ghcr.io"}, {"registry.example.co.uk:5000", "example.co.uk"},
		{"me.github.io", "me.github.io"}, {"10.1.2.3:5000", "10.1.2.3"}, {"[2001:db8::1]:5000", "2001:db8::1"}, {"registry", "registry"},
	}
	for _, realm := range []string{
		"https://auth.docker.io/token", "http://auth.docker.io/token", "https://auth.docker.io.evil.example/", "https://docker.io@evil.example/",
		"https://evil.example/docker.io", "https://ghcr.io/token", "https://ghcr.io:444/", "https://evilghcr.io/", "https://other.co.uk/",
		"https://auth.example.co.uk/", "https://you.github.io/", "https://10.1.2.3/", "https://8.8.2.3/", "https://192.168.2.3:5000/", "https://[2001:db8::1]/",
		"https://[2001:db8::2]/", "https://registry/", "https://other/", "https://DOCKER.IO/", "https://auth.docker.io./", "//auth.docker.io/", "/token",
		"ftp://ghcr.io/", "https:ghcr.io", "https://ghcr.\u212ao/", "",
	} {
		f.Add(realm)
	}
	f.Fuzz(func(t *testing.T, realm string) {
		u, err := url.Parse(realm)
		if err != nil {
			return
		}
		for _, r := range registries {
			if !realmAllowed(&host{addr: r.addr, scheme: "https"}, u) {
				continue
			}
			name := strings.ToLower(u.Hostname())
			_, notIP := netip.ParseAddr(r.domain)
			if u.Scheme != "https" || name != r.domain && (notIP == nil || !strings.HasSuffix(name, "."+r.domain)) {
				t.Errorf("%s may send logins to %s", r.addr, realm)
			}
		}
	})
}

// secret is what must reach the registry alone.
const secret = "canary-secret"

// oneAnswer is all servers there are. Each answers everything with the same status and header, the registry only those
// who are logged in, and it is written down who spoke to whom.
type oneAnswer struct {
	mu       sync.Mutex // guards what follows
	status   int
	header   string
	value    string
	dialled  []string // addresses
	told     []string // hosts that were sent an Authorization
	requests int
}

func (o *oneAnswer) set(status int, header, value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.header, o.value = status, header, value
	o.dialled, o.told, o.requests = nil, nil, 0
}

func (o *oneAnswer) dial(_ *net.Dialer, _ context.Context, _, addr string) (net.Conn, error) {
	o.mu.Lock()
	o.dialled = append(o.dialled, addr)
	o.mu.Unlock()
	ours, theirs := net.Pipe()
	go o.serve(theirs, addr)
	return ours, nil
}

func (o *oneAnswer) serve(conn net.Conn, addr string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return // a TLS handshake, for one
		}
		_, _ = io.Copy(io.Discard, req.Body)
		o.mu.Lock()
		o.requests++
		if req.Header.Get("Authorization") != "" || strings.Contains(req.URL.String(), secret) {
			o.told = append(o.told, addr)
		}
		answer := fmt.Sprintf("HTTP/1.1 %d x\r\n%s: %s\r\nContent-Length: 2\r\n\r\n", o.status, o.header, o.value)
		if req.Header.Get("Authorization") == "" && addr == "registry.test:80" && o.status != http.StatusUnauthorized {
			answer = "HTTP/1.1 401 x\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 2\r\n\r\n"
		}
		o.mu.Unlock()
		if req.Method != http.MethodHead {
			answer += "{}"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// FuzzAnswerHeader: whatever a registry writes into the headers that lead somewhere, a challenge or a redirect, nobody but
// the registry is sent its login, nobody that it must not lead to is even connected to, and the caller gets an error with
// a reason, after few requests.
func FuzzAnswerHeader(f *testing.F) {
	for _, value := range []string{
		`Basic realm="x"`, `Bearer realm="http://registry.test/token",service="s",scope="repository:a/b:pull"`, `Bearer realm="http://evil.test/token"`,
		`Bearer realm="https://registry.test/token"`, `Bearer realm="https://registry.test.evil.test/"`, `Bearer realm="http://registry.test@evil.test/"`,
		`Bearer realm="//evil.test/"`, `Bearer realm="/token"`, `Bearer realm="`, `Bearer`, `Bearer realm=http://registry.test/`, `Bearer realm="http://registry.test:81/"`,
		`Basic realm="x", Bearer realm="http://evil.test/"`, `bearer REALM="http://evil.test/"`, `Digest realm="x"`, `,,,`, `Bearer ="", a="\"`, "",
		"http://evil.test/", "https://evil.test/", "//evil.test/x", "/v2/", "?", "http://registry.test:80/v2/", "http://user:pw@evil.test/", "ftp://evil.test/", "http://",
		"http://[::1]/", "http://169.254.169.254/latest/", ":", "%zz", strings.Repeat("/a", 1000),
	} {
		f.Add(value)
	}
	file := f.TempDir() + "/logins.yaml"
	if err := os.WriteFile(file, []byte("robot: {username: user, password: "+secret+"}\n"), 0o600); err != nil {
		f.Fatal(err)
	}
	logins, err := credentials.New(credentials.Options{File: file})
	if err != nil {
		f.Fatal(err)
	}
	plain, o := true, &oneAnswer{}
	tokens := "token.test"
	fetch, err := New(Options{
		Registries:  map[string]Registry{"registry.test": {PlainHTTP: &plain, Credential: "robot", TokenRealms: []string{tokens}}},
		Credentials: logins, Log: slog.New(slog.DiscardHandler), Dial: o.dial,
		Proxy:  func(*http.Request) (*url.URL, error) { return nil, nil },
		Limits: Limits{RetryWait: 1, BreakerMin: 1, BreakerMax: 1, Token: time.Second, Dial: time.Second},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(fetch.Close)
	scope := oci.Scope{Registry: "registry.test", Repository: "a/b", Credential: "robot"}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return // ends the header
		}
		for _, tc := range []struct {
			status int
			header string
		}{{401, "WWW-Authenticate"}, {307, "Location"}} {
			o.set(tc.status, tc.header, value)
			_, _, err := fetch.Manifest(t.Context(), scope, digest.FromString("x"))
			o.mu.Lock()
			dialled, told, requests := o.dialled, o.told, o.requests
			o.mu.Unlock()
			if reason := fault.ReasonOf(err); reason == "" || reason == fault.Internal {
				t.Errorf("%d %s: %q: %v", tc.status, tc.header, value, err)
			}
			for _, addr := range told {
				if addr := strings.ToLower(addr); addr != "registry.test:80" && addr != tokens+":80" {
					t.Errorf("%d %s: %q: the login went to %s", tc.status, tc.header, value, addr)
				}
			}
			for _, addr := range dialled {
				if host := strings.ToLower(hostname(addr)); tc.status == 401 && host != "registry.test" && host != tokens {
					t.Errorf("%d %s: %q: it leads to %s", tc.status, tc.header, value, addr)
				}
			}
			if requests > 24 {
				t.Errorf("%d %s: %q: %d requests", tc.status, tc.header, value, requests)
			}
		}
	})
}
