// Package bundle reads blobs that hold files as a tar inside a gzip: the assets of a Spin application in archive mode,
// and the folders of plain artifacts.
//
// It believes nothing. A bundle has regular files and folders; one with anything else, with a name that leads out of it
// or stands twice, or one that decodes to more than it may, is refused whole. What the files are is known only when the
// last byte has been decoded, so the outcome, the table of members, can be kept (Marshal).
package bundle

import (
	"io/fs"

	"github.com/blobd/blobd/internal/oci"
)

// Member is a regular file of a bundle.
type Member struct {
	Name    string          // satisfies archive.CheckPath
	Blob    *oci.Descriptor // the bundle
	Offset  int64           // of its data in the tar stream
	Size    int64
	Sum     [32]byte    // sha256 of its data
	Mode    fs.FileMode // permission bits only
	ModTime int64       // Unix nanoseconds
}

// Limits bound what Read takes on; zero values are the defaults.
type Limits struct {
	Members int   // 1,000,000: as many files as an archive's index may have
	Names   int64 // 64 MiB for all names together, which is what a table of members takes in memory, or nearly
	Bytes   int64 // 16 GiB decoded, more than the cache has by default
	// Ratio is how many bytes one byte of the bundle may become, once 64 MiB have come: 200. Text becomes 5 to 20, logs
	// 50; a bomb is whatever deflate can do, which is 1032.
	Ratio int64
}

const (
	defaultMembers = 1_000_000
	defaultNames   = 64 << 20
	defaultBytes   = 16 << 30
	defaultRatio   = 200
	ratioFrom      = 64 << 20 // less than this harms nobody, whatever it was made of
)

func (l Limits) withDefaults() Limits {
	if l.Members <= 0 {
		l.Members = defaultMembers
	}
	if l.Names <= 0 {
		l.Names = defaultNames
	}
	if l.Bytes <= 0 {
		l.Bytes = defaultBytes
	}
	if l.Ratio <= 0 {
		l.Ratio = defaultRatio
	}
	return l
}
