package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
)

// split cuts b into buffers of at most size bytes, as gRPC does with what it reads.
func split(b []byte, size int) mem.BufferSlice {
	var out mem.BufferSlice
	for len(b) > size {
		out = append(out, mem.SliceBuffer(b[:size]))
		b = b[size:]
	}
	return append(out, mem.SliceBuffer(b))
}

func TestDataIsReadByGeneratedCode(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 16383, 16384, 1 << 20} {
		want := bytes.Repeat([]byte{0xA5}, size)
		raw, err := wire.Codec().Marshal(&wire.Data{Bytes: split(want, 1000)})
		if err != nil {
			t.Fatal(err)
		}
		var got blobdv1.ReadFileResponse
		if err := proto.Unmarshal(raw.Materialize(), &got); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(got.Data, want) || got.Header != nil || got.Summary != nil {
			t.Errorf("%d bytes: not the same after the wire", size)
		}
	}
}

func TestResponseReadsWhatGeneratedCodeWrites(t *testing.T) {
	header := &blobdv1.ReadFileHeader{Length: 7, Entry: &blobdv1.Entry{Path: "a"}}
	summary := &blobdv1.ReadFileSummary{Verified: true}
	cases := map[string]*blobdv1.ReadFileResponse{
		"empty":              {},
		"header":             {Header: header},
		"summary":            {Summary: summary},
		"one byte":           {Data: []byte{1}},
		"127 bytes":          {Data: bytes.Repeat([]byte{2}, 127)},
		"128 bytes":          {Data: bytes.Repeat([]byte{3}, 128)},
		"100,000 bytes":      {Data: bytes.Repeat([]byte{4}, 100_000)},
		"data beside header": {Data: []byte(strings.Repeat("x", 300)), Header: header},
		"everything":         {Data: []byte("x"), Header: header, Summary: summary},
	}
	for name, want := range cases {
		raw, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range []int{1, 2, 3, 64, 1 << 20} {
			var got wire.Response
			if err := wire.Codec().Unmarshal(split(raw, piece), &got); err != nil {
				t.Fatalf("%s in pieces of %d: %v", name, piece, err)
			}
			back := &blobdv1.ReadFileResponse{
				Data: got.Data.Materialize(), Header: got.Header, Summary: got.Summary,
			}
			if !proto.Equal(back, want) {
				t.Errorf("%s in pieces of %d: not the same after the wire", name, piece)
			}
			got.Free()
		}
	}
}

func TestResponseRefusesWhatIsNoMessage(t *testing.T) {
	cases := map[string][]byte{
		"length past the end": {0x0A, 5, 1, 2},
		"endless length":      bytes.Repeat([]byte{0xFF}, 12),
		"tag alone":           {0x0A},
		"another wire type":   {0x08, 1, 0x0A},
	}
	for name, raw := range cases {
		var got wire.Response
		if err := wire.Codec().Unmarshal(split(raw, 3), &got); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Two data fields in one message are legal protobuf: the last one counts.
func TestResponseOfRepeatedField(t *testing.T) {
	raw := []byte{0x0A, 2, 'a', 'b', 0x0A, 1, 'c'}
	var got wire.Response
	if err := wire.Codec().Unmarshal(split(raw, 4), &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Data.Materialize()) != "c" {
		t.Errorf("got %q", got.Data.Materialize())
	}
}

func TestResponseForgetsTheLastMessage(t *testing.T) {
	first, _ := proto.Marshal(&blobdv1.ReadFileResponse{Header: &blobdv1.ReadFileHeader{Length: 1}})
	second, _ := proto.Marshal(&blobdv1.ReadFileResponse{Data: []byte("x")})
	var got wire.Response
	for _, raw := range [][]byte{first, second} {
		if err := wire.Codec().Unmarshal(split(raw, 1<<10), &got); err != nil {
			t.Fatal(err)
		}
	}
	if got.Header != nil || string(got.Data.Materialize()) != "x" {
		t.Errorf("got %+v", got)
	}
}

// pool counts what it was given back.
type pool struct{ back int }

func (p *pool) Get(n int) *[]byte { b := make([]byte, n); return &b }
func (p *pool) Put(*[]byte)       { p.back++ }

func TestBuffersComeBackOnce(t *testing.T) {
	p := new(pool)
	send := p.Get(64 << 10)
	raw, err := wire.Codec().Marshal(&wire.Data{Bytes: mem.BufferSlice{mem.NewBuffer(send, p)}})
	if err != nil {
		t.Fatal(err)
	}
	var got wire.Response
	if err := wire.Codec().Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	raw.Free() // as gRPC does after Unmarshal
	if p.back != 0 {
		t.Fatal("the buffer is back while the response still holds it")
	}
	if got.Data.Len() != len(*send) || &got.Data[0].ReadOnlyData()[0] != &(*send)[0] {
		t.Error("the bytes were copied")
	}
	got.Free()
	got.Free()
	if p.back != 1 {
		t.Errorf("the buffer came back %d times", p.back)
	}
}

func TestOtherMessagesAreUntouched(t *testing.T) {
	want := &blobdv1.PullRequest{Reference: "example.com/a:1"}
	raw, err := wire.Codec().Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := new(blobdv1.PullRequest)
	if err := wire.Codec().Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) || wire.Codec().Name() != "proto" {
		t.Errorf("got %v as %q", got, wire.Codec().Name())
	}
}

// Whatever comes, a Response says what generated code says.
func FuzzResponse(f *testing.F) {
	for _, m := range []*blobdv1.ReadFileResponse{
		{}, {Data: []byte("x")}, {Header: &blobdv1.ReadFileHeader{Length: 3}}, {Data: []byte("y"), Summary: &blobdv1.ReadFileSummary{}},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, 3)
	}
	f.Add([]byte{0x0A, 0x81, 0x00, 'z'}, 1) // a length that is longer than it need be
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		if piece < 1 {
			piece = 1
		}
		var want blobdv1.ReadFileResponse
		wantErr := proto.Unmarshal(raw, &want)
		var got wire.Response
		err := wire.Codec().Unmarshal(split(raw, piece), &got)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, generated code has %v", err, wantErr)
		}
		if err != nil {
			return
		}
		defer got.Free()
		if !bytes.Equal(got.Data.Materialize(), want.Data) || !proto.Equal(got.Header, want.Header) ||
			!proto.Equal(got.Summary, want.Summary) {
			t.Fatalf("got %v, %v, %v; generated code has %v", got.Data, got.Header, got.Summary, &want)
		}
	})
}
