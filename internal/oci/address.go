package oci

import (
	"net/url"
	"strings"

	"github.com/blobd/blobd/internal/fault"
)

// maxAddress is the longest address that is taken, in bytes: as much as servers take in a request line. Signed ones have
// some kilobytes.
const maxAddress = 8 << 10

// ParseAddress reads the http or https address of a file, and drops its fragment. It fails with fault.InvalidArgument for
// anything else, and for one with a login in it, which would be sent nowhere. The error shows nothing of the address, which
// may hold a secret.
func ParseAddress(s string) (*url.URL, error) {
	bad := func(why string) (*url.URL, error) {
		return nil, fault.New(fault.InvalidArgument, "this is not the address of a file: %s", why).
			Try("write it as https://host/path")
	}
	if len(s) > maxAddress {
		return bad("it is too long")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return bad("it can't be read")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("it does not begin with https://")
	case u.Hostname() == "" || u.Opaque != "":
		return bad("it names no host")
	case u.User != nil:
		return bad("it holds a login, and none is ever sent")
	}
	u.Host = strings.ToLower(u.Host)
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// AddressName is how messages name an address: without its query, which may be a signature that opens it.
func AddressName(u *url.URL) string {
	name := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	if u.RawQuery != "" {
		return name.String() + "?…"
	}
	return name.String()
}
