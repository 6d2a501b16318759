package client

import (
	"io/fs"
	"path"
	"time"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// Entry is a file or folder of an archive. It is what the Sys method of an fs.FileInfo returns, as *Entry.
type Entry struct {
	Path        string // as in fs.ValidPath; "." is the root
	Directory   bool
	Size        int64 // uncompressed, in bytes
	Permissions fs.FileMode
	UID, GID    uint32
	Modified    time.Time
	Digest      string // of the uncompressed bytes, algorithm:hex; empty where the archive names none
	Encoding    string // "stored", "zstd" or "inline"
}

func entry(e *blobdv1.Entry) *Entry {
	out := &Entry{
		Path: e.GetPath(), Directory: e.GetDirectory(), Size: e.GetSize(),
		Permissions: fs.FileMode(e.GetMode()) & fs.ModePerm, UID: e.GetUid(), GID: e.GetGid(),
		Digest: e.GetDigest(), Encoding: e.GetEncoding(),
	}
	if e.GetModified().IsValid() {
		out.Modified = e.GetModified().AsTime()
	}
	return out
}

// Mode is the permission bits, and fs.ModeDir for a folder.
func (e *Entry) Mode() fs.FileMode {
	if e.Directory {
		return fs.ModeDir | e.Permissions
	}
	return e.Permissions
}

// Info is the entry as io/fs sees it. It is an fs.DirEntry too.
func (e *Entry) Info() fs.FileInfo { return info{e} }

// info is an Entry's fs.FileInfo and fs.DirEntry.
type info struct{ *Entry }

func (i info) Name() string               { return path.Base(i.Path) }
func (i info) Size() int64                { return i.Entry.Size }
func (i info) ModTime() time.Time         { return i.Modified }
func (i info) IsDir() bool                { return i.Directory }
func (i info) Type() fs.FileMode          { return i.Mode().Type() }
func (i info) Sys() any                   { return i.Entry }
func (i info) Info() (fs.FileInfo, error) { return i, nil }
func (i info) String() string             { return fs.FormatFileInfo(i) }
