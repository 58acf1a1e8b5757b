package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newCache(t *testing.T) cache {
	t.Helper()
	store := cache{dir: filepath.Join(t.TempDir(), "nodeimage")}
	unlock, err := store.lock(t.Context(), func(string) { t.Error("nobody else has the lock") })
	require.NoError(t, err)
	t.Cleanup(unlock)
	require.NoError(t, store.clear())
	return store
}

func TestAnArtifactIsWholeOrNotThere(t *testing.T) {
	store := newCache(t)
	programs := newArtifact("programs", nil, "v1")
	cut := errors.New("cut off")
	err := store.put(programs, func(dir string) error {
		assert.False(t, store.has(programs), "while it's being made")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "half"), []byte("x"), 0o644))
		return cut
	})
	require.ErrorIs(t, err, cut)
	assert.False(t, store.has(programs))
	left, err := os.ReadDir(store.work())
	require.NoError(t, err)
	assert.Empty(t, left)

	require.NoError(t, store.put(programs, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "kubelet"), []byte("whole"), 0o755)
	}))
	assert.True(t, store.has(programs))
	content, err := os.ReadFile(store.path(programs, "kubelet"))
	require.NoError(t, err)
	assert.Equal(t, "whole", string(content))
}

// A run that was killed can't clean up: what it left isn't taken for finished work, and is gone
// with the next run.
func TestARunThatWasKilledLeavesNothingInTheWay(t *testing.T) {
	store := newCache(t)
	done, half := newArtifact("done", nil), newArtifact("half", nil)
	require.NoError(t, store.put(done, func(string) error { return nil }))
	require.NoError(t, os.MkdirAll(filepath.Join(store.work(), half.String()+".123", "deep"), 0o755))

	assert.False(t, store.has(half))
	require.NoError(t, store.clear())
	left, err := os.ReadDir(store.work())
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.True(t, store.has(done), "finished work stays")
}

func TestPutReplaces(t *testing.T) {
	store := newCache(t)
	a := newArtifact("a", nil)
	for _, content := range []string{"old", "new"} {
		require.NoError(t, store.put(a, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, content), nil, 0o644)
		}))
	}
	assert.NoFileExists(t, store.path(a, "old"))
	assert.FileExists(t, store.path(a, "new"))
}

func TestRemoveOthers(t *testing.T) {
	store := newCache(t)
	oldImages, images := newArtifact("images", nil, "1"), newArtifact("images", nil, "2")
	programs := newArtifact("images-programs", nil)
	for _, a := range []artifact{oldImages, images, programs} {
		require.NoError(t, store.put(a, func(string) error { return nil }))
	}
	require.NoError(t, store.removeOthers(images))
	assert.False(t, store.has(oldImages))
	assert.True(t, store.has(images))
	assert.True(t, store.has(programs))
}

func TestArtifactKeys(t *testing.T) {
	base := newArtifact("kubernetes", nil, "v1.37.2", "flags")
	assert.Equal(t, base, newArtifact("kubernetes", nil, "v1.37.2", "flags"))
	for name, other := range map[string]artifact{
		"another input":        newArtifact("kubernetes", nil, "v1.37.3", "flags"),
		"inputs cut elsewhere": newArtifact("kubernetes", nil, "v1.37.2f", "lags"),
		"another part":         newArtifact("kubernetes", []artifact{{name: "debian", key: "1"}}, "v1.37.2", "flags"),
	} {
		assert.NotEqual(t, base.key, other.key, name)
	}
}

// The keys are those of the program that ran before it became a module of its own: machines have
// these artifacts, which take ten minutes to build, and this image.
func TestKeysOfTheNodeImage(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the keys are those of amd64")
	}
	r := newNodeRecipe()
	keys := []string{r.debian.String(), r.pause.String(), r.store.String()}
	for _, m := range nodeModules() {
		keys = append(keys, r.programs[m.name].String())
	}
	assert.Equal(t, []string{
		"debian-bookworm-498934426a59",
		"pause-715fee83c57e",
		"images-67711284afc0",
		"kubernetes-v1.37.2-c941c8d10d1d",
		"coredns-v1.14.6-137551468d5f",
		"containerd-v2.3.7-e1d8fddc8fc6",
		"etcd-v3.7.0-73830ec55a08",
		"cni-plugins-v1.9.1-80dbd005b7ea",
	}, keys)
	assert.Equal(t, "zerodrop/node:v1.37.2-cce5b25c", nodeImage().ours)
	assert.Equal(t, "org.zerodrop.nodeimage", builtLabel)
	store, err := defaultCache()
	require.NoError(t, err)
	assert.Regexp(t, "/zerodrop/nodeimage$", store.dir)
}

