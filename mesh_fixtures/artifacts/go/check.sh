#!/bin/sh
# Checks the Go code of our own: its format, and `go vet` and the tests of the small programs.
# The other modules are hardly more than lists of what to compile; their builds check them.
set -eu
cd -- "$(dirname -- "$0")"
command -v go >/dev/null 2>&1 || {
    echo "SKIPPED: the Go code is not checked, because there is no go in PATH" >&2
    exit 0
}

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || {
    echo "not formatted, run gofmt -w on: $unformatted" >&2
    exit 1
}
# as in gobuild.py, so that what is compiled for one is there for the other
export CGO_ENABLED=0 GOWORK=off GOFLAGS='-mod=readonly -trimpath -pgo=off -buildvcs=false'
cd tools
go vet ./...
go test -timeout 5m ./...
