package spin

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/blobd/blobd/archive"
	"github.com/blobd/blobd/archive/bundle"
	"github.com/blobd/blobd/internal/fault"
	"github.com/blobd/blobd/internal/oci"
)

// Limits bound what Decode takes on; zero values are the defaults.
type Limits struct {
	LockedBytes int64 // 64 MiB, as an archive's index: some 500,000 assets
	Files       int   // 1,000,000, as an archive's index; components and dependencies are files
}

const (
	defaultLockedBytes = 64 << 20
	defaultFiles       = 1_000_000
)

// App is an application whose files are known, but for what is in its bundles.
type App struct {
	entries []archive.Entry
	missing []int // the entries that must be in one of the bundles; they have no size and no locator
	bundles []oci.Descriptor
}

// Decode reads the locked application of m, which IsLocked says it is. It fails with fault.IndexInvalid, naming the
// component and the file, where the document is malformed or of an unknown version, a name or a path is not safe, two
// things want the same name in the tree, or content is nowhere: neither inline, nor a layer of m, nor possibly a member of
// one of its bundles. The App keeps raw, which must not change.
func Decode(m oci.Manifest, raw []byte, limits Limits) (*App, error) {
	if limits.LockedBytes <= 0 {
		limits.LockedBytes = defaultLockedBytes
	}
	if limits.Files <= 0 {
		limits.Files = defaultFiles
	}
	if int64(len(raw)) > limits.LockedBytes {
		return nil, invalid(fmt.Errorf("it has %d bytes, more than the %d allowed", len(raw), limits.LockedBytes))
	}
	components, err := parse(raw, limits.Files)
	if err != nil {
		return nil, invalid(err)
	}
	d := decoder{layers: make(map[digest.Digest]*oci.Descriptor), names: make(map[string]string)}
	d.app.bundles = bundlesOf(m)
	if err := d.decode(m, raw, components); err != nil {
		return nil, invalid(err)
	}
	if len(d.app.missing) == 0 {
		d.app.bundles = nil
	}
	return &d.app, nil
}

// Bundles lists the layers that have to be decoded to know where all the files are; none for most applications.
func (a *App) Bundles() []oci.Descriptor { return a.bundles }

// Tree is the application's tree, given the members of all its bundles in any order. It fails with fault.IndexInvalid,
// naming component and file, where one is not among them, and as archive.NewTree does.
func (a *App) Tree(members []bundle.Member) (*archive.Tree, error) {
	bySum := make(map[[32]byte]*bundle.Member, len(members))
	for i := range members {
		if m := &members[i]; bySum[m.Sum] == nil {
			bySum[m.Sum] = m
		}
	}
	entries := slices.Clone(a.entries)
	for _, i := range a.missing {
		e := &entries[i]
		m := bySum[e.Sum]
		if m == nil {
			id, path, _ := strings.Cut(e.Path, "/")
			return nil, invalid(fmt.Errorf("component %.256q: file %.256q: sha256:%x is neither a layer nor in a bundle", id, path, e.Sum))
		}
		e.Size = m.Size
		e.Locator = archive.Member{Blob: m.Blob, Offset: m.Offset}
	}
	return archive.NewTree(archive.Entries(entries))
}

// decoder makes entries of components.
type decoder struct {
	app    App
	layers map[digest.Digest]*oci.Descriptor
	names  map[string]string // name at the top of the tree → what has it
}

