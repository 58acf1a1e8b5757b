package main

import "strings"

// The versions of everything in the node image that has one. versions_test.go fails when they drift
// away from the go.mod files and from kind's default image; the build itself checks etcd and
// CoreDNS against what kubeadm asks for.
const (
	// kindVersion is the kind whose node files (entrypoint, systemd units, containerd's
	// configuration) go into the image.
	kindVersion = "v0.33.0"
	// kubernetesVersion is the newest patch of the minor version of kind's default image and of
	// client-go in go.mod.
	kubernetesVersion = "v1.37.2"
	containerdVersion = "v2.3.7"
	etcdVersion       = "v3.7.0"
	corednsVersion    = "v1.14.6"
	cniVersion        = "v1.9.1"
	// debianSuite is bookworm, since the systemd of later releases is said to refuse cgroup v1,
	// which some hosts still have.
	debianSuite = "bookworm"
)

// assembly is the revision of the code that puts images together: count it up when the same parts
// would make another image. TestNodeRootFileSystem and TestProxyRoot notice it.
const assembly = "1"

// buildDate is the age that programs and images report. A constant, so that the same recipe makes
// the same files.
const buildDate = "2026-01-01T00:00:00Z"

// kindDockerfile is the SHA-256 of kind's images/base/Dockerfile when noderoot.go was written after
// it. When kind changes the file, a test asks for another look.
const kindDockerfile = "c1bdaa878643a7dc42a471d9661277a4aea26f319474a7eda6174cb33da58f4c"

// stagingVersion is the version under which Kubernetes publishes its staging modules, k8s.io/api
// and so on: v0.37.2 for v1.37.2.
func stagingVersion() string {
	return "v0" + strings.TrimPrefix(kubernetesVersion, "v1")
}
