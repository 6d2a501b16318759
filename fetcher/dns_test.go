package fetcher_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
)

// resolver makes the process resolve names by answer until the test ends, and counts the questions.
func resolver(t *testing.T, answer func(name string) (dnsmessage.RCode, net.IP)) *atomic.Int64 {
	t.Helper()
	var asked atomic.Int64
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			for { // messages framed by their length, as over TCP
				var size [2]byte
				if _, err := io.ReadFull(ours, size[:]); err != nil {
					return
				}
				raw := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(ours, raw); err != nil {
					return
				}
				asked.Add(1)
				var m dnsmessage.Message
				if m.Unpack(raw) != nil {
					return
				}
				q := m.Questions[0]
				code, ip := answer(strings.TrimSuffix(q.Name.String(), "."))
				m.Response, m.RCode, m.Additionals = true, code, nil
				if ip4 := ip.To4(); ip4 != nil && q.Type == dnsmessage.TypeA {
					m.Answers = []dnsmessage.Resource{{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
						Body:   &dnsmessage.AResource{A: [4]byte(ip4)},
					}}
				}
				raw, err := m.Pack()
				if err != nil {
					return
				}
				binary.BigEndian.PutUint16(size[:], uint16(len(raw)))
				if _, err := ours.Write(append(size[:], raw...)); err != nil {
					return
				}
			}
		}()
		return theirs, nil
	}}
	return &asked
}

// regclient looks up the registry's name before each request that carries a token, without a context and while it
// holds a lock; ours are looked up to connect and for nothing else.
func TestNoLookupsBesideConnecting(t *testing.T) {
	asked := resolver(t, func(string) (dnsmessage.RCode, net.IP) { return dnsmessage.RCodeSuccess, net.IPv4(127, 0, 0, 1) })
	reg := newTokenRegistry(t, nil)
	_, port, err := net.SplitHostPort(reg.host)
	if err != nil {
		t.Fatal(err)
	}
	host := net.JoinHostPort("registry.test", port)
	f := open(t, fetcher.Options{Registries: map[string]fetcher.Registry{host: {PlainHTTP: new(true)}}})
	if err := get(within(t), f, scope(host)); err != nil {
		t.Fatal(err)
	}
	connecting := asked.Load()
	if connecting == 0 {
		t.Fatal("the test's resolver was not asked")
	}
	for range 5 {
		if err := get(within(t), f, scope(host)); err != nil {
			t.Fatal(err)
		}
	}
	if got := asked.Load(); got != connecting {
		t.Fatalf("%d lookups for five requests on an open connection", got-connecting)
	}
}

func TestNamesThatDoNotResolve(t *testing.T) {
	for _, tc := range []struct {
		name  string
		code  dnsmessage.RCode
		tries int64 // lookups of a name that is tried once take two questions or more (A and AAAA)
	}{
		{"no such name", dnsmessage.RCodeNameError, 1},
		{"a resolver that fails", dnsmessage.RCodeServerFailure, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := resolver(t, func(string) (dnsmessage.RCode, net.IP) { return tc.code, nil })
			_, _ = net.DefaultResolver.LookupHost(t.Context(), "registry.test")
			once := asked.Swap(0)
			f := open(t, fetcher.Options{Limits: quick()})
			if err := get(within(t), f, scope("registry.test")); !errors.Is(err, fault.UpstreamDNS) {
				t.Fatalf("got %v", err)
			}
			if got := asked.Load(); got != once*tc.tries {
				t.Fatalf("%d questions where one lookup takes %d; want %d tries", got, once, tc.tries)
			}
		})
	}
}

// A name that resolves to a forbidden address is judged by the address.
func TestNameOfAForbiddenAddress(t *testing.T) {
	resolver(t, func(string) (dnsmessage.RCode, net.IP) { return dnsmessage.RCodeSuccess, net.IPv4(169, 254, 169, 254) })
	f := open(t, fetcher.Options{Limits: quick()})
	if err := get(within(t), f, scope("metadata.test")); !errors.Is(err, fault.AddressRefused) {
		t.Fatalf("got %v", err)
	}
}
