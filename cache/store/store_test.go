package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/blobd/blobd/cache/store"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func checkSum(k store.Key) store.Check {
	return func(r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return err
		}
		if !bytes.Equal(h.Sum(nil), k.Sum[:]) {
			return errors.New("digest mismatch")
		}
		return nil
	}
}

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	opts := store.Options{Dir: dir, MaxSize: 64 << 20, Classes: []store.ClassOptions{{Name: "refs", Sync: true, Cap: 10 << 20}, {Name: "content", Data: true}, {Name: "blocks", Data: true}}}
	data := bytes.Repeat([]byte("hello"), 1000)
	key := store.Key{Sum: sha256.Sum256(data)}
	for i := range 3 {
		s, err := store.Open(opts)
		if err != nil {
			t.Fatal(err)
		}
		s.StartEviction()
		c := s.Class("content")
		if i == 0 {
			if err := c.Put(context.Background(), key, data); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.Get(key, nil)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatal(err, len(got))
		}
		o, err := c.Open(key, checkSum(key))
		if err != nil {
			t.Fatal(err)
		}
		o.Close()
		p, err := s.Class("blocks").OpenPartial(key, 1<<20+5, true)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			res, err := p.Reserve(context.Background(), 2)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.WriteBlock(res, 3, bytes.Repeat([]byte{7}, store.BlockSize)); err != nil {
				t.Fatal(err)
			}
			if err := p.WriteBlock(res, 16, []byte("12345")); err != nil {
				t.Fatal(err)
			}
			res.Release()
		}
		buf := make([]byte, store.BlockSize)
		if n, err := p.ReadBlock(16, buf); err != nil || string(buf[:n]) != "12345" {
			t.Fatal(n, err)
		}
		if n, err := p.ReadBlock(3, buf); err != nil || buf[9] != 7 {
			t.Fatal(n, err)
		}
		if _, err := p.ReadBlock(4, buf); !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		p.Close()
		<-s.Scanned()
		t.Logf("%+v", s.Usage())
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
