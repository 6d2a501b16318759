package fetcher

import (
	"context"
	"net/http"

	"github.com/opencontainers/go-digest"
	"github.com/regclient/regclient/types/ref"

	"github.com/blobd/blobd/internal/fault"
)

// kind is what a request is for; the strings are labels of the Observer.
type kind string

const (
	kindTag      kind = "tag"
	kindManifest kind = "manifest"
	kindBlob     kind = "blob"
	kindRange    kind = "range"
	kindToken    kind = "token"
)

// call is one question to one host: what to ask, and, filled in by the guard, what was answered. It travels through
// regclient in the request's context; a request without one is a login of regclient's own.
type call struct {
	kind       kind
	registry   string // as the scope names it; a mirror is told so
	repository string
	tag        string
	address    string // of what is asked for by address, as messages name it
	digest     digest.Digest
	head       bool  // of a tag, a manifest or a whole blob
	size       int64 // of the blob, by its descriptor
	offset     int64 // of a range
	length     int64

	ctx       context.Context // of whoever asks
	denied    bool            // with a 401, and no better since
	answered  bool            // with a 200, or the 206 that was asked for
	header    http.Header
	announced int64     // Content-Length; -1 where there is none
	raw       []byte    // of a manifest
	letGo     func()    // gives back the room that raw takes; nil where that is none
	body      *wireBody // of a blob
	whole     bool      // a range was wanted and the whole blob comes
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

func callOf(req *http.Request) *call {
	c, _ := req.Context().Value(callKey{}).(*call)
	return c
}

// metadata reports whether the answer is small and is read as a whole by the guard.
func (c *call) metadata() bool { return c.kind == kindTag || c.kind == kindManifest }

// ref is what regclient is asked for.
func (c *call) ref() ref.Ref {
	r := ref.Ref{Scheme: "reg", Registry: alias, Repository: c.repository, Tag: c.tag}
	if c.tag == "" {
		r.Digest = c.digest.String()
	}
	return r
}

// what names the thing asked for, in errors.
func (c *call) what(host string) string {
	if c.address != "" {
		return c.address
	}
	name := c.registry + "/" + c.repository
	switch c.kind {
	case kindTag:
		name += ":" + c.tag
	case kindManifest:
		name += "@" + c.digest.String()
	default:
		name = "blob " + c.digest.String() + " of " + name
	}
	if host != c.registry {
		name += " (from mirror " + host + ")"
	}
	return name
}

// unknown is the reason of a 404.
func (c *call) unknown() fault.Reason {
	if c.metadata() {
		return fault.ManifestUnknown
	}
	return fault.BlobUnknown
}
