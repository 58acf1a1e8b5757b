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
	images   []string
	registry []string
	pullErr  error
	broken   error
	pulls    []string
}

func inDocker(images ...string) fakeEngine { return fakeEngine{images: images} }

// inRegistry is a Docker whose registry has an image, and which has others itself.
func inRegistry(image string, images ...string) fakeEngine {
	return fakeEngine{registry: []string{image}, images: images}
}

func (f *fakeEngine) has(_ context.Context, ref string) (bool, error) {
	return slices.Contains(f.images, ref), f.broken
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

func TestFirstOf(t *testing.T) {
	for _, tc := range []struct {
		name   string
		docker fakeEngine
		want   string
	}{
		{"both are here", inDocker(ours, official), official},
		{"ours is here", inRegistry(official, ours), ours},
		{"none is here", inRegistry(official), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := firstOf(t.Context(), &tc.docker, official, ours)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			assert.Empty(t, tc.docker.pulls)
		})
	}
	_, err := firstOf(t.Context(), &fakeEngine{broken: errNoRegistry}, official)
	require.ErrorIs(t, err, errNoRegistry)
}

func TestFindOnly(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{"none is here, so kind is to pull the official one", "echo 'Error: No such image: x' >&2; exit 1", official},
		{"ours is here", `[ "$4" = ` + ours + ` ] || { echo 'Error: No such image: x' >&2; exit 1; }`, ours},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fakeDocker(t, tc.script)
			got, err := find(t.Context(), options{find: true}, image{official: official, ours: ours})
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestRunNeedsToKnowWhat(t *testing.T) {
	for _, args := range [][]string{nil, {"nodes"}, {"node", "traefik"}} {
		assert.ErrorContains(t, run(t.Context(), options{}, args), "usage: images [flags] node, or")
	}
	assert.ErrorContains(t, run(t.Context(), options{image: "x"}, []string{"components"}), "but not -image")
}

func TestChoose(t *testing.T) {
	for _, tc := range []struct {
		name    string
		docker  fakeEngine
		options options
		pulls   []string
		builds  bool
		want    string
	}{
		{"the user's image is here", inDocker("mine", official), options{image: "mine"}, nil, false, "mine"},
		{"the user's image can be pulled", inRegistry("mine"), options{image: "mine"}, []string{"mine"}, false, "mine"},
		{"kind's default is here", inDocker(official, ours), options{}, nil, false, official},
		{"ours is here, and no registry is asked", inRegistry(official, ours), options{}, nil, false, ours},
		{"kind's default can be pulled", inRegistry(official), options{}, []string{official}, false, official},
		{"no registry", fakeEngine{}, options{}, []string{official}, true, ours},
		{"a registry that refuses", fakeEngine{pullErr: errors.New("too many")}, options{}, []string{official}, true, ours},
		{"from source although kind's default is here", inDocker(official), options{source: true}, nil, true, ours},
		{"from source, and it's here", inDocker(ours), options{source: true}, nil, false, ours},
		{"again", inDocker(ours, official), options{rebuild: true}, nil, true, ours},
	} {
		t.Run(tc.name, func(t *testing.T) {
			builds := false
			build := func(context.Context) error { builds = true; return nil }
			got, err := choose(t.Context(), &tc.docker, tc.options, image{official: official, ours: ours}, build)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			assert.Equal(t, tc.pulls, tc.docker.pulls)
			assert.Equal(t, tc.builds, builds)
		})
	}
}

func TestChooseFails(t *testing.T) {
	noDocker := errors.New("Cannot connect to the Docker daemon")
	full := commandError{tail: "write /var/lib/docker/x: no space left on device", cause: errors.New("exit status 1")}
	for _, tc := range []struct {
		name    string
		docker  fakeEngine
		options options
		want    string
	}{
		{"the user's image isn't to be had", inDocker(official), options{image: "typo"}, "typo is neither here nor to be pulled: no registry answers"},
		{"the user's image, from source", fakeEngine{}, options{image: "mine", source: true}, "-source and -rebuild don't go with it"},
		{"no Docker", fakeEngine{broken: noDocker}, options{}, "Cannot connect to the Docker daemon"},
		{"a full disk isn't a missing registry", fakeEngine{pullErr: full}, options{}, "no space left on device"},
		{"the build", fakeEngine{}, options{source: true}, "compile Kubernetes: broken"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			build := func(context.Context) error { return errors.New("compile Kubernetes: broken") }
			got, err := choose(t.Context(), &tc.docker, tc.options, image{official: official, ours: ours}, build)
			assert.ErrorContains(t, err, tc.want)
			assert.Empty(t, got)
		})
	}
}

func TestCanInstallDebian(t *testing.T) {
	for _, tc := range []struct {
		name  string
		tools []string
		uid   int
		want  string // in the error
	}{
		{"Debian", []string{"apt-get"}, 0, ""},
		{"another system with debootstrap", []string{"debootstrap"}, 0, ""},
		{"not root", []string{"apt-get"}, 1000, "by root only"},
		{"Fedora", []string{"dnf"}, 0, "on Debian (or Ubuntu) only"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bin := t.TempDir()
			for _, tool := range tc.tools {
				require.NoError(t, os.WriteFile(filepath.Join(bin, tool), []byte("#!/bin/sh\n"), 0o755))
			}
			t.Setenv("PATH", bin)
			err := canInstallDebian(tc.uid)
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
	_, err := downloadModule(t.Context(), t.TempDir(), "k8s.io/kubernetes@v1.0.0")
	assert.ErrorContains(t, err, "download k8s.io/kubernetes@v1.0.0: ")
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
	called := filepath.Join(t.TempDir(), "called")
	fakeDocker(t, `echo "$*" >`+called)
	require.NoError(t, dockerCLI{}.removeOthers(t.Context(), builtLabel, "new"))
	content, err := os.ReadFile(called)
	require.NoError(t, err)
	assert.Equal(t, "image prune --all --force --filter=label=org.zerodrop.nodeimage "+
		"--filter=label!=org.zerodrop.nodeimage=new\n", string(content))
}

func TestHas(t *testing.T) {
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
			got, err := dockerCLI{}.has(t.Context(), "x")
			assert.Equal(t, tc.want, got)
			if tc.wantErr == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tc.wantErr)
			}
		})
	}
}
