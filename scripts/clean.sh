#!/usr/bin/env bash
# Removes what runs leave behind: the kind clusters, the artifacts, and the Docker daemon that scripts/docker.sh started.
#
#   scripts/clean.sh         keeps the caches, so that the next run is quick
#   scripts/clean.sh cache   and the caches: built tools, parts of the node image, images in Docker. Minutes to build again
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-runs} in
runs | cache) ;;
*)
	printf 'clean: unknown command %s; known: runs (the default), cache\n' "$1" >&2
	exit 2
	;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/zerodrop

if timeout 20 docker info >/dev/null 2>&1; then
	remove() { docker ps -aq --filter label="$1" | xargs -r docker rm --force --volumes; }
	# By kind's own label, for the nodes of a cluster that is broken or was cut off half-way as well.
	remove io.x-k8s.kind.cluster=zerodrop
	remove dev.zerodrop.container # what stood beside it
	for state in "$cache"/clusters/*/; do # those of other names (-cluster)
		[[ -d $state ]] || continue
		remove io.x-k8s.kind.cluster="$(basename "$state")"
		remove dev.zerodrop.container."$(basename "$state")"
	done
	if [[ ${1:-runs} == cache ]]; then
		docker image ls --format '{{.Repository}}:{{.Tag}}' --filter 'reference=zerodrop/*' --filter 'reference=localhost/zerodrop-client' | xargs -r docker image rm --force
	fi
fi
scripts/docker.sh stop
rm -rf artifacts dist
if [[ ${1:-runs} == cache ]]; then
	rm -rf "$cache"
fi
