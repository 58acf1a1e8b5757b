#!/usr/bin/env bash
# The tests that need no cluster, with the race detector.
#
#   scripts/unit.sh [FLAG…]                     flags for go test
#   INSTALL_BROWSER=1 scripts/unit.sh [FLAG…]   as root on a Debian: gets a browser first, if there is none
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# add WHY PACKAGE… installs Debian packages, if this is root on a Debian.
add() {
	[[ $EUID -eq 0 ]] && type -P apt-get >/dev/null || return 1
	printf 'unit: installing %s with apt-get, which %s\n' "${*:2}" "$1" >&2
	{ apt-get -qq -o DPkg::Lock::Timeout=300 update &&
		DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${@:2}"; } >&2 </dev/null
}

# The race detector is C underneath: without a compiler Go turns cgo off, and -race with it.
if ! type -P "$(go env CC)" >/dev/null && ! add 'the race detector needs' gcc libc6-dev; then
	printf 'unit: error: the race detector needs a C compiler. Install gcc, or do without: go test -short ./...\n' >&2
	exit 1
fi

# Some tests look at the pages that a suite writes, in a real browser.
has_browser() { [[ -n $(type -P chromium chromium-browser google-chrome chrome) ]]; }
if [[ -n ${INSTALL_BROWSER:-} ]] && ! has_browser; then
	export -f add
	timeout 300 bash -c 'add "the tests of pages need" chromium' || true # without it they are skipped
fi

# The images' programs are modules of their own. All are tested, then it fails if one of them did.
export CGO_ENABLED=1
code=0
for module in . scripts/images scripts/images/loadbalancer; do
	go -C "$module" test -race -short "$@" ./... || code=$?
done
has_browser || printf 'unit: skipped for want of a browser: the tests that look at pages. Install chromium to have them\n' >&2
exit "$code"
