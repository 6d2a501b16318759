#!/bin/sh
# Makes the generated Go code again, beside the proto files. The versions are pinned, and the comment in which the
# plugins name the compiler's version is dropped, so that the same proto gives the same bytes everywhere.
# Needs protoc (Debian: protobuf-compiler) and go.
set -eu

PROTOC_GEN_GO=google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
PROTOC_GEN_GO_GRPC=google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

cd "$(dirname "$0")/proto"
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT

GOBIN=$bin go install "$PROTOC_GEN_GO"
GOBIN=$bin go install "$PROTOC_GEN_GO_GRPC"

PATH=$bin:$PATH protoc -I . \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	blobd/v1/*.proto

for f in blobd/v1/*.pb.go; do
	grep -v '^//.*protoc  *(\{0,1\}v[0-9]' "$f" >"$bin/out"
	cat "$bin/out" >"$f"
done
