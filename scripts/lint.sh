#!/usr/bin/env bash
# Everything that can be said about the code without running it. All checks run, then it fails if one of them did.
#
#   scripts/lint.sh       the checks
#   scripts/lint.sh fix   formats the Go code
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A checkout that belongs to another user makes git refuse, and with it every build that wants a commit for its stamp.
GOFLAGS="$(go env GOFLAGS) -buildvcs=false"
export GOFLAGS

bin=$(scripts/tools/install.sh)
red=()

check() { # NAME COMMAND…
	local name=$1 start=$SECONDS
	shift
	if "$@"; then
		printf 'lint: %s: ok (%d s)\n' "$name" $((SECONDS - start))
	else
		red+=("$name")
		printf 'lint: %s: FAILED\n' "$name"
	fi
}

each_syntax() { # bash -n looks at its first argument only
	local script bad=0
	for script in "$@"; do bash -n "$script" || bad=1; done
	return $bad
}

in_images() { (cd scripts/images && "$@"); } # a Go module of its own
in_balancer() { (cd scripts/images/loadbalancer && "$@"); } # and another one

case ${1:-check} in
check)
	check format "$bin/golangci-lint" fmt --diff # gofumpt and goimports
	check golangci-lint "$bin/golangci-lint" run ./...
	check 'go mod tidy' go mod tidy -diff
	check 'golangci-lint of scripts/images' in_images "$bin/golangci-lint" run ./...
	check 'go mod tidy of scripts/images' go -C scripts/images mod tidy -diff
	check 'golangci-lint of scripts/images/loadbalancer' in_balancer "$bin/golangci-lint" run ./...
	check 'go mod tidy of scripts/images/loadbalancer' go -C scripts/images/loadbalancer mod tidy -diff
	check actionlint "$bin/actionlint" -shellcheck= -pyflakes= .github/workflows/*.yml # the same verdict, whatever else a machine has
	check 'shell syntax' each_syntax .ci/run scripts/*.sh scripts/tools/*.sh
	;;
fix)
	check format "$bin/golangci-lint" fmt
	;;
*)
	printf 'lint: unknown command %s; known: check (the default), fix\n' "$1" >&2
	exit 2
	;;
esac

if ((${#red[@]})); then
	printf 'lint: failed: %s\n' "$(IFS=,; echo "${red[*]}")" >&2
	exit 1
fi
