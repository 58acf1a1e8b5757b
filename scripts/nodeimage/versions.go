package main

import (
	"fmt"
	"strings"
)

// Everything in the node image that has a version of its own. versions_test.go says so when they drift away from go.mod and from what
// kind brings by default; the build itself checks etcd and CoreDNS against what kubeadm asks for.
const (
	// kindVersion is the kind whose node files (entrypoint, systemd units, containerd's configuration) go into the image.
	kindVersion = "v0.33.0"
	// kubernetesVersion is the newest patch of the minor version that kind's default image has and client-go in go.mod speaks.
	kubernetesVersion = "v1.37.2"
	containerdVersion = "v2.3.7"
	etcdVersion       = "v3.7.0"
	corednsVersion    = "v1.14.6"
	cniVersion        = "v1.9.1"
	// debianSuite is bookworm, since the systemd of later releases is said to refuse cgroup v1, which some hosts still have.
	debianSuite = "bookworm"
)

// buildDate is what programs and images say of their age. A constant, so that the same recipe makes the same files.
const buildDate = "2026-01-01T00:00:00Z"

// kindDockerfile is the SHA-256 of kind's images/base/Dockerfile as it was when rootfs.go was written after it. When kind changes it,
// a test asks for another look.
const kindDockerfile = "c1bdaa878643a7dc42a471d9661277a4aea26f319474a7eda6174cb33da58f4c"

// stagingVersion is the version under which Kubernetes publishes its staging modules, k8s.io/api and so on: v0.37.2 for v1.37.2.
func stagingVersion() string {
	return "v0" + strings.TrimPrefix(kubernetesVersion, "v1")
}

// minor is the 37 of v1.37.2 and of v0.37.2.
func minor(version string) (string, error) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("version %q isn't of the form vX.Y.Z", version)
	}
	return parts[1], nil
}
