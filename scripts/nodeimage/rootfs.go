package main

import (
	"archive/tar"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

//go:embed default-cni.yaml
var cniManifest string

//go:embed crictl
var crictl string

//go:embed pause/main.go
var pauseSource string

// basePackages are what kind's Dockerfile installs (less what serves network storage and rootless Docker), runc, and ipset and socat
// for kube-proxy and port-forwarding.
var basePackages = []string{
	"systemd", "dbus", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux", "mount", "kmod", "libseccomp2", "pigz",
	"e2fsprogs", "bash", "ca-certificates", "curl", "jq", "procps", "hostname", "runc", "ipset", "socat",
}

// baseOmitted are files of the packages that no node needs, and files that debootstrap copied from this machine.
var baseOmitted = []string{
	"./dev/*", "./proc/*", "./sys/*", "./run/*", "./tmp/*", "./etc/hostname", "./etc/resolv.conf", "./etc/machine-id",
	"./var/cache/apt/*", "./var/cache/debconf/*", "./var/lib/apt/lists/*", "./var/log/*",
	"./usr/share/doc/*", "./usr/share/doc-base/*", "./usr/share/info/*", "./usr/share/locale/*", "./usr/share/man/*",
}

func baseArtifact() artifact {
	return newArtifact("debian-"+debianSuite, nil, runtime.GOARCH, strings.Join(basePackages, " "), strings.Join(baseOmitted, " "))
}

// baseTar is the file in the base artifact.
const baseTar = "root.tar"

// bootstrapDebian leaves the root file system of a small Debian in dir, as a tar file.
func bootstrapDebian(ctx context.Context, work, dir string) error {
	root, err := os.MkdirTemp(work, "debian.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	// Its own mounts and processes: debootstrap mounts /proc and /sys below root, and if it's killed there they are gone with it,
	// instead of being in the way of the next run's cleaning up.
	err = command{}.run(ctx, "unshare", "--mount", "--pid", "--kill-child", "--propagation", "private", "--",
		"debootstrap", "--variant=minbase", "--include="+strings.Join(basePackages, ","), debianSuite, root)
	if err != nil {
		return withLog(err, filepath.Join(root, "debootstrap", "debootstrap.log"))
	}
	args := []string{"--create", "--numeric-owner", "--file=" + filepath.Join(dir, baseTar), "--directory=" + root}
	for _, pattern := range baseOmitted {
		args = append(args, "--exclude="+pattern)
	}
	return command{}.run(ctx, "tar", append(args, ".")...)
}

// withLog adds the last lines of a log to the error of the program that writes it: debootstrap itself says only that dpkg failed, and where
// to read why, which is gone when we are.
func withLog(err error, log string) error {
	content, readErr := os.ReadFile(log)
	var failed commandError
	if readErr != nil || !errors.As(err, &failed) {
		return err
	}
	const most = 5
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	failed.tail += "\n" + strings.Join(lines[max(len(lines)-most, 0):], "\n")
	return failed
}

// unwantedUnits are the systemd units that kind's Dockerfile deletes: a node needs none of what Debian starts.
var unwantedUnits = []string{
	"usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
	"usr/lib/systemd/system/multi-user.target.wants/*",
	"etc/systemd/system/*.wants/*",
	"usr/lib/systemd/system/local-fs.target.wants/*",
	"usr/lib/systemd/system/sockets.target.wants/*udev*",
	"usr/lib/systemd/system/sockets.target.wants/*initctl*",
	"usr/lib/systemd/system/basic.target.wants/*",
}

func matchesAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if matched, err := path.Match(pattern, name); err == nil && matched {
			return true
		}
	}
	return false
}

// nodeParts are the folders that a node's root file system is put together from.
type nodeParts struct {
	base       string // root.tar
	kind       string // images/base/files of kind's module
	kubernetes string // programs
	containerd string // programs
	cni        string // programs
	store      string // containerd's folder with the images in it
	ctr        string // the program
}

