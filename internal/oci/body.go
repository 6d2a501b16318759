package oci

import "io"

// Body is a stream of Length bytes of a blob from Offset. It may be more than was asked for: a registry that ignores
// ranges sends the whole blob, and the caller keeps what comes.
type Body struct {
	io.ReadCloser
	Offset, Length int64
}
