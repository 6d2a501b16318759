package server_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	blobdv1 "github.com/blobd/blobd/api/proto/blobd/v1"
)

func fetch(t *testing.T, r *running, req *blobdv1.FetchURLRequest) (header *blobdv1.FetchURLHeader, data []byte, summary *blobdv1.FetchURLSummary, err error) {
	t.Helper()
	stream, err := r.FetchURL(t.Context(), req)
	for err == nil {
		var m *blobdv1.FetchURLResponse
		if m, err = stream.Recv(); err == nil {
			data = append(data, m.Data...)
			if m.Header != nil {
				header = m.Header
			}
			if m.Summary != nil {
				summary = m.Summary
			}
		}
	}
	if err == io.EOF {
		err = nil
	}
	return header, data, summary, err
}

func TestFetchURL(t *testing.T) {
	for _, size := range []int{1, 256<<10 - 1, 256 << 10, 1<<20 + 1} {
		data := noise(size)
		want := digest.FromBytes(data)
		d := newDomain(t, nil)
		d.files = map[string][]byte{want.Encoded(): data}
		r := start(t, d, nil)
		for _, sized := range []bool{false, true} {
			req := &blobdv1.FetchURLRequest{Url: "https://site.example/", Digest: want.String()}
			if sized {
				req.Url += "sized"
			}
			header, got, summary, err := fetch(t, r, req)
			if err != nil || !bytes.Equal(got, data) || summary.GetSize() != int64(size) || (header.Size != nil) != sized || sized && *header.Size != int64(size) {
				t.Errorf("%d, sized %v: %v, %d bytes, %v, %v", size, sized, header, len(got), summary, err)
			}
		}
		if _, _, _, err := fetch(t, r, &blobdv1.FetchURLRequest{Digest: digest.FromString("none").String()}); status.Code(err) != codes.NotFound {
			t.Error(err)
		}
	}
}

// A daemon without logins of its own says so.
func TestNoLogins(t *testing.T) {
	r := start(t, newDomain(t, nil), nil)
	_, err := r.admin.Login(t.Context(), &blobdv1.LoginRequest{Registry: "registry.example", Username: "u", Password: "canary"})
	if status.Code(err) != codes.FailedPrecondition {
		t.Error(err)
	}
}
