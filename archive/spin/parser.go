package spin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// parser walks through a document that is known to be JSON.
type parser struct {
	dec   *json.Decoder
	path  []step // to the value that is being read, for errors
	files int    // how many more may come
}

// step leads from a value into one that it holds: an element of a list, or, with a key, of an object.
type step struct {
	key   string
	index int
}

// reader reads one value.
type reader func() error

func newParser(raw []byte) *parser {
	p := &parser{dec: json.NewDecoder(bytes.NewReader(raw))}
	p.dec.UseNumber()
	return p
}

// locate says where err happened.
func (p *parser) locate(err error) error {
	if len(p.path) == 0 {
		return err
	}
	where := ""
	for _, s := range p.path {
		if s.key != "" {
			where += "." + s.key
		} else {
			where += fmt.Sprintf("[%d]", s.index)
		}
	}
	return fmt.Errorf("at %.256q: %w", where[1:], err)
}

// count counts one file, which err, if not nil, was about.
func (p *parser) count(err error) error {
	if p.files--; p.files < 0 && err == nil {
		return errors.New("that is one file more than allowed")
	}
	return err
}

// object reads an object, or null, and tells which keys were read: those for which value has a reader.
func (p *parser) object(value func(key string) reader) (seen map[string]bool, err error) {
	token, err := p.dec.Token()
	if err != nil || token == nil {
		return nil, err
	}
	if token != json.Delim('{') {
		return nil, errors.New("it is not an object")
	}
	seen = make(map[string]bool)
	for p.dec.More() {
		token, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		key := token.(string)
		read := value(key)
		if read == nil {
			read = p.skip
		} else if seen[key] {
			return nil, fmt.Errorf("it says %.256q twice", key)
		} else {
			seen[key] = true
		}
		p.path = append(p.path, step{key: key})
		if err := read(); err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
	}
	_, err = p.dec.Token()
	return seen, err
}

// list reads a list, or null.
func (p *parser) list(element reader) reader {
	return func() error {
		token, err := p.dec.Token()
		if err != nil || token == nil {
			return err
		}
		if token != json.Delim('[') {
			return errors.New("it is not a list")
		}
		for i := 0; p.dec.More(); i++ {
			p.path = append(p.path, step{index: i})
			if err := element(); err != nil {
				return err
			}
			p.path = p.path[:len(p.path)-1]
		}
		_, err = p.dec.Token()
		return err
	}
}

func (p *parser) string(to *string) reader {
	return func() error {
		var s *string
		err := p.optional(&s)()
		if s != nil {
			*to = *s
		}
		return err
	}
}

// optional reads a string, or null, which leaves to as it is.
func (p *parser) optional(to **string) reader {
	return func() error {
		token, err := p.dec.Token()
		if err != nil || token == nil {
			return err
		}
		s, ok := token.(string)
		if !ok {
			return errors.New("it is not a string")
		}
		*to = &s
		return nil
	}
}

func (p *parser) number(to *json.Number) reader {
	return func() error {
		token, err := p.dec.Token()
		if err != nil {
			return err
		}
		n, ok := token.(json.Number)
		if !ok {
			return errors.New("it is not a number")
		}
		*to = n
		return nil
	}
}

// skip passes over a value.
func (p *parser) skip() error {
	for depth := 0; ; {
		token, err := p.dec.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
