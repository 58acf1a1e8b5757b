#!/usr/bin/env bash
# From whatever is there to the table of dropped requests: Docker, a node image, then `go test ./e2e`.
#
#   scripts/e2e.sh [FLAG…]   flags for go test and for the suite: -profile full -strategies prestop-sleep -timeout 2h
#                            -app deploy/ -app-archive image.tar -kubeconfig FILE -ca FILE: paths from where you are;
#                            -app - reads standard input
#   NODE_IMAGE=ref           asks for this node image instead of kind's default or one built from source
#
# Runs the scenarios of the profile; with -long the long tests that it names, and no scenarios. -run chooses among
# either's tests itself.
# Exits with 0 if the suite has passed, 1 if it failed or could not be tested, 2 for bad flags, 3 if it is
# inconclusive, 4 if the infrastructure broke down.
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

# What is somebody's own is meant from where the caller is. Standard input is kept in a file: go test gives its programs none.
absolute() { # PATH
	case $1 in
	-) cat >"$temp/stdin.yaml" && echo "$temp/stdin.yaml" ;;
	/* | '') echo "$1" ;;
	*) echo "$caller/$1" ;;
	esac
}
args=()
while (($#)); do
	case $1 in
	-app=* | --app=* | -app-archive=* | --app-archive=* | -kubeconfig=* | --kubeconfig=* | -ca=* | --ca=*) args+=("${1%%=*}=$(absolute "${1#*=}")") ;;
	-app | --app | -app-archive | --app-archive | -kubeconfig | --kubeconfig | -ca | --ca)
		args+=("$1" ${2+"$(absolute "$2")"})
		shift $(($# > 1))
		;;
	*) args+=("$1") ;;
	esac
	shift
done
set -- ${args[@]+"${args[@]}"}

# A checkout that belongs to another user makes git refuse, and with it every build that wants a commit for its stamp.
GOFLAGS="$(go env GOFLAGS) -buildvcs=false"
export GOFLAGS

given() { # NAMES, did the caller give one of these flags?
	[[ " $flags " =~ [[:space:]]--?($1)[=[:space:]] ]]
}
flags=$*

# go test exits with 1 whatever the suite has exited with: the suite itself writes its code down.
export ZERODROP_EXIT_CODE=$temp/exit-code
suite() { # FLAGS; exits if it doesn't pass
	local code=0 told
	rm -f "$ZERODROP_EXIT_CODE"
	# In its own folder and with no package named, go test hands the terminal on; as `go test ./e2e` the suite would write to a
	# pipe. Ctrl-C goes to the whole group, the suite included, which has a cluster to take away: go waits for the suite, and
	# bash for go.
	go -C e2e test -count=1 -v -timeout 60m "$@" || code=$?
	read -r told 2>/dev/null <"$ZERODROP_EXIT_CODE" || told=$code # one that crashed has told nothing
	((told == 0)) || exit "$told"
}

# What is wrong with an app is said before anything is made for it.
if given app; then
	suite "$@" -run '^$'
fi

# Stored timelines are judged again, and a cluster that exists is used, without a Docker or a node image of ours.
if ! given 'replay|context|kubeconfig'; then
	scripts/docker.sh
	if ! given node-image; then
		image=$(go -C scripts/images run . ${NODE_IMAGE:+-image "$NODE_IMAGE"} node)
		set -- -node-image "$image" "$@"
	fi
fi

# The suite, and not the unit tests that lie beside it. A long test that -long doesn't name is skipped by itself.
if given long; then
	given 'run|test.run' || set -- -skip '^Test(Script|Process|Rises)' "$@"
else
	given 'run|test.run' || set -- -run '^TestRollout$' "$@"
fi

suite "$@"
