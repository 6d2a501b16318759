// Package files reads plain artifacts, as `oras push` writes them: a layer whose title annotation gives it a name is a
// file, and one that is said to be packed is a folder, as a tar inside a gzip. Layers without a title are no files.
//
// It is bytes in, entries out; a title that could lead anywhere else than into the tree is refused.
package files

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// The annotations that make a layer a file, or a folder when AnnotationUnpack is "true".
const (
	AnnotationTitle  = "org.opencontainers.image.title"
	AnnotationUnpack = "io.deis.oras.content.unpack"
)

// Matches reports whether m has a layer that is a file or a folder. So have other formats: ask theirs first.
func Matches(m oci.Manifest) bool {
	if m.IsIndex() {
		return false
	}
	for _, l := range m.Layers {
		if l.Annotations[AnnotationTitle] != "" {
			return true
		}
	}
	return false
}

// Bundles lists the layers that are folders, each once.
func Bundles(m oci.Manifest) (bundles []oci.Descriptor) {
	seen := make(map[digest.Digest]bool)
	for _, l := range m.Layers {
		if isFolder(l) && !seen[l.Digest] {
			seen[l.Digest] = true
			bundles = append(bundles, l)
		}
	}
	return bundles
}

// Tree is the artifact's tree, given the members of all its Bundles in any order. The members of a folder are named from
// the root, so that they begin with its title; the folder "." is the root itself. It fails with fault.IndexInvalid,
// naming the layer and the title, where a title is not safe or a member is outside its folder, and as archive.NewTree
// does where two files want the same name.
func Tree(m oci.Manifest, members []bundle.Member) (*archive.Tree, error) {
	inBundle := make(map[digest.Digest][]bundle.Member)
	for _, x := range members {
		inBundle[x.Blob.Digest] = append(inBundle[x.Blob.Digest], x)
	}
	type layer struct {
		title  string
		digest digest.Digest
	}
	seen := make(map[layer]bool)
	var entries archive.Entries
	for i := range m.Layers {
		l := &m.Layers[i]
		title := l.Annotations[AnnotationTitle]
		if title == "" || seen[layer{title, l.Digest}] {
			continue
		}
		seen[layer{title, l.Digest}] = true
		if err := checkTitle(*l, title); err != nil {
			return nil, fault.Wrap(fault.IndexInvalid, err, "layer %s, titled %.256q", l.Digest, title)
		}
		if !isFolder(*l) {
			entries = append(entries, archive.BlobEntry(title, l))
			continue
		}
		for _, x := range inBundle[l.Digest] {
			if title != "." && !strings.HasPrefix(x.Name, title+"/") {
				return nil, fault.New(fault.IndexInvalid, "layer %s: its member %.256q is outside its folder %.256q",
					l.Digest, x.Name, title)
			}
			entries = append(entries, entry(x))
		}
	}
	return archive.NewTree(entries)
}

func entry(x bundle.Member) archive.Entry {
	return archive.Entry{
		Path: x.Name, Size: x.Size, Mode: x.Mode, ModTime: x.ModTime, Sum: x.Sum, HasSum: true,
		Locator: archive.Member{Blob: x.Blob, Offset: x.Offset},
	}
}

func isFolder(l oci.Descriptor) bool {
	return l.Annotations[AnnotationTitle] != "" && l.Annotations[AnnotationUnpack] == "true"
}

func checkTitle(l oci.Descriptor, title string) error {
	if title == "." && isFolder(l) {
		return nil
	}
	if err := archive.CheckPath(title); err != nil {
		return fmt.Errorf("its title can't be a path: %w", err)
	}
	return nil
}
