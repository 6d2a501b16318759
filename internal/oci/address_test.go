package oci_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"https://Site.example/a%2Fb/c.wasm":            "https://site.example/a%2Fb/c.wasm",
		"http://127.0.0.1:8000/a#part":                 "http://127.0.0.1:8000/a",
		"https://site.example/a?X-Signature=canary#no": "https://site.example/a?…",
		"https://[::1]:8443":                           "https://[::1]:8443",
	} {
		u, err := oci.ParseAddress(in)
		if err != nil || oci.AddressName(u) != want || u.Fragment != "" {
			t.Errorf("%s: %v, %v", in, u, err)
		}
	}
	for _, in := range []string{
		"", "site.example/a", "ftp://site.example/a", "file:///etc/passwd", "https:///a", "https:opaque", "https://:443/a",
		"https://user:canary@site.example/a", "https://canary@site.example/a", "https://site.example/%zzcanary",
		"https://site.example/" + strings.Repeat("canary", 2000),
	} {
		_, err := oci.ParseAddress(in)
		if !errors.Is(err, fault.InvalidArgument) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%.50s: %v", in, err)
		}
	}
}
