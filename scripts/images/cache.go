package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cache is a folder of finished work outside the repository. Each artifact in it is complete or
// absent: work is done under a temporary name, reaches the disk, and is renamed last. So a run that
// was cut off, by a power failure too, continues where it stopped.
type cache struct{ dir string }

// artifact is the finished work of one step: a folder of the cache. Its key is a digest of
// everything that it was made from, so that a changed recipe makes a new artifact and leaves the
// others alone.
type artifact struct{ name, key string }

// newArtifact names the work called name that is made from the given texts and other artifacts.
func newArtifact(name string, from []artifact, inputs ...string) artifact {
	sum := sha256.New()
	for _, input := range append([]string{name}, inputs...) {
		fmt.Fprintf(sum, "%d %s\n", len(input), input)
	}
	for _, a := range from {
		fmt.Fprintf(sum, "artifact %s\n", a)
	}
	return artifact{name: name, key: hex.EncodeToString(sum.Sum(nil))[:12]}
}

func (a artifact) String() string { return a.name + "-" + a.key }

// defaultCache is in the user's cache folder (XDG_CACHE_HOME is obeyed).
func defaultCache() (cache, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return cache{}, fmt.Errorf("find the user's cache folder: %w", err)
	}
	return cache{dir: filepath.Join(base, "zerodrop", "nodeimage")}, nil
}

// path is the folder of a finished artifact.
func (c cache) path(a artifact, elem ...string) string {
	return filepath.Join(append([]string{c.dir, a.String()}, elem...)...)
}

func (c cache) has(a artifact) bool {
	_, err := os.Stat(c.path(a))
	return err == nil
}

// work is the folder for unfinished work. The next run empties it. It is on the file system of the
// artifacts, so that finished work can be renamed.
func (c cache) work() string { return filepath.Join(c.dir, "work") }

// put lets fill make the artifact in a temporary folder and then renames the folder.
func (c cache) put(a artifact, fill func(dir string) error) error {
	temporary, err := os.MkdirTemp(c.work(), a.String()+".")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if err := os.Chmod(temporary, 0o755); err != nil {
		return err
	}
	if err := fill(temporary); err != nil {
		return err
	}
	// Without this, a power failure may leave the new name with empty files in it.
	if err := syncFileSystem(temporary); err != nil {
		return fmt.Errorf("write %s to the disk: %w", a.name, err)
	}
	if err := os.RemoveAll(c.path(a)); err != nil {
		return err
	}
	if err := os.Rename(temporary, c.path(a)); err != nil {
		return err
	}
	return syncFileSystem(c.dir)
}

// removeOthers removes the artifacts of the same name that were made by other recipes.
func (c cache) removeOthers(a artifact) error {
	key := strings.Repeat("[0-9a-f]", len(a.key))
	others, err := filepath.Glob(filepath.Join(c.dir, a.name+"-"+key))
	if err != nil {
		return err
	}
	for _, other := range others {
		if other == c.path(a) {
			continue
		}
		if err := os.RemoveAll(other); err != nil {
			return err
		}
	}
	return nil
}

func syncFileSystem(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// lock reserves the cache for this process until the returned function is called or the process
// ends. If another run has it, waiting is called once with the other's process id, and lock returns
// when the other run is done.
func (c cache) lock(ctx context.Context, waiting func(holder string)) (unlock func(), err error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the cache's lock: %w", err)
	}
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if first {
			holder, _ := os.ReadFile(f.Name())
			waiting(strings.TrimSpace(string(holder)))
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
	// For the message of another run that waits; the lock itself doesn't need it.
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return func() { f.Close() }, nil
}

// clear removes unfinished work of earlier runs. The caller holds the lock.
func (c cache) clear() error {
	if err := os.RemoveAll(c.work()); err != nil {
		return fmt.Errorf("remove unfinished work of an earlier run: %w", err)
	}
	if err := os.MkdirAll(c.work(), 0o755); err != nil {
		return fmt.Errorf("make the cache folder: %w", err)
	}
	return nil
}
