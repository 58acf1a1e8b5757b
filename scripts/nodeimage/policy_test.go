package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	official = "kindest/node:v1.37.0@sha256:abc"
	ours     = "zerodrop/node:v1.37.2-12345678"
)

// fakeEngine is a Docker with some images, and a registry with some more.
type fakeEngine struct {
	has      []string
	registry []string
	pullErr  error
	broken   error
	pulls    []string
}

func (f *fakeEngine) present(_ context.Context, ref string) (bool, error) {
	return slices.Contains(f.has, ref), f.broken
}

func (f *fakeEngine) pull(_ context.Context, ref string, _ time.Duration) error {
	f.pulls = append(f.pulls, ref)
	if slices.Contains(f.registry, ref) {
		return nil
	}
	if f.pullErr != nil {
		return f.pullErr
	}
	return errNoRegistry
}

func TestFind(t *testing.T) {
	for _, tc := range []struct {
		name   string
		docker fakeEngine
		want   string
	}{
		{"both are here", fakeEngine{has: []string{ours, official}}, official},
		{"ours is here", fakeEngine{has: []string{ours}, registry: []string{official}}, ours},
		{"none is here", fakeEngine{registry: []string{official}}, official},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := present(t.Context(), &tc.docker, official, ours)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			assert.Empty(t, tc.docker.pulls)
		})
	}
	_, err := present(t.Context(), &fakeEngine{broken: errNoRegistry}, official)
	require.ErrorIs(t, err, errNoRegistry)
}

func TestChoose(t *testing.T) {
	for _, tc := range []struct {
		name   string
		docker fakeEngine
		choice choice
		pulls  []string
		builds bool
		want   string
	}{
		{"the user's image is here", fakeEngine{has: []string{"mine", official}}, choice{image: "mine"}, nil, false, "mine"},
		{"the user's image can be pulled", fakeEngine{registry: []string{"mine"}}, choice{image: "mine"}, []string{"mine"}, false, "mine"},
		{"kind's default is here", fakeEngine{has: []string{official, ours}}, choice{}, nil, false, official},
		{"ours is here, and no registry is asked", fakeEngine{has: []string{ours}, registry: []string{official}}, choice{}, nil, false, ours},
		{"kind's default can be pulled", fakeEngine{registry: []string{official}}, choice{}, []string{official}, false, official},
		{"no registry", fakeEngine{}, choice{}, []string{official}, true, ours},
		{"a registry that refuses", fakeEngine{pullErr: errors.New("toomanyrequests")}, choice{}, []string{official}, true, ours},
		{"from source although kind's default is here", fakeEngine{has: []string{official}}, choice{fromSource: true}, nil, true, ours},
		{"from source, and it's here", fakeEngine{has: []string{ours}}, choice{fromSource: true}, nil, false, ours},
		{"again", fakeEngine{has: []string{ours, official}}, choice{rebuild: true}, nil, true, ours},
	} {
		t.Run(tc.name, func(t *testing.T) {
			builds := false
			c := tc.choice
			c.official, c.ours = official, ours
			c.build = func(context.Context) error { builds = true; return nil }
			c.say = func(string, ...any) {}
			got, err := choose(t.Context(), &tc.docker, c)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.pulls, tc.docker.pulls)
			assert.Equal(t, tc.builds, builds)
		})
	}
}

func TestChooseFails(t *testing.T) {
	noDocker := errors.New("Cannot connect to the Docker daemon")
	full := commandError{name: "docker", tail: "write /var/lib/docker/x: no space left on device", cause: errors.New("exit status 1")}
	for _, tc := range []struct {
		name   string
		docker fakeEngine
		choice choice
		want   string
	}{
		{"the user's image isn't to be had", fakeEngine{has: []string{official}}, choice{image: "typo"}, "the node image typo is neither here nor to be pulled: no registry answers"},
		{"the user's image, from source", fakeEngine{}, choice{image: "mine", fromSource: true}, "-image names an image that exists: -source and -rebuild don't go with it"},
		{"no Docker", fakeEngine{broken: noDocker}, choice{}, "Cannot connect to the Docker daemon"},
		{"a full disk isn't a missing registry", fakeEngine{pullErr: full}, choice{}, "no space left on device"},
		{"the build", fakeEngine{}, choice{fromSource: true}, "compile Kubernetes: broken"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := tc.choice
			c.official, c.ours = official, ours
			c.build = func(context.Context) error { return errors.New("compile Kubernetes: broken") }
			c.say = func(string, ...any) {}
			got, err := choose(t.Context(), &tc.docker, c)
			assert.ErrorContains(t, err, tc.want)
			if tc.name != "no Docker" {
				assert.Empty(t, got)
			}
		})
	}
}

