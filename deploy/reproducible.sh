#!/bin/sh
# Builds the commit that is checked out twice, one after the other: in two folders, with two build caches, under two umasks. Fails unless the binaries are the same, static, and name the commit.
set -eu
cd "$(dirname "$0")/.."
command -v readelf >/dev/null || { echo 'readelf is missing: install binutils' >&2; exit 1; }
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
commit=$(git rev-parse HEAD)

build() { # FOLDER UMASK
	git clone -q . "$1"
	git -C "$1" checkout -q "$commit"
	(umask "$2" && cd "$1" && GOCACHE="$1.cache" make -s build)
	sha256sum <"$1/bin/blobd"
}

one=$(build "$work/one" 022)
two=$(build "$work/another/folder" 077)
echo "$one" "$two"
[ "$one" = "$two" ] || { echo 'the two binaries differ' >&2; exit 1; }
file=$work/one/bin/blobd
if LC_ALL=C readelf -lW "$file" | grep -q 'INTERP\|DYNAMIC'; then
	echo 'the binary is not static' >&2
	exit 1
fi
"$file" version | grep -q "commit $commit" || { echo "the binary does not name its commit: $("$file" version)" >&2; exit 1; }
