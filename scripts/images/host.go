package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// canInstallDebian says why this machine can't make a Debian root file system, if so.
func canInstallDebian(uid int) error {
	const instead = "instead, let Docker reach a registry or, for the node image, name one that exists with -node-image"
	if _, err := exec.LookPath("apt-get"); err != nil && !toolsInstalled() {
		return errors.New("this image is built on Debian (or Ubuntu) only, as its files are Debian's; " + instead)
	}
	if uid != 0 {
		return errors.New("this image is built by root only, as the owners of its files must be right; " + instead)
	}
	return nil
}

// toolsInstalled reports whether everything that installTools installs exists.
func toolsInstalled() bool {
	_, err := exec.LookPath("debootstrap")
	return err == nil
}

// installTools installs debootstrap, from Debian's own packages.
func installTools(ctx context.Context) error {
	wait := "--option=DPkg::Lock::Timeout=300" // for another apt-get
	noninteractive := command{env: []string{"DEBIAN_FRONTEND=noninteractive"}}
	if err := noninteractive.run(ctx, "apt-get", wait, "update"); err != nil {
		return err
	}
	return noninteractive.run(ctx, "apt-get", wait, "install", "--yes", "--no-install-recommends",
		"debootstrap", "debian-archive-keyring")
}

// space is how many bytes a build takes from the disks: measured, and rounded up.
type space struct {
	parts     uint64 // in the cache
	temporary uint64 // in the cache, while programs are compiled
	compiled  uint64 // in Go's build cache
	modules   uint64 // in Go's module cache
	docker    uint64 // the image, and Docker's copy while it loads it
}

const gigabyte = 1 << 30

// need is disk space for a purpose.
type need struct {
	path  string // a folder, perhaps one that doesn't exist yet
	bytes uint64
	what  string
}

// needs is where the steps will need space, less what is there already: a build that was cut off
// isn't refused the space that it has taken.
func (s space) needs(ctx context.Context, docker dockerCLI, store cache, steps []*step) []need {
	var needs []need
	add := func(path, what string, bytes uint64) {
		if there := size(path, bytes); there < bytes {
			needs = append(needs, need{path: path, bytes: bytes - there, what: what})
		}
	}
	if dir := docker.folder(ctx); dir != "" {
		needs = append(needs, need{path: dir, bytes: s.docker, what: "the image"})
	}
	if !slices.ContainsFunc(steps, func(s *step) bool { return s.compiles }) {
		add(store.dir, "its parts", s.parts)
		return needs
	}
	add(store.dir, "its parts and temporary files", s.parts+s.temporary)
	out, err := command{}.output(ctx, "go", "env", "GOCACHE", "GOMODCACHE")
	if dirs := strings.Fields(out); err == nil && len(dirs) == 2 {
		add(dirs[0], "what Go compiled", s.compiled)
		add(dirs[1], "Go modules", s.modules)
	}
	return needs // without Go's part, if `go env` fails: the first compile will say why
}

// checkSpace fails if a disk has less room than all that is needed on it.
func checkSpace(needs []need, free func(path string) (device, bytes uint64, err error)) error {
	available, needed, uses := map[uint64]uint64{}, map[uint64]uint64{}, map[uint64][]string{}
	for _, n := range needs {
		device, bytes, err := free(n.path)
		if err != nil {
			return fmt.Errorf("look at the free space of %s: %w", n.path, err)
		}
		available[device] = bytes
		needed[device] += n.bytes
		uses[device] = append(uses[device], fmt.Sprintf("%s for %s in %s", gigabytes(n.bytes), n.what, n.path))
	}
	for device, bytes := range available {
		if bytes < needed[device] {
			return fmt.Errorf("the disk has %s free, and the image needs about %s more: %s",
				gigabytes(bytes), gigabytes(needed[device]), strings.Join(uses[device], ", "))
		}
	}
	return nil
}

func gigabytes(bytes uint64) string { return fmt.Sprintf("%.1f GB", float64(bytes)/gigabyte) }

// freeSpace is the space below path, or below the nearest folder above it that exists.
func freeSpace(path string) (device, bytes uint64, err error) {
	var stat unix.Stat_t
	err = unix.Stat(path, &stat)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
		path = filepath.Dir(path)
		err = unix.Stat(path, &stat)
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(path, &disk); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return stat.Dev, disk.Bavail * uint64(disk.Bsize), nil
}

// size is the size of the files below dir, or enough if it is at least that: large folders aren't
// read to the end.
func size(dir string, enough uint64) uint64 {
	var total uint64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil //nolint:nilerr // a file that can't be read isn't there, for this purpose
		}
		if info, err := entry.Info(); err == nil {
			total += uint64(info.Size())
		}
		if total >= enough {
			return filepath.SkipAll
		}
		return nil
	})
	return min(total, enough)
}
