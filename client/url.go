package client

import (
	"context"
	"io"
	"net/url"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
	"github.com/blobd/blobd/api/wire"
)

// FetchURL begins to read the file at an address, https or what the daemon's configuration allows, whose sha256 the caller
// names as sha256:hex. The daemon keeps it by that digest: once it has the file nobody is asked, whatever the address. Of
// the options NoCache and RequireVerified count. The stream holds resources until Close or an error, io.EOF included.
func (c *Client) FetchURL(ctx context.Context, address, digest string, opts ...ReadOption) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{name: addressName(address), cancel: cancel}
	request := &blobdv1.FetchURLRequest{Url: address, Digest: digest, Options: readOptions(opts)}
	if err := s.beginURL(ctx, c.api, request); err != nil {
		cancel()
		return nil, s.pathError(err)
	}
	return s, nil
}

func (s *Stream) beginURL(ctx context.Context, api blobdv1.BlobdServiceClient, request *blobdv1.FetchURLRequest) error {
	stream, err := api.FetchURL(ctx, request)
	if err != nil {
		return err
	}
	var msg wire.URLResponse
	var summary *blobdv1.FetchURLSummary
	s.free = msg.Free
	s.recv = func() error {
		err := stream.RecvMsg(&msg)
		s.data = msg.Data
		if err == nil && msg.Summary != nil {
			summary = msg.Summary
		}
		if err == io.EOF {
			if summary == nil || summary.GetSize() != s.got {
				return badAnswer("the daemon's answer has not the bytes that it says")
			}
			s.verified, s.steps = true, steps(summary.GetSteps())
		}
		return err
	}
	if err := s.first(); err != nil {
		return err
	}
	h := msg.Header
	if h == nil || h.GetSize() < 0 {
		return errNoHeader
	}
	s.length = -1
	if h.Size != nil {
		s.length = h.GetSize()
	}
	s.entry = &Entry{Path: s.name, Size: s.length, Digest: request.Digest, Permissions: 0o644, Encoding: "stored"}
	return nil
}

// addressName is how errors name an address: without a login, and without its query, which may be a signature.
func addressName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address"
	}
	u.User, u.RawQuery, u.Fragment, u.RawFragment = nil, "", "", ""
	return u.String()
}
