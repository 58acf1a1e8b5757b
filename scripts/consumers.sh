#!/usr/bin/env bash
# Every consumer of endpoints, measured: builds the images of the programs that they need, then runs profile consumers.
#
#   scripts/consumers.sh [-consumers a,b] [FLAG…]   flags as for scripts/e2e.sh; with -resume it goes on where it was cut off
#
# An image that can't be had is no reason to measure nothing: the suite says which runs need it. Exits as scripts/e2e.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flags=" $* "
folders=(fixtures/consumers)
if [[ $flags =~ [[:space:]]--?consumers[=[:space:]]+([^[:space:]]+) ]]; then
	IFS=, read -ra names <<<"${BASH_REMATCH[1]}"
	folders=("${names[@]/#/fixtures/consumers/}") # an unknown one has none: the suite lists the known ones
fi
recipes=()
if [[ ! $flags =~ [[:space:]]--?(replay|kubeconfig)[=[:space:]] ]]; then # those use no image of ours
	mapfile -t recipes < <(grep -rhoPs 'zerodrop\.dev/component: *\K[a-z0-9-]+' "${folders[@]}" | sort -u)
fi
if [[ ${#recipes[@]} -gt 0 ]]; then
	scripts/docker.sh
	go -C scripts/images run -buildvcs=false . components "${recipes[@]}" ||
		printf 'consumers: not every image could be had: runs that need one will say so\n' >&2
fi
exec scripts/e2e.sh -profile consumers -out artifacts/consumers -timeout 3h "$@"