func (d *decoder) decode(m oci.Manifest, raw []byte, components []component) error {
	for i := range m.Layers {
		l := &m.Layers[i]
		if other := d.layers[l.Digest]; other != nil && other.Size != l.Size {
			return fmt.Errorf("its manifest has the layer %s with %d and with %d bytes", l.Digest, other.Size, l.Size)
		}
		d.layers[l.Digest] = l
	}
	if err := d.claim("locked.json", "the locked application"); err != nil {
		return err
	}
	d.add(inline("locked.json", raw))
	for i := range components {
		if err := d.component(&components[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) component(c *component) error {
	what := fmt.Sprintf("component %.256q", c.id)
	if err := checkID(c.id); err != nil {
		return fmt.Errorf("%s: its id can't be a name: %w", what, err)
	}
	if err := d.claim(c.id+".wasm", what); err != nil {
		return err
	}
	if err := d.wasm(c.id+".wasm", c.source); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if len(c.files) > 0 {
		if err := d.claim(c.id, "the assets of "+what); err != nil {
			return err
		}
	}
	for i := range c.files {
		if err := d.asset(c.id, &c.files[i]); err != nil {
			return fmt.Errorf("%s: file %.256q: %w", what, c.files[i].path, err)
		}
	}
	folder := c.id + ".deps"
	if len(c.dependencies) > 0 {
		if err := d.claim(folder, "the dependencies of "+what); err != nil {
			return err
		}
	}
	for _, x := range c.dependencies {
		if err := d.dependency(folder, x); err != nil {
			return fmt.Errorf("%s: dependency %.256q: %w", what, x.name, err)
		}
	}
	return nil
}

func checkID(id string) error {
	if strings.Contains(id, "/") {
		return errors.New("it holds a slash")
	}
	return archive.CheckPath(id)
}

// claim gives a name at the top of the tree to one thing only.
func (d *decoder) claim(name, what string) error {
	if other, taken := d.names[name]; taken {
		return fmt.Errorf("%s and %s would both be named %.256q", other, what, name)
	}
	d.names[name] = what
	return nil
}

func (d *decoder) add(e archive.Entry) { d.app.entries = append(d.app.entries, e) }

func (d *decoder) dependency(folder string, x dependency) error {
	path := folder + "/" + x.name + ".wasm"
	if err := archive.CheckPath(path); err != nil { // not of the name alone: a namespace of one letter looks like a drive
		return fmt.Errorf("its name can't be a path: %w", err)
	}
	return d.wasm(path, x.source)
}

// wasm adds a file that has a layer unless it is inline.
func (d *decoder) wasm(path string, c content) error {
	e, found, err := d.resolve(path, c)
	if err == nil && !found {
		err = noLayer(c)
	}
	if err == nil {
		d.add(e)
	}
	return err
}

// asset adds a file that may be in a bundle, if there are any.
func (d *decoder) asset(id string, f *file) error {
	if err := archive.CheckPath(f.path); err != nil {
		return err
	}
	e, found, err := d.resolve(id+"/"+f.path, f.content)
	switch {
	case err != nil:
		return err
	case !found && len(d.app.bundles) == 0:
		return noLayer(f.content)
	case !found:
		d.app.missing = append(d.app.missing, len(d.app.entries))
	}
	d.add(e)
	return nil
}

func noLayer(c content) error {
	return fmt.Errorf("its digest %s is no layer of the manifest", c.digest)
}

// resolve finds content that is inline or a layer. Where it is neither, the entry has only path and sum.
func (d *decoder) resolve(path string, c content) (e archive.Entry, found bool, err error) {
	var sum [32]byte
	if c.digest != "" {
		var ok bool
		if sum, ok = archive.SHA256(digest.Digest(c.digest)); !ok {
			return e, false, fmt.Errorf("its digest %.256q is not a sha256", c.digest)
		}
	}
	switch {
	case c.inline != nil:
		data, err := decodeInline(*c.inline)
		if err != nil {
			return e, false, fmt.Errorf("its inline content: %w", err)
		}
		if e = inline(path, data); c.digest != "" && e.Sum != sum {
			return e, false, fmt.Errorf("its inline content is sha256:%x, not %s", e.Sum, c.digest)
		}
		return e, true, nil
	case c.digest == "":
		return e, false, errors.New("it has neither a digest nor inline content")
	}
	if l := d.layers[digest.Digest(c.digest)]; l != nil {
		return archive.BlobEntry(path, l), true, nil
	}
	return archive.Entry{Path: path, Mode: archive.PlainMode, Sum: sum, HasSum: true}, false, nil
}

func inline(path string, data []byte) archive.Entry {
	return archive.Entry{
		Path: path, Size: int64(len(data)), Mode: archive.PlainMode, Sum: sha256.Sum256(data), HasSum: true,
		Locator: archive.Inline{Data: data},
	}
}

// decodeInline reads standard base64, which the format writes without padding. Padding is accepted; anything else
// that two readers could read differently is not.
func decodeInline(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which the decoder would pass over
		return nil, errors.New("it is broken into lines")
	}
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(text, "=") {
		encoding = base64.StdEncoding
	}
	return encoding.Strict().DecodeString(text)
}

func invalid(err error) error {
	return fault.Wrap(fault.IndexInvalid, err, "locked application")
}
