#!/usr/bin/env bash
# What a release publishes, each for amd64 and arm64: OCI archives of the sample app and the load generator, the suite as a
# program, and the checksums of all.
#
#   scripts/release.sh [FOLDER]   default: dist
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mkdir -p "${1:-dist}"
dist=$(cd "${1:-dist}" && pwd)

go -C scripts/images run -buildvcs=false . archives "$dist"
for arch in amd64 arm64; do
	# With its version in it: by that it finds the image of its load generator.
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch go test -c -trimpath -buildvcs=true -ldflags='-s -w' -o "$dist/zerodrop_linux_$arch" ./e2e
done
cd "$dist"
sha256sum sampleapp.tar loadgen.tar zerodrop_linux_amd64 zerodrop_linux_arm64 >SHA256SUMS
