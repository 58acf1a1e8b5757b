package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// rootTar is the file of a Debian artifact: a root file system.
const rootTar = "root.tar"

// omitted are files of Debian's packages that no container needs, and files that debootstrap copied
// from this machine.
var omitted = []string{
	"./dev/*", "./proc/*", "./sys/*", "./run/*", "./tmp/*", "./etc/hostname", "./etc/resolv.conf", "./etc/machine-id",
	"./var/cache/apt/*", "./var/cache/debconf/*", "./var/lib/apt/lists/*", "./var/log/*",
	"./usr/share/doc/*", "./usr/share/doc-base/*", "./usr/share/info/*", "./usr/share/locale/*", "./usr/share/man/*",
}

// installDebian is the step that leaves the root file system of a small Debian with the packages.
func (b builder) installDebian(name string, made artifact, packages []string) *step {
	install := step{name: name, cost: 80 * time.Second}
	if !toolsInstalled() {
		install.needs = []*step{{name: "install debootstrap with apt-get", run: installTools}}
	}
	return b.making(made, install, func(ctx context.Context, dir string) error {
		return bootstrap(ctx, b.cache.work(), filepath.Join(dir, rootTar), packages)
	})
}

// bootstrap writes the root file system of a small Debian with the packages, as a tar file.
func bootstrap(ctx context.Context, work, target string, packages []string) error {
	root, err := os.MkdirTemp(work, "debian.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	// Its own mounts and processes: debootstrap mounts /proc and /sys below root. If it is killed,
	// they end with it and don't hinder the next run's cleaning.
	err = command{}.run(ctx, "unshare", "--mount", "--pid", "--kill-child", "--propagation", "private", "--",
		"debootstrap", "--variant=minbase", "--include="+strings.Join(packages, ","), debianSuite, root)
	if err != nil {
		return withLog(err, filepath.Join(root, "debootstrap", "debootstrap.log"))
	}
	args := []string{"--create", "--numeric-owner", "--file=" + target, "--directory=" + root}
	for _, pattern := range omitted {
		args = append(args, "--exclude="+pattern)
	}
	return command{}.run(ctx, "tar", append(args, ".")...)
}

// withLog adds the last lines of a log to the error of the program that writes it: debootstrap
// itself says only that dpkg failed, and names the log, which is removed.
func withLog(err error, log string) error {
	content, readErr := os.ReadFile(log)
	var failed commandError
	if readErr != nil || !errors.As(err, &failed) {
		return err
	}
	failed.tail += "\n" + lastLines(string(content), 5)
	return failed
}

// debianPackage is an installed package in dpkg's database.
type debianPackage struct {
	depends [][]string // each a list of alternatives
	files   []string   // without a leading slash, /usr merged
}

type debianPackages map[string]*debianPackage

// readPackages reads dpkg's database in the tar file of a Debian root file system.
func readPackages(root string) (debianPackages, error) {
	packages := debianPackages{}
	get := func(name string) *debianPackage {
		if packages[name] == nil {
			packages[name] = &debianPackage{}
		}
		return packages[name]
	}
	const info = "var/lib/dpkg/info/"
	err := readTar(root, func(name string, _ *tar.Header, content io.Reader) error {
		lines := bufio.NewScanner(content)
		lines.Buffer(nil, 1<<20)
		switch {
		case name == "var/lib/dpkg/status":
			var current *debianPackage
			for lines.Scan() {
				switch field, value, _ := strings.Cut(lines.Text(), ":"); field {
				case "Package":
					current = get(strings.TrimSpace(value))
				case "Depends", "Pre-Depends":
					current.depends = append(current.depends, parseDepends(value)...)
				case "Provides":
					for _, provided := range parseDepends(value) {
						packages[provided[0]] = current
					}
				}
			}
		case strings.HasPrefix(name, info) && path.Ext(name) == ".list":
			// libc6:amd64.list
			owner, _, _ := strings.Cut(strings.TrimSuffix(path.Base(name), ".list"), ":")
			p := get(owner)
			for lines.Scan() {
				p.files = append(p.files, mergedUsr(strings.TrimPrefix(lines.Text(), "/")))
			}
		}
		return lines.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read Debian's packages: %w", err)
	}
	return packages, nil
}

// mergedUsr is where a file of /bin, /sbin or /lib really is: these are links into /usr.
func mergedUsr(name string) string {
	switch first, _, below := strings.Cut(name, "/"); first {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		if below {
			return "usr/" + name
		}
	}
	return name
}

// parseDepends reads "libc6 (>= 2.34), debconf (>= 0.5) | debconf-2.0".
func parseDepends(value string) [][]string {
	var list [][]string
	for clause := range strings.SplitSeq(value, ",") {
		var alternatives []string
		for alternative := range strings.SplitSeq(clause, "|") {
			name, _, _ := strings.Cut(strings.TrimSpace(alternative), " ")
			name, _, _ = strings.Cut(name, ":")
			alternatives = append(alternatives, name)
		}
		list = append(list, alternatives)
	}
	return list
}

// closure is the named packages and all that they depend on.
func (p debianPackages) closure(names []string) (map[string]bool, error) {
	wanted := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		if wanted[name] {
			return nil
		}
		if p[name] == nil {
			return fmt.Errorf("package %s isn't in Debian's root file system", name)
		}
		wanted[name] = true
		for _, alternatives := range p[name].depends {
			for _, alternative := range alternatives {
				if p[alternative] == nil {
					continue
				}
				if err := visit(alternative); err != nil {
					return err
				}
				break
			}
		}
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return wanted, nil
}
