package faultregistry_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/blobd/blobd/internal/faultregistry"
	"github.com/blobd/blobd/internal/registrytest"
)

// TestActs asks for bytes 10 to 19 of a blob of 100 and looks at what a client sees of each act, the first time and the
// second, when the act is used up.
func TestActs(t *testing.T) {
	data := make([]byte, 100)
	for i := range data {
		data[i] = byte(i)
	}
	wrong := bytes.Clone(data[10:20])
	wrong[5] ^= 1
	for _, c := range []struct {
		name   string
		act    Act
		status int // 0: no answer
		body   []byte
		broken bool
	}{
		{"well", Well, 206, data[10:20], false},
		{"status", Status(503), 503, nil, false},
		{"cut", Cut(15), 206, data[10:15], true},
		{"cut before it", Cut(5), 206, nil, true},
		{"cut behind it", Cut(50), 206, data[10:20], false},
		{"reset", Reset(15), 206, data[10:15], true},
		{"wrong byte", WrongByte(15), 206, wrong, false},
		{"wrong byte elsewhere", WrongByte(50), 206, data[10:20], false},
		{"longer", Longer(2), 206, append(bytes.Clone(data[10:20]), 0, 0), false},
		{"shorter", Longer(-2), 206, data[10:18], false},
		{"no range", NoRange, 200, data, false},
		{"other range", OtherRange(3), 206, data[13:23], false},
		{"trickle", Trickle(12, 4, time.Millisecond), 206, data[10:20], false},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
			}))
			s := httptest.NewServer(reg)
			defer s.Close()
			ask := func() (int, []byte, error) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v2/a/blobs/x", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Range", "bytes=10-19")
				res, err := s.Client().Do(req)
				if err != nil {
					return 0, nil, err
				}
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				return res.StatusCode, body, err
			}
			reg.On(Kind(registrytest.Range), c.act)
			status, body, err := ask()
			if status != c.status || (err != nil) != c.broken || !c.broken && !bytes.Equal(body, c.body) || !bytes.HasPrefix(c.body, body) {
				t.Errorf("%d %v %v, want %d %v", status, body, err, c.status, c.body)
			}
			if status, body, err = ask(); status != 206 || err != nil || !bytes.Equal(body, data[10:20]) {
				t.Errorf("the second time: %d %v %v", status, body, err)
			}
			if reg.Struck() != 1 || reg.Counts().Range != 2 {
				t.Errorf("struck %d of %+v", reg.Struck(), reg.Counts())
			}
		})
	}
}
