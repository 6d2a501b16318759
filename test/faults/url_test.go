package faults

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/fetcher"
	"github.com/blobd/blobd/internal/fault"
	. "github.com/blobd/blobd/internal/faultregistry"
)

const (
	siteName = "files.test"
	siteFile = "http://" + siteName + "/app.wasm?signature=" + canarySecret
)

// allowed are sites that speak no TLS: a bubble has no certificates that anybody trusts.
var allowed = fetcher.URLs{AllowHTTP: []string{siteName, "second.test:80"}}

// download is a file on a site that can fail.
type download struct {
	*world
	front *Registry
	seen  *watched
	data  []byte
}

// inSite runs f in a world with a site that has one file, at every path.
func inSite(t *testing.T, o setup, size int, f func(d *download)) {
	t.Helper()
	if o.urls.AllowHTTP == nil {
		o.urls.AllowHTTP = allowed.AllowHTTP
	}
	inWorld(t, o, func(w *world) {
		d := &download{world: w, data: noise(9, size)}
		d.front = New(d.file(), Latency(latency))
		d.seen = w.net.watch(w.t, siteName+":80", d.front)
		w.site = d.seen.site
		f(d)
		w.sound()
		w.canary(canarySecret)
	})
}

func (d *download) file() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(d.data))
	})
}

func (d *download) fetch(address string, o *blobdv1.ReadOptions) (out outcome) {
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	began := time.Now()
	defer func() { out.took = time.Since(began) }()
	stream, err := d.client.FetchURL(ctx, &blobdv1.FetchURLRequest{Url: address, Digest: digest.FromBytes(d.data).String(), Options: o})
	if err != nil {
		return outcome{err: err}
	}
	for {
		resp, err := stream.Recv()
		if err == io.EOF {
			return out
		}
		if err != nil {
			out.err = err
			return out
		}
		out.data = append(out.data, resp.Data...)
		out.verified = out.verified || resp.Summary != nil
	}
}

func (d *download) mustFetch() {
	d.t.Helper()
	if got := d.fetch(siteFile, nil); got.err != nil || !bytes.Equal(got.data, d.data) || !got.verified {
		d.t.Errorf("%d bytes of %d, %v", len(got.data), len(d.data), got)
	}
}

