package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kind/pkg/apis/config/defaults"
)

// module is what `go list -m` prints of a module that a go.mod requires.
type module struct{ Version, Dir string }

// The go.mod of this program and the one of the suite, which makes the clusters.
const (
	here  = "."
	suite = "../.."
)

func requiredModule(t *testing.T, in, path string) module {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "-C", in, "list", "-m", "-json", path)
	list.Env = append(os.Environ(), "GOWORK=off")
	out, err := list.Output()
	require.NoErrorf(t, err, "go list -m %s", path)
	var m module
	require.NoError(t, json.Unmarshal(out, &m))
	return m
}

func TestKindVersionIsTheOneInGoMod(t *testing.T) {
	for _, in := range []string{here, suite} {
		assert.Equal(t, kindVersion, requiredModule(t, in, "sigs.k8s.io/kind").Version,
			"the node image has another kind's files than %s/go.mod: change kindVersion in versions.go", in)
	}
}

func TestKubernetesMinorIsKindsAndClientGos(t *testing.T) {
	built, err := minor(kubernetesVersion)
	require.NoError(t, err)

	official := regexp.MustCompile(`^kindest/node:(v[0-9.]+)@`).FindStringSubmatch(defaults.Image)
	require.NotNil(t, official, defaults.Image)
	kinds, err := minor(official[1])
	require.NoError(t, err)
	assert.Equal(t, kinds, built, "kind's default image is %s: change kubernetesVersion in versions.go", official[1])

	client, err := minor(requiredModule(t, suite, "k8s.io/client-go").Version)
	require.NoError(t, err)
	assert.Equal(t, client, built, "client-go in the suite's go.mod isn't for kubernetesVersion in versions.go")
}

func TestKindsDockerfileIsTheOneThatWasFollowed(t *testing.T) {
	kind := requiredModule(t, here, "sigs.k8s.io/kind").Dir
	dockerfile, err := os.ReadFile(filepath.Join(kind, "images", "base", "Dockerfile"))
	require.NoError(t, err)
	sum := sha256.Sum256(dockerfile)
	assert.Equal(t, kindDockerfile, hex.EncodeToString(sum[:]),
		"kind's images/base/Dockerfile has changed: compare it with noderoot.go, then change kindDockerfile in versions.go")
}

func TestStagingVersion(t *testing.T) {
	assert.Equal(t, requiredModule(t, suite, "k8s.io/client-go").Version[:len("v0.37")], stagingVersion()[:len("v0.37")])
	assert.Regexp(t, `^v0\.\d+\.\d+$`, stagingVersion())
}

// minor is the 37 of v1.37.2 and of v0.37.2.
func minor(version string) (string, error) {
	parts := strings.Split(strings.TrimPrefix(version, "v"), ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("version %q isn't of the form vX.Y.Z", version)
	}
	return parts[1], nil
}

func TestMinor(t *testing.T) {
	got, err := minor("v1.37.2")
	require.NoError(t, err)
	assert.Equal(t, "37", got)
	_, err = minor("latest")
	assert.EqualError(t, err, `version "latest" isn't of the form vX.Y.Z`)
}
