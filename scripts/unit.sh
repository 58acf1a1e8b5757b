#!/usr/bin/env bash
# The tests that need no cluster, with the race detector.
#
#   scripts/unit.sh [FLAG…]   flags for go test
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The race detector is C underneath: without a compiler Go turns cgo off, and -race with it.
if ! type -P "$(go env CC)" >/dev/null; then
	if [[ $EUID -ne 0 ]] || ! type -P apt-get >/dev/null; then
		printf 'unit: error: the race detector needs a C compiler. Install gcc, or do without: go test -short ./...\n' >&2
		exit 1
	fi
	printf 'unit: installing gcc with apt-get, which the race detector needs\n' >&2
	{ apt-get -qq -o DPkg::Lock::Timeout=300 update &&
		DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends gcc libc6-dev; } >&2 </dev/null
fi

CGO_ENABLED=1 exec go test -race -short "$@" ./...
