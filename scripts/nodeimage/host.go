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

// alternatives is what to do where an image can't be built.
const alternatives = "instead, name a node image that exists with -node-image, or let Docker reach a registry"

// canBuild says why this machine can't build a node image, if so.
func canBuild(osRelease string, uid int) error {
	family := []string{}
	for line := range strings.Lines(osRelease) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if name == "ID" || name == "ID_LIKE" {
			family = append(family, strings.Fields(strings.Trim(value, `"'`))...)
		}
	}
	if !slices.Contains(family, "debian") {
		return errors.New("a node image is built from source on Debian (or Ubuntu) only, as its files are Debian's; " + alternatives)
	}
	if uid != 0 {
		return errors.New("a node image is built from source by root only, as the owners of its files must be right; " + alternatives)
	}
	return nil
}

// toolsInstalled reports whether there is all that installTools installs.
func toolsInstalled() bool {
	_, err := exec.LookPath("debootstrap")
	return err == nil
}

// installTools has debootstrap installed, from Debian's own packages.
func installTools(ctx context.Context) error {
	wait := "--option=DPkg::Lock::Timeout=300" // for another apt-get
	noninteractive := command{env: []string{"DEBIAN_FRONTEND=noninteractive"}}
	if err := noninteractive.run(ctx, "apt-get", wait, "update"); err != nil {
		return err
	}
	return noninteractive.run(ctx, "apt-get", wait, "install", "--yes", "--no-install-recommends", "debootstrap", "debian-archive-keyring")
}

// need is disk space for a purpose.
type need struct {
	path  string // a folder, perhaps one that is to be made
	bytes uint64
	what  string
}

const gigabyte = 1 << 30

// checkSpace fails if the disks have less room than needed; several needs may be for the same disk.
func checkSpace(needs []need, free func(path string) (device, bytes uint64, err error)) error {
	type disk struct {
		free, needed uint64
		uses         []string
	}
	disks := map[uint64]*disk{}
	var order []*disk
	for _, n := range needs {
		device, bytes, err := free(n.path)
		if err != nil {
			return fmt.Errorf("look at the free space of %s: %w", n.path, err)
		}
		d := disks[device]
		if d == nil {
			d = &disk{free: bytes}
			disks[device] = d
			order = append(order, d)
		}
		d.needed += n.bytes
		d.uses = append(d.uses, fmt.Sprintf("%s for %s in %s", gigabytes(n.bytes), n.what, n.path))
	}
	for _, d := range order {
		if d.free < d.needed {
			return fmt.Errorf("the disk has %s free, and the node image needs about %s more: %s", gigabytes(d.free), gigabytes(d.needed), strings.Join(d.uses, ", "))
		}
	}
	return nil
}

func gigabytes(bytes uint64) string { return fmt.Sprintf("%.1f GB", float64(bytes)/gigabyte) }

// freeSpace is the space below path, or below the nearest folder above it that exists.
func freeSpace(path string) (device, bytes uint64, err error) {
	for {
		var stat unix.Stat_t
		err := unix.Stat(path, &stat)
		if errors.Is(err, fs.ErrNotExist) && filepath.Dir(path) != path {
			path = filepath.Dir(path)
			continue
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
}

// spaceNeeded is what the steps will take from the disks: what it was when measured, rounded up, less what is there already, so that a
// build that was cut off isn't refused the space that it has.
func spaceNeeded(ctx context.Context, docker dockerCLI, store cache, steps []*step) []need {
	var needs []need
	add := func(path, what string, bytes uint64) {
		if there := size(path, bytes); there < bytes {
			needs = append(needs, need{path: path, bytes: bytes - there, what: what})
		}
	}
	compiles := slices.ContainsFunc(steps, func(s *step) bool { return s.compiles })
	if compiles {
		add(store.dir, "its parts and temporary files", 5*gigabyte)
	} else {
		add(store.dir, "its parts and temporary files", 3*gigabyte)
	}
	if dir := docker.folder(ctx); dir != "" {
		// The image, and Docker's copy while it loads it.
		needs = append(needs, need{path: dir, bytes: 2 * gigabyte, what: "the image"})
	}
	if !compiles {
		return needs
	}
	out, err := command{}.output(ctx, "go", "env", "GOCACHE", "GOMODCACHE")
	if dirs := strings.Fields(out); err == nil && len(dirs) == 2 {
		add(dirs[0], "what Go compiled", 6*gigabyte)
		add(dirs[1], "Go modules", 2*gigabyte)
	}
	return needs // without Go's part, if it says nothing: the first compile will say why
}

// size is the size of the files below dir, or enough if it's at least that: large folders aren't read to the end.
func size(dir string, enough uint64) uint64 {
	var total uint64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil //nolint:nilerr // what can't be read isn't there, for this purpose
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
