// Package wire moves file bytes through gRPC without copying them between buffers.
//
// It is the plain protobuf encoding of blobd.v1 and nothing else: any generated client reads what this codec writes, and
// this codec reads what any server writes. Types of its own stand for messages of ReadFile, and of FetchURL, which are
// laid out alike:
//
//   - A server sends a *Data where it would send a ReadFileResponse or FetchURLResponse that has only data set: the codec
//     puts the field's tag and length before the caller's buffers and hands them on as they are.
//   - A client receives into a *Response where it would receive into a ReadFileResponse, and into a *URLResponse for a
//     FetchURLResponse: data stays in the buffers that gRPC read from the socket.
//
// Every other message goes through gRPC's own proto codec. A server installs it with grpc.ForceServerCodecV2(Codec()), a
// client with grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Codec())).
package wire

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Codec returns the codec. It is stateless and safe for concurrent use.
func Codec() encoding.CodecV2 {
	return codec{CodecV2: encoding.GetCodecV2(proto.Name)}
}

// codec is gRPC's proto codec, name included, that knows more types.
type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if d, ok := v.(*Data); ok {
		return d.marshal(), nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch r := v.(type) {
	case *Response:
		return r.unmarshal(data, c.CodecV2)
	case *URLResponse:
		return r.unmarshal(data, c.CodecV2)
	}
	return c.CodecV2.Unmarshal(data, v)
}