// TestURLTable lets every row strike a file by address, small and large, with three callers waiting: what they get, what it
// costs, that it is over when the fault is, that nothing wrong was kept, and that neither a login nor what stands in the
// address is in a message, or anywhere but at the site.
func TestURLTable(t *testing.T) {
	refused := func(r fault.Reason, tries int) want { return want{codes.FailedPrecondition, r, 0, tries, soon} }
	for _, r := range []struct {
		name string
		act  Act
		dial func(ctx context.Context, d *net.Dialer) error
		want want
	}{
		{name: "refused", dial: refuses, want: want{codes.Unavailable, fault.UpstreamUnreachable, time.Millisecond, 3, soon + 100*time.Millisecond}},
		{name: "name does not exist", dial: unknownName, want: unavailable(fault.UpstreamDNS, 1, 50*time.Millisecond)},
		{name: "certificate that nobody trusts", dial: untrusted, want: refused(fault.UpstreamTLS, 1)},
		{name: "401", act: Status(401, "WWW-Authenticate", `Basic realm="x"`), want: want{codes.PermissionDenied, fault.UpstreamForbidden, 0, 1, soon}},
		{name: "403", act: Status(403), want: want{codes.PermissionDenied, fault.UpstreamForbidden, 0, 1, soon}},
		{name: "404", act: Status(404), want: want{codes.NotFound, fault.BlobUnknown, 0, 1, soon}},
		{name: "429 for 5 seconds", act: Status(429, "Retry-After", "5"),
			want: want{codes.ResourceExhausted, fault.UpstreamRateLimit, 5 * time.Second, 3, 11 * time.Second}},
		{name: "500", act: Status(500), want: unavailable(fault.Upstream5xx, 3, soon)},
		{name: "503", act: Status(503), want: unavailable(fault.Upstream5xx, 3, soon)},
		{name: "cut at once", act: Cut(0), want: dataLoss(fault.Truncated, 1)},
		{name: "cut midway", act: Cut(500), want: dataLoss(fault.Truncated, 2)},
		{name: "reset midway", act: Reset(500), want: dataLoss(fault.Truncated, 2)},
		{name: "wrong bytes", act: WrongByte(500), want: dataLoss(fault.DigestMismatch, 2)},
		{name: "another file", act: Longer(-10), want: dataLoss(fault.DigestMismatch, 2)},
		{name: "a page", act: Page, want: dataLoss(fault.DigestMismatch, 2)},
		{name: "no headers", act: Stall, want: unavailable(fault.UpstreamTimeout, 1, 15100*time.Millisecond)},
		{name: "stall midway", act: StallAt(500), want: unavailable(fault.UpstreamTimeout, 1, 20100*time.Millisecond)},
		{name: "a byte a second", act: Trickle(500, 1, time.Second), want: unavailable(fault.UpstreamSlow, 1, 32*time.Second)},
		{name: "redirect loop", act: Loop, want: refused(fault.RedirectLoop, 6)},
		{name: "redirect to http", act: Redirect("http://plain.test"), want: refused(fault.AddressRefused, 1)},
		{name: "redirect to metadata", act: Redirect("http://169.254.169.254"), want: refused(fault.AddressRefused, 1)},
		{name: "redirect to another scheme", act: Redirect("file:///etc/passwd#"), want: refused(fault.UpstreamProtocol, 1)},
		{name: "redirect to nowhere", act: Status(302), want: refused(fault.UpstreamProtocol, 1)},
	} {
		for _, size := range []int{1000, bigSize} {
			t.Run(fmt.Sprintf("%s/%d", r.name, size), func(t *testing.T) {
				t.Parallel()
				inSite(t, setup{}, size, func(d *download) {
					plain := d.net.watch(d.t, "plain.test:80", d.file())
					if r.dial != nil {
						d.site.breaks(r.dial)
					} else {
						d.front.Always(Any, r.act)
					}
					again := 11 * time.Second
					for _, o := range together(3, func() outcome { return d.fetch(siteFile, nil) }) {
						d.hold(o, r.want)
						d.canary(canarySecret, o)
						again = max(again, o.retry()+latency)
					}
					if tries := d.front.Struck() + d.site.triedInVain(); tries != r.want.tries {
						t.Errorf("%d requests, want %d", tries, r.want.tries)
					}
					if plain.requests() > 0 {
						t.Error("somebody was asked without TLS")
					}
					d.front.Heal()
					d.site.breaks(nil)
					time.Sleep(again)
					d.mustFetch()
					struck := d.seen.requests()
					d.site.breaks(refuses)
					d.site.hangUp()
					d.mustFetch() // what is cached asks nobody
					if d.seen.requests() != struck {
						t.Error("the site was asked for what is cached")
					}
				})
			})
		}
	}
}

// Faults that pass: the read goes on as if nothing had been.
func TestURLMends(t *testing.T) {
	for _, r := range []struct {
		name  string
		acts  []Act
		tries int
	}{
		{"500, then well", []Act{Status(500), Status(502)}, 3},
		{"cut, then the rest", []Act{Cut(70_000), Cut(140_000)}, 3},
		{"cut, then all of it", []Act{Cut(70_000), NoRange}, 2},
		{"wrong at the end, then well", []Act{WrongByte(bigSize - 1)}, 2},
		{"redirect", []Act{Redirect("http://second.test")}, 1},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			inSite(t, setup{}, bigSize, func(d *download) {
				second := d.net.watch(d.t, "second.test:80", d.file())
				d.front.On(Any, r.acts...)
				for _, o := range together(3, func() outcome { return d.fetch("http://"+siteName+"/app.wasm", nil) }) {
					if o.err != nil || !bytes.Equal(o.data, d.data) {
						t.Errorf("%d bytes, %v", len(o.data), o)
					}
				}
				if n := d.seen.requests(); n != r.tries {
					t.Errorf("%d requests, want %d", n, r.tries)
				}
				if leak := second.leaked(); leak != "" {
					t.Errorf("the second site was sent %s", leak)
				}
			})
		})
	}
}

