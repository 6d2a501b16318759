package fetcher

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

// These tests are inside the package, since no test can live on a public address or a link-local one.

func testHost(t *testing.T, name string, conf Registry) *host {
	t.Helper()
	o := Options{Registries: map[string]Registry{name: conf}, Proxy: http.ProxyFromEnvironment, Observer: silent{}}
	o.Limits = o.Limits.withDefaults()
	h, err := newHost(&generation{Options: o}, name, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAddressesThatAHostMayLeadTo(t *testing.T) {
	const public, loopback, private, linkLocal = "93.184.216.34:443", "127.0.0.1:80", "10.1.2.3:443", "169.254.169.254:80"
	for _, tc := range []struct {
		host     string
		own      string // address of the host itself, connected to first; "" for none
		resolved string
		ok       bool
	}{
		{"registry.example", public, public, true},
		{"registry.example", public, loopback, false},
		{"registry.example", public, "[::1]:80", false},
		{"registry.example", public, "[::ffff:127.0.0.1]:80", false},
		{"registry.example", public, private, false},
		{"registry.example", public, "192.168.1.1:443", false},
		{"registry.example", public, "100.64.0.1:443", false},
		{"registry.example", public, "[fd12::1]:443", false},
		{"registry.example", public, linkLocal, false},
		{"registry.example", public, "0.0.0.0:80", false},
		{"registry.corp", private, private, true}, // it lives in the private network itself
		{"registry.corp", private, loopback, true},
		{"registry.corp", private, linkLocal, false},
		{"registry.corp", private, "[fe80::1%eth0]:80", false},
		{"registry.corp", private, "[fd00:ec2::254]:80", false},
		{"registry.corp", private, "100.100.100.200:80", false},
		{"10.0.0.5:5000", "", private, true},
		{"localhost:5000", "", loopback, true},
		{"[::1]:5000", "", loopback, true},
		{"93.184.216.34", "", private, false},
		{"169.254.169.254", "", linkLocal, false},
	} {
		h := testHost(t, tc.host, Registry{})
		d := &dialer{host: h}
		if tc.own != "" {
			if err := d.allow(true, tc.host, tc.own); err != nil {
				t.Fatalf("%s at %s: %v", tc.host, tc.own, err)
			}
		}
		err := d.allow(false, "storage.example:443", tc.resolved)
		if (err == nil) != tc.ok || err != nil && !errors.Is(err, fault.AddressRefused) {
			t.Errorf("%s (%s) leads to %s: %v", tc.host, tc.own, tc.resolved, err)
		}
	}
	// The metadata service is refused even where it is the registry that was asked for.
	d := &dialer{host: testHost(t, "169.254.169.254", Registry{})}
	if err := d.allow(true, "169.254.169.254:80", linkLocal); !errors.Is(err, fault.AddressRefused) {
		t.Errorf("link-local as a registry: %v", err)
	}
}

// What a public registry may lead to, whichever way an address is spelled. A name is resolved before it is judged, so these
// are all the ways there are; what is no address at all is refused too.
func TestSpellingsOfAddresses(t *testing.T) {
	d := &dialer{host: testHost(t, "registry.example", Registry{})}
	for resolved, ok := range map[string]bool{
		"93.184.216.34:443":                   true,
		"172.15.255.255:443":                  true,
		"172.32.0.1:443":                      true,
		"100.63.255.255:443":                  true,
		"100.128.0.1:443":                     true,
		"[2606:2800:220:1::1]:443":            true,
		"[::ffff:93.184.216.34]:443":          true,
		"[64:ff9b::5db8:d822]:443":            true, // 93.184.216.34 through NAT64
		"[2002:5db8:d822::1]:443":             true,
		"127.0.0.1:80":                        false,
		"127.255.255.254:80":                  false,
		"0.0.0.0:80":                          false,
		"0.1.2.3:80":                          false,
		"10.0.0.1:80":                         false,
		"10.255.255.255:80":                   false,
		"172.16.0.1:80":                       false,
		"172.31.255.255:80":                   false,
		"192.168.0.1:80":                      false,
		"100.64.0.1:80":                       false,
		"100.100.100.200:80":                  false,
		"169.254.0.1:80":                      false,
		"169.254.169.254:80":                  false,
		"169.254.170.2:80":                    false, // credentials of container tasks
		"192.0.0.192:80":                      false,
		"192.0.0.8:80":                        false,
		"198.18.0.1:80":                       false,
		"224.0.0.1:80":                        false,
		"240.0.0.1:80":                        false,
		"255.255.255.255:80":                  false,
		"[::]:80":                             false,
		"[::1]:80":                            false,
		"[0:0:0:0:0:0:0:1]:80":                false,
		"[::127.0.0.1]:80":                    false,
		"[::a9fe:a9fe]:80":                    false,
		"[::ffff:127.0.0.1]:80":               false,
		"[::ffff:7f00:1]:80":                  false,
		"[::FFFF:A9FE:A9FE]:80":               false,
		"[0:0:0:0:0:ffff:169.254.169.254]:80": false,
		"[64:ff9b::169.254.169.254]:80":       false,
		"[64:ff9b::7f00:1]:80":                false,
		"[64:ff9b:1::10.0.0.1]:80":            false,
		"[2002:a9fe:a9fe::1]:80":              false,
		"[2002:7f00:1::]:80":                  false,
		"[fe80::1]:80":                        false,
		"[fe80::1%eth0]:80":                   false,
		"[febf::1]:80":                        false,
		"[fec0::1]:80":                        false,
		"[fc00::1]:80":                        false,
		"[fd00:ec2::254]:80":                  false,
		"[ff02::1]:80":                        false,
		"2130706433:80":                       false,
		"0x7f000001:80":                       false,
		"0177.0.0.1:80":                       false,
		"127.1:80":                            false,
		"localhost:80":                        false,
		"":                                    false,
	} {
		err := d.allow(false, "storage.example:443", resolved)
		if (err == nil) != ok || err != nil && !errors.Is(err, fault.AddressRefused) {
			t.Errorf("%s: %v, want allowed %v", resolved, err, ok)
		}
	}
}

func TestRealms(t *testing.T) {
	for _, tc := range []struct {
		host, realm string
		conf        Registry
		ok          bool
	}{
		{"ghcr.io", "https://ghcr.io/token", Registry{}, true},
		{"docker.io", "https://auth.docker.io/token", Registry{}, true},
		{"registry.gitlab.com", "https://gitlab.com/jwt/auth", Registry{}, true},
		{"registry.example.co.uk", "https://other.co.uk/token", Registry{}, false}, // co.uk is nobody's domain
		{"ghcr.io", "http://ghcr.io/token", Registry{}, false},
		{"ghcr.io", "https://evil.example/token", Registry{}, false},
		{"ghcr.io", "https://ghcr.io.evil.example/token", Registry{}, false},
		{"ghcr.io", "https://evilghcr.io/token", Registry{}, false},
		{"10.0.0.1:5000", "https://10.0.0.1:5001/token", Registry{}, true},
		{"10.0.0.1:5000", "https://10.0.0.2:5000/token", Registry{}, false},
		{"localhost:5000", "http://localhost:5000/token", Registry{}, true},
		{"localhost:5000", "http://localhost:5001/token", Registry{}, false},
		{"localhost:5000", "http://evil.example/token", Registry{}, false},
		{"ghcr.io", "https://sso.corp.example/token", Registry{TokenRealms: []string{"sso.corp.example"}}, true},
		{"ghcr.io", "http://sso.corp.example/token", Registry{TokenRealms: []string{"sso.corp.example"}}, false},
		{"ghcr.io", "http://sso.corp.example/token", Registry{TokenRealms: []string{"http://sso.corp.example"}}, true},
	} {
		u, err := url.Parse(tc.realm)
		if err != nil {
			t.Fatal(err)
		}
		if got := realmAllowed(testHost(t, tc.host, tc.conf), u); got != tc.ok {
			t.Errorf("%s may send logins to %s: %v", tc.host, tc.realm, got)
		}
	}
}

func TestLRU(t *testing.T) {
	var gone []int
	l := newLRU[string](2, func(v int) { gone = append(gone, v) })
	l.put("a", 1)
	l.put("b", 2)
	l.get("a")
	l.put("c", 3)
	if _, ok := l.get("b"); ok || len(gone) != 1 || gone[0] != 2 {
		t.Fatalf("gone %v", gone)
	}
	l.put("a", 4)
	if v, _ := l.get("a"); v != 4 || len(l.at) != 2 || l.order.Len() != 2 {
		t.Fatalf("a is %d of %d", v, len(l.at))
	}
	l.clear()
	if len(gone) != 4 || len(l.at) != 0 {
		t.Fatalf("gone %v", gone)
	}
}
