package bundle

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"strings"
	"time"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/internal/oci"
)

// Visit sees a member, which it does not change, with its content, which it need not read to the end. Only when content
// has returned io.EOF is m.Sum set and may be kept what came before.
type Visit func(m *Member, content io.Reader) error

// Read decodes r, the bytes of blob, to its end, shows each regular file to visit (which may be nil) and returns them in
// their order. It fails with fault.IndexInvalid, naming blob and member, where the bundle is malformed or hostile: a
// link, a device, a sparse file, a name that archive.CheckPath refuses or that stands twice, more than limits allow, or
// bytes after its end. Errors of r are returned wrapped, those of visit as they are.
//
// It trusts blob.Size, which limits.Ratio is about; whether r is what blob's digest names is r's to say, with an error
// at its end.
func Read(r io.Reader, blob *oci.Descriptor, limits Limits, visit Visit) ([]Member, error) {
	s := &stream{source: source{Reader: r}, blob: blob, limits: limits.withDefaults()}
	files := tar.NewReader(s)
	names := make(map[string]struct{})
	var nameBytes int64
	var members []Member
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, s.fail(err)
		}
		m, regular, err := memberOf(h)
		if err != nil {
			return nil, s.fail(fmt.Errorf("member %.256q: %w", h.Name, err))
		}
		if !regular {
			continue
		}
		nameBytes += int64(len(m.Name))
		_, twice := names[m.Name]
		switch {
		case twice:
			return nil, s.fail(fmt.Errorf("member %.256q: it stands twice in it", m.Name))
		case len(members) == s.limits.Members:
			return nil, s.fail(fmt.Errorf("it has more than %d members", s.limits.Members))
		case nameBytes > s.limits.Names:
			return nil, s.fail(fmt.Errorf("the names of its members have more than %d bytes", s.limits.Names))
		}
		names[m.Name] = struct{}{}
		m.Blob, m.Offset = blob, s.pos
		if err := show(&m, s, files, visit); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if err := s.drain(); err != nil {
		return nil, s.fail(err)
	}
	return members, nil
}

// show lets visit see a member, and reads what it left.
func show(m *Member, s *stream, data io.Reader, visit Visit) error {
	c := &content{member: m, stream: s, data: data, hash: sha256.New()}
	if visit != nil {
		if err := visit(m, c); err != nil && c.err == nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, c)
	return err
}

// content is a member's bytes, hashed as they pass.
type content struct {
	member *Member
	stream *stream
	data   io.Reader
	hash   hash.Hash
	done   bool
	err    error // what went wrong, which it keeps saying
}

func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.data.Read(p)
	c.hash.Write(p[:n])
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		c.err = c.stream.fail(fmt.Errorf("member %.256q: %w", c.member.Name, err))
		return n, c.err
	}
	if !c.done {
		c.done = true
		c.hash.Sum(c.member.Sum[:0])
	}
	return n, io.EOF
}

// memberOf checks a header. What is no regular file is a folder or says something about the members to come.
func memberOf(h *tar.Header) (m Member, regular bool, err error) {
	name := strings.TrimPrefix(h.Name, "./") // as `tar -C folder .` writes them
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeXGlobalHeader:
		return m, false, nil
	case tar.TypeDir:
		if name = strings.TrimSuffix(name, "/"); name == "" || name == "." {
			return m, false, nil
		}
		return m, false, archive.CheckPath(name)
	case tar.TypeLink, tar.TypeSymlink:
		return m, false, fmt.Errorf("it is a link to %.256q", h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return m, false, errors.New("it is a device or a pipe")
	case tar.TypeGNUSparse:
		return m, false, errSparse
	default:
		return m, false, fmt.Errorf("its type is %q", h.Typeflag)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return m, false, errSparse
		}
	}
	if err := archive.CheckPath(name); err != nil {
		return m, false, err
	}
	return Member{Name: name, Size: h.Size, Mode: h.FileInfo().Mode() & fs.ModePerm, ModTime: unixNano(h.ModTime)}, true, nil
}

var errSparse = errors.New("it is sparse: its bytes do not stand together")

// unixNano is a time in nanoseconds; one that they can't express, some centuries away, counts as unknown.
func unixNano(t time.Time) int64 {
	if sec := t.Unix(); sec <= math.MinInt64/int64(time.Second) || sec >= math.MaxInt64/int64(time.Second) {
		return 0
	}
	return t.UnixNano()
}
