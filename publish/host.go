package publish

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/blobd/blobd/credentials"
)

// host is a registry and how to reach it.
type host struct {
	name   string // as references name it
	addr   string // host[:port] to connect to
	scheme string
	realms []string
	http   *http.Client
}

const maxRedirects = 5

func newHost(name string, conf Registry) (*host, error) {
	h := &host{name: name, addr: name, scheme: "https", realms: conf.TokenRealms}
	if name == "docker.io" || name == "index.docker.io" {
		h.addr = "registry-1.docker.io" // the name of Docker Hub in references is not that of its server
	}
	if conf.PlainHTTP != nil && *conf.PlainHTTP || conf.PlainHTTP == nil && isLoopback(h.addr) {
		h.scheme = "http"
	}
	roots, err := rootCAs(conf.CAFile)
	if err != nil {
		return nil, err
	}
	h.http = &http.Client{
		CheckRedirect: h.checkRedirect,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // a digest is over the bytes as they are stored
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        90 * time.Second,
		},
	}
	return h, nil
}

// url is an address below the registry's /v2/.
func (h *host) url(path string, query url.Values) *url.URL {
	return &url.URL{Scheme: h.scheme, Host: h.addr, Path: "/v2/" + path, RawQuery: query.Encode()}
}

// own reports whether u is the registry's own server, which may see its login.
func (h *host) own(u *url.URL) bool {
	return credentials.SameOrigin(u, &url.URL{Scheme: h.scheme, Host: h.addr})
}

// checkRedirect follows reads, with the login only to the registry itself and never away from TLS. What writes is not
// followed: its answer says what is wrong.
func (h *host) checkRedirect(req *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet && via[0].Method != http.MethodHead {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	if h.scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("redirected from https to " + req.URL.Scheme)
	}
	if !h.own(req.URL) {
		req.Header.Del("Authorization")
	}
	return nil
}

func hostname(addr string) string { return (&url.URL{Host: addr}).Hostname() }

func isLoopback(addr string) bool {
	name := strings.ToLower(hostname(addr))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback()
}

// rootCAs returns the system's certificates and those in file; nil, the system's, for no file.
func rootCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without certificates of its own
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("it holds no PEM certificate")
	}
	return pool, nil
}
