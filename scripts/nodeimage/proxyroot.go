package main

import (
	"archive/tar"
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"path"
	"strings"
)

//go:embed iptables-wrapper
var iptablesWrapper string

// proxyPackages are what kube-proxy runs (iptables or nft, conntrack for old connections, kmod), and what the CNI's script needs.
var proxyPackages = []string{"base-files", "bash", "conntrack", "coreutils", "grep", "ipset", "iproute2", "iptables", "kmod", "libc-bin", "nftables"}

// wrappedPrograms are the names under which a program changes the rules of iptables.
var wrappedPrograms = []string{
	"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore",
}

// copyPackages writes the root file system of kube-proxy's image: of Debian's only the named packages and what they depend on. Each node
// unpacks this image while it starts, so the whole of Debian would cost seconds there. It returns the names that it wrote.
func copyPackages(w *tar.Writer, base string, names []string) (map[string]bool, error) {
	packages, err := readPackages(base)
	if err != nil {
		return nil, err
	}
	wanted, err := packages.closure(names)
	if err != nil {
		return nil, err
	}
	owned := map[string]bool{}
	for name := range wanted {
		for _, file := range packages[name].files {
			owned[file] = true
		}
	}
	wrapped := map[string]bool{}
	for _, name := range wrappedPrograms {
		wrapped["usr/sbin/"+name] = true
	}
	known, err := copyTar(w, base, func(name string, header *tar.Header) bool {
		switch {
		case wrapped[name], strings.HasPrefix(name, "var/lib/dpkg/"):
			return false
		// Links to what isn't there do no harm, and those of the alternatives belong to no package.
		case header.Typeflag == tar.TypeDir, header.Typeflag == tar.TypeSymlink:
			return strings.Count(name, "/") < 2 || owned[name] || header.Typeflag == tar.TypeSymlink
		}
		return owned[name] || strings.HasPrefix(name, "etc/ld.so") || name == "etc/passwd" || name == "etc/group" || name == "etc/nsswitch.conf"
	})
	if err != nil {
		return nil, err
	}
	files := []file{{path: "usr/sbin/iptables-wrapper", mode: 0o755, content: []byte(iptablesWrapper)}}
	for _, name := range wrappedPrograms {
		files = append(files, file{path: "usr/sbin/" + name, link: "iptables-wrapper"})
	}
	return known, addFiles(w, files, known)
}

// debianPackage is what dpkg's database says of an installed package.
type debianPackage struct {
	depends [][]string // each a list of alternatives
	files   []string   // without a leading slash, /usr merged
}

type debianPackages map[string]*debianPackage

// readPackages reads dpkg's database in the tar file of a Debian root file system.
func readPackages(base string) (debianPackages, error) {
	packages := debianPackages{}
	get := func(name string) *debianPackage {
		if packages[name] == nil {
			packages[name] = &debianPackage{}
		}
		return packages[name]
	}
	const info = "var/lib/dpkg/info/"
	err := readTar(base, func(name string, _ *tar.Header, content io.Reader) error {
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
	first, _, _ := strings.Cut(name, "/")
	switch first {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		if first != name {
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
				if p[alternative] != nil {
					if err := visit(alternative); err != nil {
						return err
					}
					break
				}
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
