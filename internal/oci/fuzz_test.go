package oci_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

const (
	sha256Empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	sha512Empty = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

// FuzzReference: a reference is taken if and only if the library takes it and its digest is one that can be checked; what
// is printed is read back as the same; and none of its parts leads out of the URL path or file path that it is put into.
func FuzzReference(f *testing.F) {
	for _, s := range []string{
		"", "alpine", "alpine:3", "docker.io/alpine", "index.docker.io/library/alpine", "ghcr.io/acme/app:v1", "localhost/a", "localhost:5000/a/b:c",
		"[::1]:5000/a", "[2001:db8::1]/a:b", "127.0.0.1:80/x", "EXAMPLE.com/a", "Foo/bar", "a.b/c@" + sha256Empty, "a.b/c:t@" + sha512Empty,
		"a.b/c@sha256:00", "a.b/c@md5:d41d8cd98f00b204e9800998ecf8427e", "a.b/c@" + strings.ToUpper(sha256Empty), sha256Empty[7:],
		"a.b/../c", "a.b/c/..", "../a", "a.b//c", "a.b/c:..", "a.b/c:.x", "user:pass@a.b/c", "a.b/c?x", "a.b/c#x", "a.b/%2e%2e", "https://a.b/c", "a.b/c\x00",
		"[0]:0/0", "[::ffff:1.2.3.4]/a", "a.b:65535/c", "a.b:65536/c", "a.b:/c", "xn--e1afmkfd.com/a", "a.b:99999/c", "a_b/c", "a--b/c__d", " a", "a\n", "0_0.0/0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := oci.ParseReference(s)
		named, libErr := reference.ParseNormalizedNamed(s)
		if err != nil {
			if r := fault.ReasonOf(err); r != fault.InvalidReference && r != fault.InvalidDigest {
				t.Fatalf("%q: %v has the reason %q", s, err, r)
			}
			if d, ok := named.(reference.Digested); libErr == nil && isHost(reference.Domain(named)) && (!ok || d.Digest().Validate() == nil) {
				t.Fatalf("%q is %s, but refused: %v", s, named, err)
			}
			return
		}
		if libErr != nil || reference.TagNameOnly(named).String() != ref.String() {
			t.Fatalf("%q is read as %s, by the library as %v, %v", s, ref, named, libErr)
		}
		if again, err := oci.ParseReference(ref.String()); err != nil || again != ref {
			t.Fatalf("%q is %+v, printed and read again %+v, %v", s, ref, again, err)
		}
		if ref.Registry == "" || ref.Repository == "" || ref.Tag == "" && ref.Digest == "" {
			t.Fatalf("%q is %+v", s, ref)
		}
		for _, last := range []string{"/manifests/" + ref.Tag, "/blobs/" + ref.Digest.String()} {
			p := "/v2/" + ref.Repository + last
			if ref.Tag != "" && path.Clean(p) != strings.TrimSuffix(p, "/") {
				t.Fatalf("%q: %s is %s", s, p, path.Clean(p))
			}
			u, err := url.Parse("https://" + ref.Registry + p)
			if err != nil || u.Host != ref.Registry || u.Path != p || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.RawPath != "" {
				t.Fatalf("%q: %#v, %v", s, u, err)
			}
		}
		if d := ref.Digest; d != "" && (d.Validate() != nil || strings.ContainsAny(string(d), `/\`)) {
			t.Fatalf("%q: digest %q", s, d)
		}
	})
}

// isHost reports whether a host[:port] can be dialled, which the library does not ask.
func isHost(registry string) bool {
	if registry == "" { // of a name like 0_0.0/0
		return false
	}
	host, port, err := net.SplitHostPort(registry)
	if err != nil {
		host, port = registry, "443"
	}
	_, badPort := strconv.ParseUint(port, 10, 16)
	_, badAddr := netip.ParseAddr(strings.Trim(host, "[]"))
	return badPort == nil && (badAddr == nil || !strings.HasPrefix(registry, "["))
}

// FuzzReferencesDiffer: two references mean the same only if they print the same, and the same parts print the same.
func FuzzReferencesDiffer(f *testing.F) {
	f.Add("alpine", "docker.io/library/alpine:latest")
	f.Add("a.b/c:d", "a.b/c/d")
	f.Add("a.b:1/c", "a.b/1/c")
	f.Add("a.b/c:t@"+sha256Empty, "a.b/c@"+sha256Empty)
	f.Fuzz(func(t *testing.T, a, b string) {
		ra, errA := oci.ParseReference(a)
		rb, errB := oci.ParseReference(b)
		if errA == nil && errB == nil && (ra == rb) != (ra.String() == rb.String()) {
			t.Fatalf("%q is %+v, %q is %+v, and both print as %s", a, ra, b, rb, ra)
		}
	})
}

// FuzzDigest: the digests that a manifest may hold are those of sha256, sha384 and sha512, in lower case and whole. The
// oracle knows nothing of the library.
func FuzzDigest(f *testing.F) {
	for _, s := range []string{
		sha256Empty, sha512Empty, digest.SHA384.FromString("").String(), strings.ToUpper(sha256Empty), sha256Empty[:70], sha256Empty + "0", sha256Empty[7:], "",
		":", "sha256:", "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709", "sha256+b64:x", sha256Empty + "\n", "../" + sha256Empty, "sha256:" + strings.Repeat("/", 64),
	} {
		f.Add(s)
	}
	size := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}
	f.Fuzz(func(t *testing.T, s string) {
		algorithm, hex, _ := strings.Cut(s, ":")
		want := size[algorithm] > 0 && len(hex) == size[algorithm] && strings.Trim(hex, "0123456789abcdef") == ""
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var same string
		if json.Unmarshal(quoted, &same) != nil || same != s {
			return // no UTF-8: such a string can't stand in JSON
		}
		raw := `{"schemaVersion":2,"config":{"mediaType":"x","size":0,"digest":` + string(quoted) + `}}`
		m, err := oci.ParseManifest(oci.MediaTypeImageManifest, []byte(raw))
		if (err == nil) != want || err == nil && string(m.Config.Digest) != s {
			t.Fatalf("%q: %v", s, err)
		}
		if r, err := oci.ParseReference("a.b/c@" + s); want && (err != nil || string(r.Digest) != s) || !want && err == nil && r.Digest != "" {
			t.Fatalf("%q in a reference: %+v, %v", s, r, err)
		}
	})
}

// FuzzManifest: whatever comes, a manifest is refused with a reason, or is what every reader of its bytes sees: one thing
// only, without a key said twice, of valid digests and sizes, free of URLs, in memory that is a small multiple of its
// bytes.
func FuzzManifest(f *testing.F) {
	config := `{"mediaType":"application/x","digest":"` + sha256Empty + `","size":2}`
	for _, raw := range []string{
		"", "{}", "null", "[]", `{"schemaVersion":1}`,
		`{"schemaVersion":2,"config":` + config + `,"layers":[` + config + `]}`,
		`{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageManifest + `","artifactType":"a","config":` + config + `,"layers":[],"annotations":{"a":"b","A":"c"},"subject":` + config + `}`,
		`{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageIndex + `","manifests":[` + config + `,{"digest":"` + sha512Empty + `","size":7,"platform":{"os":"linux"}}]}`,
		`{"schemaVersion":2,"config":` + config + `,"layers":[],"manifests":[]}`,
		`{"schemaVersion":2,"config":` + config + `,"layers":[],"Layers":[` + config + `]}`,
		`{"schemaVersion":2,"config":` + config + `,"layers":[` + config + `],"layers":[{"mediaType":"y"}]}`,
		`{"schemaVersion":2,"config":{"digest":"` + sha256Empty + `","size":1,"size":2},"layers":[]}`,
		`{"schemaVersion":2,"config":{"digest":"` + sha256Empty + `","size":-1}}`,
		`{"schemaVersion":2,"config":{"digest":"` + sha256Empty + `","size":1e3,"urls":["http://evil.example/"]}}`,
		`{"schemaVersion":2,"config":` + config + `,"layers":[` + strings.Repeat("{},", 5000) + `{}]}`,
		`{"schemaVersion":2,"config":` + config + `,"layers":[` + strings.Repeat("1,", 5000) + `1]}`,
		`{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
		`{"schemaVersion":2,"config":` + config + `}{"schemaVersion":2}`,
	} {
		f.Add("", []byte(raw))
		f.Add(oci.MediaTypeImageManifest, []byte(raw))
		f.Add(oci.MediaTypeImageIndex+"; charset=utf-8", []byte(raw))
		f.Add("text/html", []byte(raw))
	}
	f.Fuzz(func(t *testing.T, mediaType string, raw []byte) {
		kept := bytes.Clone(raw)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := oci.ParseManifest(mediaType, raw)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(64*len(raw)+16*len(mediaType))+256<<10 {
			t.Errorf("%d bytes allocated for a manifest of %d", grown, len(raw))
		}
		if !bytes.Equal(raw, kept) {
			t.Error("the bytes were changed")
		}
		again, errAgain := oci.ParseManifest(mediaType, raw)
		if !reflect.DeepEqual(m, again) || (err == nil) != (errAgain == nil) {
			t.Fatalf("read twice: %+v, %v, and %+v, %v", m, err, again, errAgain)
		}
		if err != nil {
			if !errors.Is(err, fault.MediaType) && !errors.Is(err, fault.ManifestInvalid) || !reflect.DeepEqual(m, oci.Manifest{}) {
				t.Fatalf("%+v, %v", m, err)
			}
			return
		}
		checkManifest(t, m, raw)
	})
}

// checkManifest holds m against the bytes that it was read from.
func checkManifest(t *testing.T, m oci.Manifest, raw []byte) {
	if m.IsIndex() && (m.Layers != nil || m.Config.Digest != "") || !m.IsIndex() && (m.Manifests != nil || m.Config.Digest == "") {
		t.Errorf("both or neither: %+v", m)
	}
	all := append(append([]oci.Descriptor{}, m.Layers...), m.Manifests...)
	if !m.IsIndex() {
		all = append(all, m.Config)
	}
	if m.Subject != nil {
		all = append(all, *m.Subject)
	}
	for _, d := range all {
		if d.Digest.Validate() != nil || d.Size < 0 {
			t.Errorf("%+v", d)
		}
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		t.Fatalf("no JSON object, and taken: %v", err)
	}
	// A reader that goes by exact names sees no list that m does not have, and sees it as long as m's.
	for key, got := range map[string]int{"layers": len(m.Layers), "manifests": len(m.Manifests)} {
		var list []json.RawMessage
		if err := json.Unmarshal(keys[key], &list); err == nil && len(list) != got {
			t.Errorf("%d %s, the bytes have %d", got, key, len(list))
		}
	}
	// What is written down again is the same manifest: nothing was made up from two halves.
	out := map[string]any{"schemaVersion": 2, "mediaType": m.MediaType, "artifactType": m.ArtifactType}
	if m.IsIndex() {
		out["manifests"] = m.Manifests
	} else {
		out["config"], out["layers"] = m.Config, m.Layers
	}
	if m.Subject != nil {
		out["subject"] = m.Subject
	}
	if m.Annotations != nil {
		out["annotations"] = m.Annotations
	}
	written, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := oci.ParseManifest(m.MediaType, written); err != nil || !reflect.DeepEqual(again, m) {
		t.Errorf("%+v, written and read again %+v, %v", m, again, err)
	}
	if strings.Contains(string(written), `"urls"`) && !strings.Contains(string(raw), `\`) && len(m.Annotations) == 0 {
		for _, d := range all {
			if len(d.Annotations) > 0 {
				return // they may well be called so
			}
		}
		t.Errorf("URLs are kept: %s", written)
	}
}
