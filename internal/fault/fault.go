// Package fault names everything that can go wrong for a caller of blobd.
//
// A Reason is a sentinel: errors.Is(err, fault.FileUnknown) holds however often the error was wrapped. It is also the
// `reason` of the google.rpc.ErrorInfo that crosses the socket, so the strings are part of the contract. Which gRPC
// code a reason becomes stands in one table, in package server; which exit code, in cmd/blobd.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Reason is one kind of failure; it is an error itself, so that it can be the target of errors.Is. The comments beside
// the constants are what docs/api.md says of them.
type Reason string

// Error returns the reason's name.
func (r Reason) Error() string { return string(r) }

// What the caller asked for can't be asked, or isn't there.
const (
	InvalidReference Reason = "INVALID_REFERENCE" // not registry/repository[:tag][@digest]
	InvalidDigest    Reason = "INVALID_DIGEST"    // not algorithm:hex
	InvalidPath      Reason = "INVALID_PATH"      // refused by fs.ValidPath
	InvalidArgument  Reason = "INVALID_ARGUMENT"  // another argument that can't be right
	OutOfRange       Reason = "OUT_OF_RANGE"      // an offset past the end
	IsDirectory      Reason = "IS_DIRECTORY"      // a folder where a file is needed
	NotDirectory     Reason = "NOT_DIRECTORY"     // a file where a folder is needed
	AdminOnly        Reason = "ADMIN_ONLY"        // the admin service is not open to this user
	ManifestUnknown  Reason = "MANIFEST_UNKNOWN"  // the registry has no such tag or manifest
	BlobUnknown      Reason = "BLOB_UNKNOWN"      // the registry lacks a blob that the manifest names, or a site has no such file
	FileUnknown      Reason = "FILE_UNKNOWN"      // the archive has no such path
	ArtifactUnknown  Reason = "ARTIFACT_UNKNOWN"  // the catalogue has no such artifact
)

// The registry failed, or can't be trusted.
const (
	UpstreamUnreachable  Reason = "UPSTREAM_UNREACHABLE"  // no connection to the registry
	UpstreamDNS          Reason = "UPSTREAM_DNS"          // its name has no address
	UpstreamTLS          Reason = "UPSTREAM_TLS"          // no trusted connection: its certificate
	UpstreamUnauthorized Reason = "UPSTREAM_UNAUTHORIZED" // it refused a login that had worked, also when that was read anew
	UpstreamForbidden    Reason = "UPSTREAM_FORBIDDEN"    // it refused the login, or an anonymous caller
	UpstreamRateLimit    Reason = "UPSTREAM_RATE_LIMIT"   // 429: too many requests
	Upstream5xx          Reason = "UPSTREAM_5XX"          // 5xx: a failure of its own
	UpstreamProtocol     Reason = "UPSTREAM_PROTOCOL"     // an answer that the distribution spec does not allow
	UpstreamRedirect     Reason = "UPSTREAM_REDIRECT"     // a redirect that leads nowhere, or from https to http
	UpstreamSlow         Reason = "UPSTREAM_SLOW"         // bytes came too slowly
	UpstreamTimeout      Reason = "UPSTREAM_TIMEOUT"      // no answer in time
	AuthServer           Reason = "AUTH_SERVER"           // its token server does not answer, or fails
	AuthRealm            Reason = "AUTH_REALM"            // it sends logins to a server that is not its own
	RedirectLoop         Reason = "REDIRECT_LOOP"         // more redirects than are followed
	AddressRefused       Reason = "ADDRESS_REFUSED"       // link-local, metadata, or private behind a public registry
	CredentialUnusable   Reason = "CREDENTIAL_UNUSABLE"   // the login that is configured can't be had
)

// The bytes are not what was asked for.
const (
	Truncated           Reason = "TRUNCATED"            // they ended early, time and again
	SizeMismatch        Reason = "SIZE_MISMATCH"        // more or fewer than announced
	DigestMismatch      Reason = "DIGEST_MISMATCH"      // they are not what their digest says
	BadRange            Reason = "BAD_RANGE"            // another part than the one that was asked for
	TooLarge            Reason = "TOO_LARGE"            // larger than the configuration allows
	MediaType           Reason = "MEDIA_TYPE"           // not a manifest
	ManifestInvalid     Reason = "MANIFEST_INVALID"     // a manifest that contradicts itself
	IndexInvalid        Reason = "INDEX_INVALID"        // an archive's index that is malformed or hostile
	ArtifactUnsupported Reason = "ARTIFACT_UNSUPPORTED" // no reader for this artifact type
)

// blobd itself can't, now.
const (
	LocalOverload Reason = "LOCAL_OVERLOAD" // too many calls, or too little memory or room, for now
	PinBudget     Reason = "PIN_BUDGET"     // what is pinned would not fit the cache
	Pinned        Reason = "PINNED"         // it may not go while it is pinned
	Starting      Reason = "STARTING"       // it still opens its cache
	ShuttingDown  Reason = "SHUTTING_DOWN"  // it is about to end
	Internal      Reason = "INTERNAL"       // a bug of ours
)

// Error is a failure with its story. It matches its Reason and its cause under errors.Is and errors.As.
type Error struct {
	Reason     Reason
	What       string        // what failed and why, naming the thing: reference, digest, path, host
	Remedy     string        // what the user can do; may be empty
	RetryAfter time.Duration // when another try makes sense; 0 where unknown
	Err        error         // the cause; may be nil
}

// Error tells what failed, and the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.What + ": " + e.Err.Error()
	}
	return e.What
}

// Is reports whether target is the error's Reason.
func (e *Error) Is(target error) bool {
	r, ok := target.(Reason)
	return ok && r == e.Reason
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an Error without a cause.
func New(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, What: fmt.Sprintf(format, args...)}
}

// Wrap returns an Error caused by err, which must not be nil.
func Wrap(r Reason, err error, format string, args ...any) *Error {
	return &Error{Reason: r, What: fmt.Sprintf(format, args...), Err: err}
}

// Try sets the remedy and returns e.
func (e *Error) Try(format string, args ...any) *Error {
	e.Remedy = fmt.Sprintf(format, args...)
	return e
}

// ReasonOf returns the reason of the outermost Error in err's tree, and "" where there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	if r, ok := errors.AsType[Reason](err); ok {
		return r
	}
	return ""
}
