package wire

import (
	"encoding/binary"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

// dataTag is the tag of the data of ReadFileResponse and FetchURLResponse: field 1, length-delimited. One byte.
const dataTag = 1<<3 | byte(protowire.BytesType)

// Data is a ReadFileResponse or FetchURLResponse whose only field is data, made of Bytes. Sending it (stream.SendMsg) passes one reference
// of each buffer to gRPC, which frees it once the bytes are written or the stream is dead.
type Data struct{ Bytes mem.BufferSlice }

func (d *Data) marshal() mem.BufferSlice {
	head := make([]byte, 1, 1+binary.MaxVarintLen64)
	head[0] = dataTag
	head = binary.AppendUvarint(head, uint64(d.Bytes.Len()))
	out := make(mem.BufferSlice, 0, 1+len(d.Bytes))
	return append(append(out, mem.SliceBuffer(head)), d.Bytes...)
}

// Response is a received ReadFileResponse. Receive into it with stream.RecvMsg; call Free before it is received into
// again, and when it is done with. The zero value is ready. It is not safe for concurrent use.
type Response struct {
	// Header and Summary are as in ReadFileResponse; nil where the message has none.
	Header  *blobdv1.ReadFileHeader
	Summary *blobdv1.ReadFileSummary
	// Data is the message's data in as many pieces as it came in; nil where it has none. Its bytes must not be changed,
	// and are gone after Free. Data.Reader() reads and frees as it goes, with references of its own.
	Data mem.BufferSlice
}

// Free gives the data's buffers back to gRPC and empties r. A second call does nothing.
func (r *Response) Free() {
	r.Data.Free()
	*r = Response{}
}

// unmarshal reads data, whose buffers are freed by the caller once it returns. A message of nothing but data keeps its
// buffers; any other shape, which a foreign server may send, goes through fallback and is copied.
func (r *Response) unmarshal(data mem.BufferSlice, fallback encoding.CodecV2) error {
	r.Free()
	if start, ok := onlyData(data); ok {
		r.Data = after(data, start)
		return nil
	}
	var msg blobdv1.ReadFileResponse
	if err := fallback.Unmarshal(data, &msg); err != nil {
		return err
	}
	r.Header, r.Summary, r.Data = msg.Header, msg.Summary, copied(msg.Data)
	return nil
}

// URLResponse is a received FetchURLResponse; else it is as a Response.
type URLResponse struct {
	Header  *blobdv1.FetchURLHeader
	Summary *blobdv1.FetchURLSummary
	Data    mem.BufferSlice
}

// Free gives the data's buffers back to gRPC and empties r. A second call does nothing.
func (r *URLResponse) Free() {
	r.Data.Free()
	*r = URLResponse{}
}

func (r *URLResponse) unmarshal(data mem.BufferSlice, fallback encoding.CodecV2) error {
	r.Free()
	if start, ok := onlyData(data); ok {
		r.Data = after(data, start)
		return nil
	}
	var msg blobdv1.FetchURLResponse
	if err := fallback.Unmarshal(data, &msg); err != nil {
		return err
	}
	r.Header, r.Summary, r.Data = msg.Header, msg.Summary, copied(msg.Data)
	return nil
}

// copied is data that fallback has taken out of its buffers.
func copied(data []byte) mem.BufferSlice {
	if len(data) == 0 {
		return nil
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}
}

// onlyData reports whether a message is one data field and nothing else, and where the field's bytes start.
func onlyData(message mem.BufferSlice) (start int, ok bool) {
	var head [1 + binary.MaxVarintLen64]byte
	n := message.CopyTo(head[:])
	if n == 0 || head[0] != dataTag {
		return 0, false
	}
	length, used := binary.Uvarint(head[1:n])
	if used <= 0 || length != uint64(message.Len()-1-used) {
		return 0, false
	}
	return 1 + used, true
}

// after returns what follows the first n bytes of s, with references of its own.
func after(s mem.BufferSlice, n int) mem.BufferSlice {
	out := make(mem.BufferSlice, 0, len(s))
	for _, b := range s {
		size := b.Len()
		if n >= size {
			n -= size
			continue
		}
		out = append(out, b.Slice(n, size))
		n = 0
	}
	return out
}
