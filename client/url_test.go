package client_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/blobd/blobd/client"
	"github.com/blobd/blobd/client/clienttest"
)

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// A file by address comes whole, whether its size is told beforehand or not, and however it is read.
func TestFetchURL(t *testing.T) {
	const address = "https://site.example/file"
	for _, data := range [][]byte{nil, []byte("x"), big()} {
		for _, sizeless := range []bool{false, true} {
			t.Run(fmt.Sprint(len(data), sizeless), func(t *testing.T) {
				d := clienttest.Start(t)
				d.Site, d.Sizeless = map[string][]byte{address: data}, sizeless
				c := dial(t, d)
				for name, read := range map[string]func(*client.Stream) ([]byte, error){
					"Read": func(s *client.Stream) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{s}) },
					"WriteTo": func(s *client.Stream) ([]byte, error) {
						var out bytes.Buffer
						_, err := s.WriteTo(&out)
						return out.Bytes(), err
					},
				} {
					s, err := c.FetchURL(t.Context(), address, digestOf(data), client.NoCache())
					if err != nil {
						t.Fatal(err)
					}
					want := int64(len(data))
					if sizeless {
						want = -1
					}
					if s.Len() != want || s.Entry().Size != want || s.Entry().Digest != digestOf(data) {
						t.Errorf("its length is %d, its entry %+v", s.Len(), s.Entry())
					}
					got, err := read(s)
					if err != nil || !bytes.Equal(got, data) || !s.Verified() || len(s.Steps()) != 1 {
						t.Errorf("%s: %d bytes, %v, verified %v", name, len(got), err, s.Verified())
					}
				}
				if calls := d.Calls(); !calls[0].Options.GetNoCache() {
					t.Errorf("%+v", calls)
				}
			})
		}
	}
}

// Bytes that turn out wrong end in an error, never in io.EOF; an address is named without what may be secret in it.
func TestFetchURLFails(t *testing.T) {
	d := clienttest.Start(t)
	d.Site = map[string][]byte{"https://site.example/wrong?key=canary": big()}
	c := dial(t, d)
	s, err := c.FetchURL(t.Context(), "https://site.example/wrong?key=canary", digestOf(nil))
	if err != nil {
		t.Fatal(err)
	}
	var failed *client.Error
	if _, err = s.WriteTo(io.Discard); !errors.As(err, &failed) || failed.Code != codes.DataLoss || s.Verified() {
		t.Errorf("wrong bytes: %v", err)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
	if _, err := c.FetchURL(t.Context(), "https://site.example/none", digestOf(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
}
