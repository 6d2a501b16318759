package fetcher

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/blobd/blobd/internal/fault"
)

// dialer connects to a host and to wherever it redirects, but only to addresses that the host may lead to: a public
// registry must not make the daemon call at machines that only the daemon can reach.
type dialer struct {
	host    *host
	timeout time.Duration

	mu      sync.Mutex // guards proxies
	proxies map[string]bool
}

type addressKind int

const (
	addressPublic  addressKind = iota
	addressPrivate             // loopback, private, unique local, carrier-grade NAT: fine for a registry that lives there itself
	addressNever               // link-local, where clouds keep their metadata; unspecified; multicast; broadcast
)

// never are ranges in which no registry lives, beside those that package netip knows.
var never = prefixes(
	"0.0.0.0/8",          // this network
	"255.255.255.255/32", // broadcast
	"100.100.100.200/32", // metadata of Alibaba Cloud
	"192.0.0.192/32",     // metadata of Oracle Cloud
	"fd00:ec2::254/128",  // metadata of AWS
)

// private are ranges that do not lead out of an organisation, beside those that package netip knows.
var private = prefixes(
	"100.64.0.0/10", // carrier-grade NAT
	"192.0.0.0/24",  // protocol assignments
	"198.18.0.0/15", // benchmarks
	"240.0.0.0/4",   // reserved, and used inside by those who ran out
	"fec0::/10",     // site-local, the forerunner of unique local
)

// carriers are the IPv6 ranges whose addresses stand for an IPv4 address, and the byte at which that begins.
var carriers = []struct {
	netip.Prefix
	at int
}{
	{netip.MustParsePrefix("::/96"), 12},          // IPv4-compatible
	{netip.MustParsePrefix("64:ff9b::/96"), 12},   // NAT64
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12}, // NAT64 of a site
	{netip.MustParsePrefix("2002::/16"), 2},       // 6to4
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

func kindOfAddress(ip netip.Addr) addressKind {
	ip = ip.Unmap().WithZone("")
	within := func(p netip.Prefix) bool { return p.Contains(ip) }
	switch {
	case ip.IsLinkLocalUnicast(), ip.IsMulticast(), ip.IsUnspecified(), slices.ContainsFunc(never, within):
		return addressNever
	case ip.IsLoopback(), ip.IsPrivate(), slices.ContainsFunc(private, within):
		return addressPrivate
	}
	for _, c := range carriers {
		if c.Contains(ip) {
			raw := ip.As16()
			return kindOfAddress(netip.AddrFrom4([4]byte(raw[c.at : c.at+4])))
		}
	}
	return addressPublic
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d.mu.Lock()
	proxy := d.proxies[addr]
	d.mu.Unlock()
	own := sameServer(d.host.scheme, d.host.addr, addr)
	nd := net.Dialer{Timeout: d.timeout, KeepAlive: 30 * time.Second}
	nd.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		if proxy {
			return nil // the administrator chose it
		}
		return d.allow(own, addr, resolved)
	}
	return d.host.gen.Dial(&nd, ctx, network, addr)
}

// allow judges an address just before it is connected to, after its name was resolved.
func (d *dialer) allow(own bool, addr, resolved string) error {
	ap, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return fault.Wrap(fault.AddressRefused, err, "registry %s: address %s", d.host.name, resolved)
	}
	switch kind := kindOfAddress(ap.Addr()); {
	case kind == addressNever:
	case kind == addressPublic:
		return nil
	case d.host.listed != nil:
		if d.host.listed(addr) {
			return nil
		}
		return unlisted(addr)
	case own:
		d.host.local.Store(true) // it lives here, so it may lead to its neighbours
		return nil
	case d.host.local.Load():
		return nil
	}
	return fault.New(fault.AddressRefused, "registry %s: it leads to %s at %s, an address that it must not use",
		d.host.name, addr, ap.Addr()).Try("check the registry; a public registry must not redirect into a private network")
}

// proxy wraps a http.Transport.Proxy and remembers what it answers, since the dialer is told addresses only.
func (d *dialer) proxy(next func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		u, err := next(req)
		if err != nil || u == nil {
			return u, err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.proxies == nil {
			d.proxies = map[string]bool{}
		}
		d.proxies[net.JoinHostPort(u.Hostname(), portOf(u))] = true
		return u, nil
	}
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch u.Scheme {
	case "https":
		return "443"
	case "socks5", "socks5h":
		return "1080"
	}
	return "80"
}

// sameServer reports whether addr, which has a port, is host under scheme.
func sameServer(scheme, host, addr string) bool {
	u := url.URL{Scheme: scheme, Host: host}
	return net.JoinHostPort(u.Hostname(), portOf(&u)) == addr
}
