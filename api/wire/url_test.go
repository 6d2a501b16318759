package wire_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
)

// What is sent as *Data, and what generated code writes, a URLResponse reads as generated code does.
func TestURLResponse(t *testing.T) {
	size := int64(7)
	raw, err := wire.Codec().Marshal(&wire.Data{Bytes: split(bytes.Repeat([]byte{9}, 5000), 1000)})
	if err != nil {
		t.Fatal(err)
	}
	messages := [][]byte{raw.Materialize()}
	for _, m := range []*blobdv1.FetchURLResponse{
		{}, {Header: &blobdv1.FetchURLHeader{}}, {Header: &blobdv1.FetchURLHeader{Size: &size}},
		{Summary: &blobdv1.FetchURLSummary{Size: 7}}, {Data: []byte("x"), Header: &blobdv1.FetchURLHeader{Size: &size}},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, raw)
	}
	var got wire.URLResponse
	for _, raw := range messages {
		var want blobdv1.FetchURLResponse
		if err := proto.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		for _, piece := range []int{1, 3, 1 << 20} {
			if err := wire.Codec().Unmarshal(split(raw, piece), &got); err != nil {
				t.Fatal(err)
			}
			back := &blobdv1.FetchURLResponse{Data: got.Data.Materialize(), Header: got.Header, Summary: got.Summary}
			if len(back.Data) == 0 {
				back.Data = nil
			}
			if !proto.Equal(back, &want) {
				t.Errorf("got %v, want %v", back, &want)
			}
		}
	}
	got.Free()
	if err := wire.Codec().Unmarshal(split([]byte{0x0A, 5, 1}, 1), &got); err == nil {
		t.Error("a message that is cut is read")
	}
}