func TestCanBuild(t *testing.T) {
	for _, tc := range []struct {
		name      string
		osRelease string
		uid       int
		want      string // in the error
	}{
		{"Debian", "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n", 0, ""},
		{"Ubuntu", "ID=ubuntu\nID_LIKE=debian\n", 0, ""},
		{"a grandchild of Debian", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", 0, ""},
		{"not root", "ID=debian\n", 1000, "by root only"},
		{"Fedora", "ID=fedora\n", 0, "on Debian (or Ubuntu) only"},
		{"no Linux", "", 0, "on Debian (or Ubuntu) only"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := canBuild(tc.osRelease, tc.uid)
			if tc.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, tc.want)
			assert.ErrorContains(t, err, "-node-image", "what to do instead")
		})
	}
}

func TestCommandErrorEndsWithTheLastLines(t *testing.T) {
	script := `for i in $(seq 40); do echo "line $i"; done; printf 'the cause' >&2; exit 3`
	err := command{}.run(t.Context(), "sh", "-c", script)
	require.Error(t, err)
	assert.Contains(t, err.Error(), "exit status 3\n")
	assert.Contains(t, err.Error(), "line 40")
	assert.Contains(t, err.Error(), "the cause")
	assert.NotContains(t, err.Error(), "line 20\n")
}

func TestADownloadThatFailsSaysWhy(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	_, err := downloadModule(t.Context(), t.TempDir(), "k8s.io/kubernetes", "v1.0.0")
	assert.ErrorContains(t, err, "download k8s.io/kubernetes: ")
	assert.ErrorContains(t, err, "GOPROXY=off")
}

func TestAnInterruptedCommandStopsWithItsChildren(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	// The child holds the output open: run would wait for it, if it lived.
	err := command{}.run(ctx, "sh", "-c", "sleep 60 & wait")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(begin), 5*time.Second)
}

func TestPullGivesUpOnASilentRegistry(t *testing.T) {
	// A docker that says nothing, and one that begins at once and then takes its time.
	for _, tc := range []struct {
		name   string
		script string
		want   error
	}{
		{"silent", "exec sleep 60", errNoRegistry},
		{"slow", "echo 'v1.37.0: Pulling from kindest/node'; sleep 0.6", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fakeDocker(t, tc.script)
			var shown strings.Builder
			begin := time.Now()
			err := dockerCLI{progress: &shown}.pull(t.Context(), official, 300*time.Millisecond)
			assert.ErrorIs(t, err, tc.want)
			assert.Less(t, time.Since(begin), 5*time.Second)
			if tc.want == nil {
				assert.Contains(t, shown.String(), "Pulling from")
			}
		})
	}
}

func TestRemoveOtherImages(t *testing.T) {
	removed := filepath.Join(t.TempDir(), "removed")
	fakeDocker(t, `case "$2 $3" in
ls*) printf 'zerodrop/node:old\nzerodrop/node:new\nzerodrop/node:inuse\n' ;;
"rm zerodrop/node:inuse") echo 'Error: conflict: unable to remove repository reference "x" - container y is using its referenced image z' >&2; exit 1 ;;
rm*) echo "$3" >>`+removed+` ;;
esac`)
	require.NoError(t, dockerCLI{}.removeOthers(t.Context(), "zerodrop/node:new", builtLabel))
	content, err := os.ReadFile(removed)
	require.NoError(t, err)
	assert.Equal(t, "zerodrop/node:old\n", string(content))
}

func TestPresent(t *testing.T) {
	for _, tc := range []struct {
		name    string
		script  string
		want    bool
		wantErr string
	}{
		{"there", "echo sha256:1", true, ""},
		{"not there", "echo 'Error: No such image: x' >&2; exit 1", false, ""},
		{"not there, newer Docker", "echo 'Error response from daemon: No such image: x' >&2; exit 1", false, ""},
		{"no Docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1", false, "Cannot connect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fakeDocker(t, tc.script)
			got, err := dockerCLI{}.present(t.Context(), "x")
			assert.Equal(t, tc.want, got)
			if tc.wantErr == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tc.wantErr)
			}
		})
	}
}
