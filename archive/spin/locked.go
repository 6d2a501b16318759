package spin

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxLockVersion is the newest locked application that is known: 1 adds what a host must understand, which is about
// running it.
const maxLockVersion = 1

type component struct {
	id           string
	source       content
	files        []file
	dependencies []dependency
}

type file struct {
	path    string
	content content
}

type dependency struct {
	name   string
	source content
}

// content is what a component, a dependency or an asset consists of.
type content struct {
	inline *string // base64; nil where there is none, which is something else than none of it
	digest string
}

// parse reads the components of a locked application, with so many files at most. The keys that it reads may stand in any
// order but not twice, null stands for nothing, and all other keys are ignored, as Spin does.
func parse(raw []byte, files int) ([]component, error) {
	if !utf8.Valid(raw) || !json.Valid(raw) { // which bounds the depth, too
		return nil, errNotJSON
	}
	p := newParser(raw)
	p.files = files
	var version json.Number
	var components []component
	seen, err := p.object(func(key string) reader {
		switch key {
		case lockVersionKey:
			return p.number(&version)
		case "components":
			return p.list(func() error { return p.component(&components) })
		}
		return nil
	})
	if err != nil {
		// What came before the version may be of a kind that only the version explains.
		if v, versionErr := lockVersion(raw); versionErr == nil && !isKnown(v) {
			return nil, unknown(v)
		}
		return nil, p.locate(err)
	}
	switch {
	case !seen[lockVersionKey]:
		return nil, errNoVersion
	case !isKnown(version):
		return nil, unknown(version)
	case !seen["components"]:
		return nil, errors.New("it has no components")
	}
	return components, nil
}

var (
	errNotJSON   = errors.New("it is not JSON")
	errNoVersion = errors.New("it has no " + lockVersionKey)
)

func isKnown(version json.Number) bool {
	n, err := strconv.ParseUint(version.String(), 10, 64)
	return err == nil && n <= maxLockVersion
}

func unknown(version json.Number) error {
	return fmt.Errorf("%s %.64s is unknown; 0 and %d are known", lockVersionKey, version, maxLockVersion)
}

// lockVersion reads the version alone.
func lockVersion(raw []byte) (v json.Number, err error) {
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return "", errNotJSON
	}
	p := newParser(raw)
	seen, err := p.object(func(key string) reader {
		if key == lockVersionKey {
			return p.number(&v)
		}
		return nil
	})
	if err == nil && !seen[lockVersionKey] {
		err = errNoVersion
	}
	return v, err
}

func (p *parser) component(to *[]component) error {
	var c component
	_, err := p.object(func(key string) reader {
		switch key {
		case "id":
			return p.string(&c.id)
		case "source":
			return p.content(&c.source)
		case "files":
			return p.list(func() error { return p.file(&c.files) })
		case "dependencies":
			return p.dependencies(&c.dependencies)
		}
		return nil
	})
	*to = append(*to, c)
	return p.count(err)
}

func (p *parser) file(to *[]file) error {
	var f file
	_, err := p.object(func(key string) reader {
		if key == "path" {
			return p.string(&f.path)
		}
		return p.contentKey(key, &f.content)
	})
	*to = append(*to, f)
	return p.count(err)
}

func (p *parser) dependencies(to *[]dependency) reader {
	return func() error {
		_, err := p.object(func(name string) reader { return func() error { return p.dependency(name, to) } })
		return err
	}
}

func (p *parser) dependency(name string, to *[]dependency) error {
	d := dependency{name: name}
	_, err := p.object(func(key string) reader {
		if key == "source" {
			return p.content(&d.source)
		}
		return nil
	})
	*to = append(*to, d)
	return p.count(err)
}

func (p *parser) content(c *content) reader {
	return func() error {
		_, err := p.object(func(key string) reader { return p.contentKey(key, c) })
		return err
	}
}

func (p *parser) contentKey(key string, c *content) reader {
	switch key {
	case "inline":
		return p.optional(&c.inline)
	case "digest":
		return p.string(&c.digest)
	}
	return nil
}
