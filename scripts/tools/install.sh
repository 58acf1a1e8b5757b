#!/usr/bin/env bash
# Builds the pinned tools, once for each set of versions, and prints the folder that holds them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

modules=(. actionlint)

# A linter must be at least as new as the Go it reads, so the Go version counts as well.
versions=$({ go version && cat "${modules[@]/%//go.mod}" "${modules[@]/%//go.sum}"; } | git hash-object --stdin)
bin=${XDG_CACHE_HOME:-$HOME/.cache}/zerodrop/tools/${versions:0:16}

if [[ ! -d $bin ]]; then
	printf 'tools: building the linters into %s, once: about 5 minutes on 2 cores\n' "$bin" >&2
	# Under a name of our own until it is whole: a build that is cut off leaves no half of it, and two at once don't mix.
	partial=$bin.$$
	trap 'rm -rf "$partial"' EXIT
	for module in "${modules[@]}"; do
		GOBIN=$partial go -C "$module" install -ldflags='-s -w' tool 2>&1 | sed '/^go: downloading /d' >&2
	done
	[[ -d $bin ]] || mv "$partial" "$bin"
fi
printf '%s\n' "$bin"