// writeNode writes a node's root file system: what kind's Dockerfile does on top of Debian, and what `kind build node-image` adds to it.
func (p nodeParts) writeNode(ctx context.Context, w *tar.Writer) error {
	known, err := copyTar(w, p.base, func(name string, _ *tar.Header) bool {
		// journald.conf gets a line more, below.
		return !matchesAny(unwantedUnits, name) && name != "etc/systemd/journald.conf"
	})
	if err != nil {
		return err
	}
	var files []file
	for _, part := range []func(context.Context) ([]file, error){p.kindFiles, p.settings, p.programs, p.images} {
		more, err := part(ctx)
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	// A file of Debian's that is there under the same name would be in the layer twice.
	for _, f := range files {
		if known[f.path] && !f.isFolder() {
			return fmt.Errorf("/%s is in Debian's files already", f.path)
		}
	}
	return addFiles(w, files, known)
}

func (p nodeParts) kindFiles(context.Context) ([]file, error) {
	all, err := folder(os.DirFS(p.kind), p.kind, ".", func(name string) int64 {
		if strings.HasPrefix(name, "usr/local/bin/") || strings.HasPrefix(name, "kind/bin/") {
			return 0o755
		}
		return 0o644
	})
	if err != nil {
		return nil, fmt.Errorf("read kind's node files: %w", err)
	}
	var list []file
	for _, f := range all {
		switch f.path {
		case containerdConfig, kubeletDefaults: // changed, in settings
		default:
			if f.source != "" { // their folders come by themselves, or are Debian's
				list = append(list, f)
			}
		}
	}
	return list, nil
}

const (
	containerdConfig = "etc/containerd/config.toml"
	kubeletDefaults  = "etc/default/kubelet"
)

// settings are the files that kind's Dockerfile and `kind build node-image` write, and our changes to kind's own. The changes serve hosts
// that are virtual machines or containers without all capabilities, or with cgroup v1; elsewhere they change nothing.
func (p nodeParts) settings(ctx context.Context) ([]file, error) {
	// The base of each container's specification.
	out, err := command{}.output(ctx, p.ctr, "oci", "spec")
	if err != nil {
		return nil, err
	}
	spec, err := containerSpec(out)
	if err != nil {
		return nil, err
	}
	// Without CAP_SYS_RESOURCE no process may get an oom_score_adj below containerd's own. With it, containerd's own is -999, and no
	// Pod asks for less.
	config, err := changed(p.kind, containerdConfig, "restrict_oom_score_adj = false", "restrict_oom_score_adj = true")
	if err != nil {
		return nil, err
	}
	// Since Kubernetes 1.35 the kubelet refuses cgroup v1 unless told otherwise. The feature gate lets it go on where the kernel's
	// settings can't be written or read (vm.overcommit_memory, /dev/kmsg); where they can, it does nothing.
	defaults, err := changed(p.kind, kubeletDefaults, "KUBELET_EXTRA_ARGS=",
		"KUBELET_EXTRA_ARGS=--fail-cgroupv1=false --feature-gates=KubeletInUserNamespace=true ")
	if err != nil {
		return nil, err
	}
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
		{path: "kind/manifests/default-cni.yaml", mode: 0o644, content: []byte(strings.ReplaceAll(cniManifest, "KUBE_PROXY_IMAGE", proxyImage))},
	}
	for _, unit := range []string{"kubelet.service", "containerd.service", "undo-mount-hacks.service"} {
		// What systemctl enable does, as each says WantedBy=multi-user.target.
		list = append(list, file{path: "etc/systemd/system/multi-user.target.wants/" + unit, link: "/etc/systemd/system/" + unit})
	}
	return list, nil
}

// changed is a file of kind's with old replaced by replacement. That old isn't there is an error: kind has changed it.
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

func (p nodeParts) programs(context.Context) ([]file, error) {
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
	return list, nil
}

func (p nodeParts) images(context.Context) ([]file, error) {
	list, err := folder(os.DirFS(p.store), p.store, "var/lib/containerd", func(string) int64 { return 0o600 })
	if err != nil {
		return nil, fmt.Errorf("read the store of images: %w", err)
	}
	return list, nil
}
