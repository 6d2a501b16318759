#!/bin/sh
# Runs every fuzz target of the main module, one after the other, for FUZZTIME (go test's -fuzztime) each, in FUZZPARALLEL
# processes (none given: one for each core), or only those whose name is FUZZTARGET. One that fails does not keep the
# others from running.
#
# An input that is worth keeping is made smaller for a second only: Go's own limit is a minute, and targets whose
# coverage varies from run to run would spend all their time on it.
#
# Until Go 1.27 a target may fail with "context deadline exceeded" alone when its time is up, though nothing was found
# (go.dev/issue/75804). Only that is run again, twice at most; what Go found it writes to testdata, and says so.
set -u
cd "$(dirname "$0")/.."
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# fuzz TARGET FOLDER runs one target, and shows what it said.
fuzz() {
	go test -run '^$' -fuzz "^$1\$" -fuzztime "${FUZZTIME:-5s}" -fuzzminimizetime 1s \
		${FUZZPARALLEL:+-parallel "$FUZZPARALLEL"} "$2" >"$output" 2>&1
	status=$?
	cat "$output"
	return $status
}

late() {
	grep -q '^ *context deadline exceeded$' "$output" && ! grep -q 'Failing input written' "$output"
}

failed=
for folder in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' ./...); do
	for target in $(grep -ho '^func Fuzz[A-Za-z0-9_]*' "$folder"/*_test.go | cut -d' ' -f2); do
		[ "${FUZZTARGET:-$target}" = "$target" ] || continue
		echo "fuzz $target (${folder#"$PWD"/})"
		fuzz "$target" "$folder" || { late && fuzz "$target" "$folder"; } || { late && fuzz "$target" "$folder"; } ||
			failed="$failed $target"
	done
done
[ -z "$failed" ] || { echo "fuzz:$failed FAILED"; exit 1; }
