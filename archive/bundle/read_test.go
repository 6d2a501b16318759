package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

func TestRead(t *testing.T) {
	long := strings.Repeat("long/", 60) + "name"
	for _, c := range []struct {
		name string
		tar  []byte
		want []string // name, size, mode, nanoseconds
	}{
		{"ustar", join(file("index.html", "<html>"), file("css/site.css", strings.Repeat("x", 70_000)), file("empty", ""), end()),
			[]string{"index.html 6 -rw-r--r-- 0", "css/site.css 70000 -rw-r--r-- 0", "empty 0 -rw-r--r-- 0"}},
		{"as tar -C folder . writes it", join(header("./", '5', 0, ""), header("./css/", '5', 0, ""), file("./css/a", "a"), file("./b", "b"), end()),
			[]string{"css/a 1 -rw-r--r-- 0", "b 1 -rw-r--r-- 0"}},
		{"a root without a slash", join(header(".", '5', 0, ""), file("a", "a"), end()), []string{"a 1 -rw-r--r-- 0"}},
		{"the oldest type of a file", join(header("a", 0, 1, ""), padded("a"), end()), []string{"a 1 -rw-r--r-- 0"}},
		{"pax", written(t, tar.Header{Name: long, Typeflag: tar.TypeReg, Size: 600, Mode: 0o755, ModTime: time.Unix(1, 5), Format: tar.FormatPAX}),
			[]string{long + " 600 -rwxr-xr-x 1000000005"}},
		{"gnu", written(t, tar.Header{Name: long, Typeflag: tar.TypeReg, Size: 1, Mode: 0o400, Format: tar.FormatGNU}),
			[]string{long + " 1 -r-------- 0"}},
		{"pax says the size", join(pax("size=3"), header("a", '0', 0, ""), padded("abc"), end()), []string{"a 3 -rw-r--r-- 0"}},
		{"a global header", join(extended('g', "comment=x", "path=b"), file("a", "a"), end()),
			[]string{"a 1 -rw-r--r-- 0"}},
		{"bits beside permissions", written(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Mode: 0o7755}), []string{"a 0 -rwxr-xr-x 0"}},
		{"a time out of sight", join(pax("mtime=99999999999999"), file("a", ""), end()), []string{"a 0 -rw-r--r-- 0"}},
		{"a time before", join(pax("mtime=-1.5"), file("a", ""), end()), []string{"a 0 -rw-r--r-- -1500000000"}},
		{"nothing", end(), nil},
		{"no end", file("a", "a"), []string{"a 1 -rw-r--r-- 0"}},
		{"a long end", join(file("a", "a"), end(), make([]byte, 9<<10)), []string{"a 1 -rw-r--r-- 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for encoding, raw := range map[string][]byte{
				"one gzip":       gz(t, c.tar),
				"gzips in a row": join(gz(t, c.tar[:len(c.tar)/2]), gz(t), gz(t, c.tar[len(c.tar)/2:])),
			} {
				blob := descriptor(raw)
				var seen []bundle.Member
				members, err := bundle.Read(iotest.OneByteReader(bytes.NewReader(raw)), blob, bundle.Limits{},
					func(m *bundle.Member, content io.Reader) error {
						data, err := io.ReadAll(content)
						if err != nil || m.Sum != sha256.Sum256(data) || int64(len(data)) != m.Size {
							t.Errorf("%s: content %d bytes, %v", m.Name, len(data), err)
						}
						seen = append(seen, *m)
						return err
					})
				if err != nil {
					t.Fatalf("%s: %v", encoding, err)
				}
				var got []string
				for _, m := range members {
					got = append(got, fmt.Sprintf("%s %d %v %d", m.Name, m.Size, m.Mode, m.ModTime))
				}
				if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
					t.Errorf("%s: got %q\nwant %q", encoding, got, c.want)
				}
				if fmt.Sprint(seen) != fmt.Sprint(members) {
					t.Errorf("%s: visited %v, returned %v", encoding, seen, members)
				}
				checkMembers(t, members, c.tar, blob)
			}
		})
	}
}