// Where an address, or a name, leads is for the configuration to allow; link-local and metadata never are.
func TestURLAddresses(t *testing.T) {
	for _, r := range []struct {
		address  string // asked for
		resolved string // what its name stands for
		urls     fetcher.URLs
		ok       bool
	}{
		{"http://" + siteName + "/", "198.51.100.7:80", fetcher.URLs{AllowHTTP: []string{siteName}}, true},
		{"http://" + siteName + "/", "198.51.100.7:80", fetcher.URLs{AllowHTTP: []string{siteName + ":80"}}, true},
		{"http://" + siteName + "/", "198.51.100.7:80", fetcher.URLs{AllowHTTP: []string{siteName + ":81"}}, false},
		{"http://" + siteName + "/", "198.51.100.7:80", fetcher.URLs{AllowHTTP: []string{"other.test"}}, false},
		{"http://" + siteName + "/", "198.51.100.7:80", fetcher.URLs{AllowPrivate: []string{siteName}}, false},
		{"http://" + siteName + "/", "10.1.2.3:80", fetcher.URLs{AllowHTTP: []string{siteName}}, true},
		{"http://" + siteName + "/", "127.0.0.1:80", fetcher.URLs{AllowHTTP: []string{strings.ToUpper(siteName)}}, true},
		{"http://" + siteName + "/", "169.254.169.254:80", fetcher.URLs{AllowHTTP: []string{siteName}}, false},
		{"http://" + siteName + "/", "[fd00:ec2::254]:80", fetcher.URLs{AllowHTTP: []string{siteName}}, false},
		{"http://127.0.0.1/", "127.0.0.1:80", fetcher.URLs{AllowHTTP: []string{"127.0.0.1"}}, true},
		{"http://[::1]/", "[::1]:80", fetcher.URLs{AllowHTTP: []string{"[::1]:80"}}, true},
		{"http://127.0.0.1/", "127.0.0.1:80", fetcher.URLs{AllowHTTP: []string{siteName}}, false},
		{"http://169.254.169.254/", "169.254.169.254:80", fetcher.URLs{AllowHTTP: []string{"169.254.169.254"}}, false},
		{"https://127.0.0.1/", "127.0.0.1:443", fetcher.URLs{}, false},
		{"https://" + siteName + "/", "127.0.0.1:443", fetcher.URLs{}, false},
		{"https://" + siteName + "/", "192.168.1.1:443", fetcher.URLs{AllowPrivate: []string{"other.test"}}, false},
	} {
		t.Run(fmt.Sprintf("%s at %s, %v", r.address, r.resolved, r.urls), func(t *testing.T) {
			t.Parallel()
			if r.urls.AllowHTTP == nil {
				r.urls.AllowHTTP = []string{"nobody.test"}
			}
			inWorld(t, setup{urls: r.urls}, func(w *world) {
				d := &download{world: w, data: noise(9, 1000)}
				host := strings.TrimSuffix(r.address[strings.Index(r.address, "//")+2:], "/")
				inside := &watched{}
				for _, port := range []string{"80", "443"} {
					inside.site = w.net.serve(w.t, host+":"+port, r.resolved, d.file(), nil)
				}
				o := d.fetch(r.address, nil)
				if r.ok != (o.err == nil) || !r.ok && (o.reason() != fault.AddressRefused || o.code() != codes.FailedPrecondition) {
					t.Error(o)
				}
			})
		})
	}
}

// A file that is larger than is allowed is refused at once where the site says so, and else when it is too large.
func TestURLTooLarge(t *testing.T) {
	for _, announced := range []bool{true, false} {
		t.Run(fmt.Sprint("announced ", announced), func(t *testing.T) {
			inSite(t, setup{urls: fetcher.URLs{MaxSize: bigSize - 1}}, bigSize, func(d *download) {
				if !announced {
					d.front.Always(Any, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
						_ = http.NewResponseController(w).Flush()
						_, _ = w.Write(d.data)
					})
				}
				o := d.fetch(siteFile, nil)
				d.hold(o, want{codes.FailedPrecondition, fault.TooLarge, 0, 1, soon})
				d.data = d.data[1:]
				d.front.Heal()
				d.mustFetch()
			})
		})
	}
}

// Requests to sites are counted under "other", so that nothing is learned from what callers ask for.
func TestURLMetrics(t *testing.T) {
	inSite(t, setup{}, 1000, func(d *download) {
		d.mustFetch()
		rec := httptest.NewRecorder()
		d.metrics.Handler(nil).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if text := rec.Body.String(); !strings.Contains(text, `blobd_upstream_requests_total{code="2xx",kind="blob",registry="other"} 1`) ||
			strings.Contains(text, siteName) {
			t.Error("the metrics don't tell, or tell too much")
		}
	})
}
