package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kind/pkg/apis/config/defaults"
)

// module is what `go list -m` says of a module that go.mod requires.
type module struct{ Version, Dir string }

func requiredModule(t *testing.T, path string) module {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-json", path).Output()
	require.NoErrorf(t, err, "go list -m %s", path)
	var m module
	require.NoError(t, json.Unmarshal(out, &m))
	return m
}

func TestKindVersionIsTheOneInGoMod(t *testing.T) {
	required := requiredModule(t, "sigs.k8s.io/kind").Version
	assert.Equal(t, kindVersion, required,
		"the node image has another kind's files than the kind that makes the cluster: change kindVersion in versions.go")
}

func TestKubernetesMinorIsKindsAndClientGos(t *testing.T) {
	built, err := minor(kubernetesVersion)
	require.NoError(t, err)

	official := regexp.MustCompile(`^kindest/node:(v[0-9.]+)@`).FindStringSubmatch(defaults.Image)
	require.NotNil(t, official, defaults.Image)
	kinds, err := minor(official[1])
	require.NoError(t, err)
	assert.Equal(t, kinds, built, "kind's default image is %s: change kubernetesVersion in versions.go", official[1])

	client, err := minor(requiredModule(t, "k8s.io/client-go").Version)
	require.NoError(t, err)
	assert.Equal(t, client, built, "client-go in go.mod speaks another Kubernetes than kubernetesVersion in versions.go")
}

func TestKindsDockerfileIsTheOneThatWasFollowed(t *testing.T) {
	dockerfile, err := os.ReadFile(filepath.Join(requiredModule(t, "sigs.k8s.io/kind").Dir, "images", "base", "Dockerfile"))
	require.NoError(t, err)
	sum := sha256.Sum256(dockerfile)
	assert.Equal(t, kindDockerfile, hex.EncodeToString(sum[:]),
		"kind's images/base/Dockerfile has changed: compare it with rootfs.go, then change kindDockerfile in versions.go")
}

func TestStagingVersion(t *testing.T) {
	assert.Equal(t, requiredModule(t, "k8s.io/client-go").Version[:len("v0.37")], stagingVersion()[:len("v0.37")])
	assert.Regexp(t, `^v0\.\d+\.\d+$`, stagingVersion())
}

func TestMinor(t *testing.T) {
	got, err := minor("v1.37.2")
	require.NoError(t, err)
	assert.Equal(t, "37", got)
	_, err = minor("latest")
	assert.EqualError(t, err, `version "latest" isn't of the form vX.Y.Z`)
}