// checkMembers has what Read promises of its members.
func checkMembers(t *testing.T, members []bundle.Member, stream []byte, blob *oci.Descriptor) {
	t.Helper()
	names := map[string]bool{}
	var end int64
	for _, m := range members {
		if archive.CheckPath(m.Name) != nil || names[m.Name] || m.Mode&^fs.ModePerm != 0 || m.Blob != blob {
			t.Errorf("member %+v", m)
		}
		names[m.Name] = true
		if m.Size < 0 || m.Offset < end || m.Offset > int64(len(stream))-m.Size {
			t.Fatalf("member %+v: in a stream of %d, after %d", m, len(stream), end)
		}
		end = m.Offset + m.Size
		if sha256.Sum256(stream[m.Offset:end]) != m.Sum {
			t.Errorf("member %+v: other bytes stand there", m)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	oldSparse := func() []byte {
		b := [512]byte(header("hole", 'S', 512, ""))
		copy(b[257:], "ustar  \x00")
		copy(b[386:], "00000001000\x00"+"00000001000\x00") // the one piece: offset, length
		copy(b[483:], "00000002000\x00")                   // the real size
		return join(checksummed(b), padded("x"))
	}()
	good := join(file("a", "a"), end())
	packed := gz(t, good)
	for _, c := range []struct {
		name string
		raw  []byte
		says []string
	}{
		{"empty", nil, nil},
		{"no gzip", good, []string{"gzip"}},
		{"no tar", gz(t, padded("this is no tar")), []string{"tar"}},
		{"symbolic link", gz(t, header("l", '2', 0, "/etc/passwd"), end()), []string{`"l"`, `link to "/etc/passwd"`}},
		{"hard link", gz(t, file("a", "a"), header("l", '1', 0, "a"), end()), []string{`"l"`, "link"}},
		{"device", gz(t, header("dev/sda", '4', 0, ""), end()), []string{`"dev/sda"`, "device"}},
		{"character device", gz(t, header("tty", '3', 0, ""), end()), []string{`"tty"`, "device"}},
		{"pipe", gz(t, header("pipe", '6', 0, ""), end()), []string{`"pipe"`, "pipe"}},
		{"contiguous file", gz(t, header("c", '7', 0, ""), end()), []string{`"c"`, "'7'"}},
		{"vendor's own", gz(t, header("v", 'V', 0, ""), end()), []string{`"v"`, "'V'"}},
		{"sparse, old", gz(t, oldSparse, end()), []string{`"hole"`, "sparse"}},
		{"sparse, pax 0.1", gz(t, pax("GNU.sparse.numblocks=1", "GNU.sparse.map=0,1", "GNU.sparse.size=4096", "GNU.sparse.name=hole"), file("x", "a"), end()),
			[]string{`"hole"`, "sparse"}},
		{"sparse, pax 1.0", gz(t, pax("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=4096", "GNU.sparse.name=hole"), file("x", "1\n0\n1\n"+strings.Repeat("\x00", 506)+"a"), end()),
			[]string{`"hole"`, "sparse"}},
		{"sparse, unknown", gz(t, pax("GNU.sparse.major=9", "GNU.sparse.minor=9"), file("x", "a"), end()), []string{`"x"`, "sparse"}},
		{"leaves", gz(t, file("../a", "a"), end()), []string{`"../a"`}},
		{"leaves midway", gz(t, file("a/../../b", "a"), end()), []string{`"a/../../b"`}},
		{"dots inside", gz(t, file("a/./b", "a"), end()), []string{`"a/./b"`}},
		{"absolute", gz(t, file("/etc/passwd", "a"), end()), []string{`"/etc/passwd"`}},
		{"backslash", gz(t, file(`a\b`, "a"), end()), []string{"backslash"}},
		{"drive", gz(t, file(`C:/a`, "a"), end()), []string{"drive"}},
		{"no name", gz(t, file("", "a"), end()), []string{`""`}},
		{"a file called root", gz(t, file("./", "a"), end()), nil},
		{"pax: leaves", gz(t, pax("path=../../x"), file("a", "a"), end()), []string{`"../../x"`}},
		{"pax: not text", gz(t, pax("path=\xff"), file("a", "a"), end()), []string{`"\xff"`}},
		{"a folder leaves", gz(t, header("../a/", '5', 0, ""), end()), []string{`"../a/"`}},
		{"long", gz(t, pax("path="+strings.Repeat("a", 4097)), file("a", "a"), end()), []string{"4097 bytes"}},
		{"twice", gz(t, file("a", "a"), file("b", "b"), file("a", "c"), end()), []string{`"a"`, "twice"}},
		{"twice, spelt differently", gz(t, file("a", "a"), file("./a", "a"), end()), []string{`"a"`, "twice"}},
		{"longer than the stream", gz(t, header("a", '0', 4096, ""), padded("a")), []string{`"a"`, "unexpected EOF"}},
		{"size is impossible", gz(t, pax("size=-1"), header("a", '0', 0, ""), end()), []string{"tar"}},
		{"size of sizes", gz(t, pax(fmt.Sprint("size=", int64(math.MaxInt64))), header("a", '0', 0, ""), end()), nil},
		{"something after the end", gz(t, good, file("b", "b"), end()), []string{"follows its end"}},
		{"one zero block", gz(t, file("a", "a"), make([]byte, 512), file("b", "b"), end()), nil},
		{"garbage after the gzip", append(bytes.Clone(packed), "garbage garbage"...), []string{"gzip"}},
		{"zeros after the gzip", append(bytes.Clone(packed), make([]byte, 64)...), []string{"gzip"}},
		{"cut in the next header", append(bytes.Clone(packed), "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x00name"...), []string{"unexpected EOF"}},
		{"cut", packed[:len(packed)-9], []string{"unexpected EOF"}},
		{"cut in the checksum", packed[:len(packed)-2], []string{"unexpected EOF"}},
		{"cut in the header", packed[:5], []string{"unexpected EOF"}},
		{"checksum is wrong", flip(packed, len(packed)-8), []string{"checksum"}},
		{"length is wrong", flip(packed, len(packed)-1), []string{"checksum"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			blob := descriptor(c.raw)
			members, err := bundle.Read(bytes.NewReader(c.raw), blob, bundle.Limits{}, nil)
			refused(t, members, err, append(c.says, blob.Digest.String())...)
		})
	}
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

func refused(t *testing.T, members []bundle.Member, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, fault.IndexInvalid) || members != nil {
		t.Fatalf("got %v, %v", members, err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%v: does not say %s", err, s)
		}
	}
	if len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestReadCuts(t *testing.T) {
	raw := gz(t, file("a", "some text"), file("b", "more text"), end())
	blob := descriptor(raw)
	for n := range raw {
		members, err := bundle.Read(bytes.NewReader(raw[:n]), blob, bundle.Limits{}, nil)
		refused(t, members, err)
	}
}

func TestReadLimits(t *testing.T) {
	stream := join(file("first", "a"), file("second", "b"), file("third", "c"), end())
	raw := gz(t, stream)
	for _, c := range []struct {
		name   string
		limits bundle.Limits
		says   string
	}{
		{"members", bundle.Limits{Members: 2}, "more than 2 members"},
		{"names", bundle.Limits{Names: 15}, "more than 15 bytes"},
		{"bytes", bundle.Limits{Bytes: int64(len(stream)) - 1}, "decodes to more than"},
		{"enough", bundle.Limits{Members: 3, Names: 16, Bytes: int64(len(stream)), Ratio: 1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			members, err := bundle.Read(bytes.NewReader(raw), descriptor(raw), c.limits, nil)
			if c.says == "" {
				if err != nil || len(members) != 3 {
					t.Error(members, err)
				}
				return
			}
			refused(t, members, err, c.says)
		})
	}
}

// TestReadBombs has gzips of less than a megabyte that become 72; each is refused soon after the
// 64th, wherever the zeros stand.
func TestReadBombs(t *testing.T) {
	const size = 72 << 20
	zeros := func(w io.Writer) error {
		_, err := io.CopyN(w, zeroReader{}, size)
		return err
	}
	for name, parts := range map[string][]any{
		"in a member":   {header("bomb", '0', size, ""), zeros, end()},
		"after the end": {file("a", "a"), end(), zeros},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range parts {
				switch p := p.(type) {
				case []byte:
					_, err = w.Write(p)
				case func(io.Writer) error:
					err = p(w)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			passed := 0
			members, err := bundle.Read(bytes.NewReader(b.Bytes()), descriptor(b.Bytes()), bundle.Limits{Ratio: 20},
				func(_ *bundle.Member, content io.Reader) error {
					n, err := io.Copy(io.Discard, content)
					passed += int(n)
					return err
				})
			refused(t, members, err, "over 20 times")
			if passed > 65<<20 {
				t.Errorf("%d bytes passed", passed)
			}
			if _, err := bundle.Read(bytes.NewReader(b.Bytes()), descriptor(b.Bytes()), bundle.Limits{Ratio: 2000}, nil); err != nil {
				t.Errorf("allowed but refused: %v", err)
			}
		})
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestVisit(t *testing.T) {
	raw := gz(t, file("a", strings.Repeat("a", 2000)), file("b", "b"), end())
	want := [2][32]byte{sha256.Sum256([]byte(strings.Repeat("a", 2000))), sha256.Sum256([]byte("b"))}
	for name, visit := range map[string]bundle.Visit{
		"nothing": nil,
		"none":    func(*bundle.Member, io.Reader) error { return nil },
		"some": func(m *bundle.Member, content io.Reader) error {
			if m.Name == "b" {
				return nil
			}
			_, err := content.Read(make([]byte, 1))
			if m.Sum != [32]byte{} {
				t.Errorf("%s: it has a sum before its end", m.Name)
			}
			return err
		},
		"beyond the end": func(m *bundle.Member, content io.Reader) error {
			for range 3 {
				if _, err := io.ReadAll(content); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		members, err := bundle.Read(bytes.NewReader(raw), descriptor(raw), bundle.Limits{}, visit)
		if err != nil || len(members) != 2 || members[0].Sum != want[0] || members[1].Sum != want[1] {
			t.Errorf("visit reads %s: %v, %v", name, members, err)
		}
	}
}

func TestReadErrors(t *testing.T) {
	raw := gz(t, file("a", strings.Repeat("a", 2000)), end())
	cut := gz(t, header("a", '0', 2000, ""), padded("a"))
	broken := errors.New("broken")
	fails := func(*bundle.Member, io.Reader) error { return broken }
	for _, c := range []struct {
		name    string
		r       io.Reader
		visit   bundle.Visit
		is, not error
	}{
		{"the bundle does not come", iotest.ErrReader(broken), nil, broken, fault.IndexInvalid},
		{"it breaks off", io.MultiReader(bytes.NewReader(raw[:30]), iotest.ErrReader(broken)), nil, broken, fault.IndexInvalid},
		{"it is cut off", io.MultiReader(bytes.NewReader(raw[:30]), iotest.ErrReader(io.ErrUnexpectedEOF)), nil, io.ErrUnexpectedEOF, fault.IndexInvalid},
		{"it is another one", io.MultiReader(bytes.NewReader(raw), iotest.ErrReader(broken)), nil, broken, fault.IndexInvalid},
		{"visit fails", bytes.NewReader(raw), fails, broken, fault.IndexInvalid},
		{"visit hides what failed", bytes.NewReader(cut), func(_ *bundle.Member, content io.Reader) error {
			_, _ = io.ReadAll(content)
			return nil
		}, fault.IndexInvalid, broken},
		{"visit says something else", bytes.NewReader(cut), func(_ *bundle.Member, content io.Reader) error {
			_, _ = io.ReadAll(content)
			return broken
		}, fault.IndexInvalid, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			members, err := bundle.Read(c.r, descriptor(raw), bundle.Limits{}, c.visit)
			if members != nil || !errors.Is(err, c.is) || errors.Is(err, c.not) {
				t.Errorf("got %v, %v", members, err)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	stream := join(file("a", "a"), file("b", "bb"), end())
	raw := gz(t, stream)
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		r       io.Reader
		limits  bundle.Limits
		is, not error
	}{
		{"whole", bytes.NewReader(raw), bundle.Limits{}, nil, nil},
		{"cut", bytes.NewReader(raw[:len(raw)-1]), bundle.Limits{}, fault.IndexInvalid, broken},
		{"followed by garbage", bytes.NewReader(append(bytes.Clone(raw), "garbage garbage"...)), bundle.Limits{}, fault.IndexInvalid, broken},
		{"too large", bytes.NewReader(raw), bundle.Limits{Bytes: int64(len(stream)) - 1}, fault.IndexInvalid, broken},
		{"does not come whole", io.MultiReader(bytes.NewReader(raw[:20]), iotest.ErrReader(broken)), bundle.Limits{}, broken, fault.IndexInvalid},
		{"is another one", io.MultiReader(bytes.NewReader(raw), iotest.ErrReader(broken)), bundle.Limits{}, broken, fault.IndexInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := io.ReadAll(bundle.Decode(c.r, descriptor(raw), c.limits))
			if c.is == nil {
				if err != nil || !bytes.Equal(got, stream) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				return
			}
			if !errors.Is(err, c.is) || errors.Is(err, c.not) || !strings.Contains(err.Error(), descriptor(raw).Digest.String()) {
				t.Errorf("got %v", err)
			}
		})
	}
}