func TestLockWaitsForTheOtherRun(t *testing.T) {
	store := cache{dir: t.TempDir()}
	first, err := store.lock(t.Context(), func(string) { t.Error("nobody has it") })
	require.NoError(t, err)

	holders := make(chan string, 1)
	got := make(chan error, 1)
	go func() {
		unlock, err := store.lock(t.Context(), func(holder string) { holders <- holder })
		if err == nil {
			unlock()
		}
		got <- err
	}()
	assert.Equal(t, strconv.Itoa(os.Getpid()), <-holders)
	select {
	case <-got:
		t.Fatal("two have the lock")
	default:
	}
	first()
	require.NoError(t, <-got)
}

func TestLockEndsWithTheContext(t *testing.T) {
	store := cache{dir: t.TempDir()}
	unlock, err := store.lock(t.Context(), func(string) {})
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = store.lock(ctx, func(string) {})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestDiskFull(t *testing.T) {
	exit := errors.New("exit status 1")
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"our own write", &os.PathError{Op: "write", Path: "/cache/x", Err: syscall.ENOSPC}, true},
		{"the compiler's", commandError{tail: "link: mapping output file: no space left on device", cause: exit}, true},
		{"dpkg's", commandError{tail: "dpkg: error: No space left on device", cause: exit}, true},
		{"another failure", commandError{tail: "undefined: x", cause: exit}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			assert.Equal(t, tc.want, diskFull(errors.Join(errors.New("compile"), tc.err)))
		})
	}
}

// What debootstrap says itself is only that something failed.
func TestAFullDiskInALog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "debootstrap.log")
	require.NoError(t, os.WriteFile(log, []byte("Unpacking perl\ndpkg: error: No space left on device\n"), 0o644))
	failed := commandError{tail: "W: Failure trying to run: dpkg --install", cause: errors.New("exit status 1")}
	assert.False(t, diskFull(failed))
	err := withLog(failed, log)
	assert.True(t, diskFull(err))
	assert.ErrorContains(t, err, "W: Failure trying to run")
	assert.ErrorContains(t, err, "No space left on device")
	assert.Equal(t, failed, withLog(failed, log+".gone"))
}

func TestCheckSpace(t *testing.T) {
	// Two disks: / and /home.
	free := func(path string) (device, bytes uint64, err error) {
		switch path {
		case "/home/cache":
			return 2, 3 * gigabyte, nil
		case "/gone":
			return 0, 0, os.ErrPermission
		}
		return 1, 4 * gigabyte, nil
	}
	image := need{"/docker", 3 * gigabyte, "the image"}
	require.NoError(t, checkSpace([]need{{"/home/cache", 2 * gigabyte, "parts"}, image}, free))

	err := checkSpace([]need{{"/tmp", 2 * gigabyte, "parts"}, image}, free)
	assert.EqualError(t, err, "the disk has 4.0 GB free, and the image needs about 5.0 GB more: "+
		"2.0 GB for parts in /tmp, 3.0 GB for the image in /docker")

	assert.ErrorIs(t, checkSpace([]need{{"/gone", 1, "x"}}, free), os.ErrPermission)
}

func TestSize(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "b"), make([]byte, 1000), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c"), make([]byte, 500), 0o644))
	assert.EqualValues(t, 1500, size(dir, gigabyte))
	assert.EqualValues(t, 700, size(dir, 700))
	assert.Zero(t, size(filepath.Join(dir, "gone"), 700))
}

func TestFreeSpaceOfAFolderThatIsToBeMade(t *testing.T) {
	dir := t.TempDir()
	device, bytes, err := freeSpace(filepath.Join(dir, "a", "b"))
	require.NoError(t, err)
	want, _, err := freeSpace(dir)
	require.NoError(t, err)
	assert.Equal(t, want, device)
	assert.NotZero(t, bytes)
}
