package main

import (
	"archive/tar"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The texts below are a part of what the images are made of, comments included: each change builds
// them again.

//go:embed node/default-cni.yaml
var cniManifest string

//go:embed node/crictl
var crictl string

//go:embed node/iptables-wrapper
var iptablesWrapper string

//go:embed node/pause/main.go
var pauseSource string

// basePackages are what kind's Dockerfile installs (less what serves network storage and rootless
// Docker), runc, and ipset and socat for kube-proxy and port-forwarding.
var basePackages = []string{
	"systemd", "dbus", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux", "mount", "kmod",
	"libseccomp2", "pigz", "e2fsprogs", "bash", "ca-certificates", "curl", "jq", "procps", "hostname", "runc", "ipset",
	"socat",
}

// unwantedUnits are the systemd units that kind's Dockerfile deletes: a node needs none of what
// Debian starts.
var unwantedUnits = []string{
	"usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
	"usr/lib/systemd/system/multi-user.target.wants/*",
	"etc/systemd/system/*.wants/*",
	"usr/lib/systemd/system/local-fs.target.wants/*",
	"usr/lib/systemd/system/sockets.target.wants/*udev*",
	"usr/lib/systemd/system/sockets.target.wants/*initctl*",
	"usr/lib/systemd/system/basic.target.wants/*",
}

// writeNode writes a node's root file system: what kind's Dockerfile does on top of Debian, and
// what `kind build node-image` adds to it.
func (p nodeParts) writeNode(ctx context.Context, w *tar.Writer) error {
	known, err := copyTar(w, p.root, func(name string, _ *tar.Header) bool {
		// settings has a journald.conf of its own.
		return name != "etc/systemd/journald.conf" && !slices.ContainsFunc(unwantedUnits, func(pattern string) bool {
			matched, err := path.Match(pattern, name)
			return err == nil && matched
		})
	})
	if err != nil {
		return err
	}
	files, err := p.kindFiles()
	if err != nil {
		return fmt.Errorf("read kind's node files: %w", err)
	}
	settings, err := p.settings(ctx)
	if err != nil {
		return err
	}
	images, err := folder(p.store, "var/lib/containerd", func(string) int64 { return 0o600 })
	if err != nil {
		return fmt.Errorf("read the store of images: %w", err)
	}
	files = slices.Concat(files, settings, p.programs(), images)
	// A file that Debian has under the same name would be in the layer twice.
	for _, f := range files {
		if known[f.path] && !f.isFolder() {
			return fmt.Errorf("/%s is in Debian's files already", f.path)
		}
	}
	return addFiles(w, files, known)
}

func (p nodeParts) kindFiles() ([]file, error) {
	all, err := folder(p.kind, ".", func(name string) int64 {
		if strings.HasPrefix(name, "usr/local/bin/") || strings.HasPrefix(name, "kind/bin/") {
			return 0o755
		}
		return 0o644
	})
	return slices.DeleteFunc(all, func(f file) bool {
		// settings changes these two. Folders are Debian's, or are added with their files.
		return f.path == containerdConfig || f.path == kubeletDefaults || f.isFolder()
	}), err
}

const (
	containerdConfig = "etc/containerd/config.toml"
	kubeletDefaults  = "etc/default/kubelet"
)

// settings are the files that kind's Dockerfile and `kind build node-image` write, and our changes
// to kind's own. The changes serve hosts that are virtual machines or containers without all
// capabilities, or with cgroup v1; elsewhere they change nothing.
func (p nodeParts) settings(ctx context.Context) ([]file, error) {
	// The base of each container's specification.
	out, err := command{}.output(ctx, filepath.Join(p.containerd, "ctr"), "oci", "spec")
	if err != nil {
		return nil, err
	}
	spec, err := containerSpec(out)
	if err != nil {
		return nil, err
	}
	// Without CAP_SYS_RESOURCE no process may get an oom_score_adj below containerd's own. With it,
	// containerd's own is -999, and no Pod asks for less.
	config, err := changed(p.kind, containerdConfig, "restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
	if err != nil {
		return nil, err
	}
	// Since Kubernetes 1.35 the kubelet refuses cgroup v1 unless told otherwise. The feature gate
	// lets it go on where the kernel's settings can't be written or read (vm.overcommit_memory,
	// /dev/kmsg); where they can, it does nothing.
	defaults, err := changed(p.kind, kubeletDefaults, "KUBELET_EXTRA_ARGS=",
		"KUBELET_EXTRA_ARGS=--fail-cgroupv1=false --feature-gates=KubeletInUserNamespace=true ")
	if err != nil {
		return nil, err
	}
	cni := strings.ReplaceAll(cniManifest, "KUBE_PROXY_IMAGE", proxyImage)
	list := []file{
		{path: containerdConfig, mode: 0o644, content: config},
		{path: kubeletDefaults, mode: 0o644, content: defaults},
		{path: "etc/containerd/cri-base.json", mode: 0o644, content: spec},
		// These log entries would be the host's.
		{path: "etc/systemd/journald.conf", mode: 0o644, content: []byte("[Journal]\nReadKMsg=no\n")},
		// systemd-binfmt would change the host's kernel.
		{path: "etc/systemd/system/systemd-binfmt.service", link: "/dev/null"},
		{path: "usr/sbin/init", link: "/usr/lib/systemd/systemd"},
		{path: "usr/local/sbin/runc", link: "/usr/sbin/runc"},
		{path: "usr/local/bin/crictl", mode: 0o755, content: []byte(crictl)},
		{path: "etc/kubernetes/manifests", mode: 0o755},
		{path: "kind/version", mode: 0o644, content: []byte(kubernetesVersion)},
		{path: "kind/manifests/default-cni.yaml", mode: 0o644, content: []byte(cni)},
	}
	for _, unit := range []string{"kubelet.service", "containerd.service", "undo-mount-hacks.service"} {
		// What systemctl enable does, as each says WantedBy=multi-user.target.
		wants := "etc/systemd/system/multi-user.target.wants/" + unit
		list = append(list, file{path: wants, link: "/etc/systemd/system/" + unit})
	}
	return list, nil
}

// changed is a file of kind's with old replaced by replacement. A file without old is an error:
// kind has changed it.
func changed(kind, name, old, replacement string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(kind, name))
	if err != nil {
		return nil, fmt.Errorf("read kind's node files: %w", err)
	}
	if strings.Count(string(content), old) != 1 {
		return nil, fmt.Errorf("kind's %s doesn't say %q once any more", name, old)
	}
	return []byte(strings.Replace(string(content), old, replacement, 1)), nil
}

// containerSpec does to the output of `ctr oci spec` what kind's Dockerfile does with jq.
func containerSpec(ctrOutput string) ([]byte, error) {
	var spec map[string]any
	if err := json.Unmarshal([]byte(ctrOutput), &spec); err != nil {
		return nil, fmt.Errorf("read what ctr oci spec prints: %w", err)
	}
	process, ok := spec["process"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("ctr oci spec prints no process: %s", ctrOutput)
	}
	delete(process, "rlimits")
	hooks, _ := spec["hooks"].(map[string]any)
	if hooks == nil {
		hooks = map[string]any{}
	}
	create, _ := hooks["createContainer"].([]any)
	hooks["createContainer"] = append(create, map[string]any{"path": "/kind/bin/mount-product-files.sh"})
	spec["hooks"] = hooks
	return json.Marshal(spec)
}

func (p nodeParts) programs() []file {
	var list []file
	for _, set := range []struct {
		from, to string
		names    []string
	}{
		{p.kubernetes, "usr/bin", []string{"kubelet", "kubeadm", "kubectl"}},
		{p.containerd, "usr/local/bin", []string{"containerd", "containerd-shim-runc-v2", "ctr"}},
		{p.cni, "opt/cni/bin", []string{"ptp", "host-local", "loopback", "portmap"}},
	} {
		for _, name := range set.names {
			list = append(list, file{path: path.Join(set.to, name), mode: 0o755, source: filepath.Join(set.from, name)})
		}
	}
	return list
}

// proxyPackages are what kube-proxy runs (iptables or nft, conntrack for old connections, kmod),
// and what the CNI's script needs.
var proxyPackages = []string{
	"base-files", "bash", "conntrack", "coreutils", "grep", "ipset", "iproute2", "iptables", "kmod", "libc-bin", "nftables",
}

// wrappedPrograms are the names under which a program changes the rules of iptables.
var wrappedPrograms = []string{
	"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore",
}

// copyPackages writes the root file system of kube-proxy's image: of Debian's only the named
// packages and what they depend on. Each node unpacks this image while it starts, so the whole of
// Debian would cost seconds there. It returns the names that it wrote.
func copyPackages(w *tar.Writer, root string, names []string) (map[string]bool, error) {
	packages, err := readPackages(root)
	if err != nil {
		return nil, err
	}
	wanted, err := packages.closure(names)
	if err != nil {
		return nil, err
	}
	// What belongs to no package but is needed.
	owned := map[string]bool{"etc/passwd": true, "etc/group": true, "etc/nsswitch.conf": true}
	for name := range wanted {
		for _, file := range packages[name].files {
			owned[file] = true
		}
	}
	wrapped := map[string]bool{}
	wrappers := []file{{path: "usr/sbin/iptables-wrapper", mode: 0o755, content: []byte(iptablesWrapper)}}
	for _, name := range wrappedPrograms {
		wrapped["usr/sbin/"+name] = true
		wrappers = append(wrappers, file{path: "usr/sbin/" + name, link: "iptables-wrapper"})
	}
	known, err := copyTar(w, root, func(name string, header *tar.Header) bool {
		switch {
		case wrapped[name], strings.HasPrefix(name, "var/lib/dpkg/"):
			return false
		// Links to missing files do no harm, and those of the alternatives belong to no package.
		case header.Typeflag == tar.TypeSymlink:
			return true
		case header.Typeflag == tar.TypeDir:
			return strings.Count(name, "/") < 2 || owned[name]
		}
		return owned[name] || strings.HasPrefix(name, "etc/ld.so")
	})
	if err != nil {
		return nil, err
	}
	return known, addFiles(w, wrappers, known)
}
