package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// fakeDocker puts a program called docker first in PATH.
func fakeDocker(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const sandboxConfig = "[plugins.\"io.containerd.grpc.v1.cri\"]\n  # use fixed sandbox image\n  sandbox_image = \"registry.k8s.io/pause:3.10\"\n"

// kubeadmList is what the kubeadm of kubernetesVersion prints.
func kubeadmList() string {
	return strings.Join([]string{
		"registry.k8s.io/kube-apiserver:" + kubernetesVersion,
		"registry.k8s.io/kube-controller-manager:" + kubernetesVersion,
		"registry.k8s.io/kube-scheduler:" + kubernetesVersion,
		"registry.k8s.io/kube-proxy:" + kubernetesVersion,
		"registry.k8s.io/coredns/coredns:" + corednsVersion,
		"registry.k8s.io/pause:3.10.2",
		"registry.k8s.io/etcd:" + strings.TrimPrefix(etcdVersion, "v") + "-0",
	}, "\n") + "\n"
}

func TestRequiredImages(t *testing.T) {
	names, err := requiredImages(kubeadmList(), sandboxConfig)
	require.NoError(t, err)
	assert.Equal(t, "registry.k8s.io/pause:3.10", names["pause"], "kind's name, not kubeadm's")
	assert.Equal(t, "registry.k8s.io/coredns/coredns:"+corednsVersion, names["coredns"])
	assert.Len(t, names, 7)
}

func TestRequiredImagesSeesDrift(t *testing.T) {
	for _, tc := range []struct {
		name     string
		old, new string
		want     string
	}{
		{"another etcd", "etcd:" + etcdVersion[1:], "etcd:3.9.9", "kubeadm wants registry.k8s.io/etcd:3.9.9-0, but versions.go says " + etcdVersion},
		{"another CoreDNS", corednsVersion, "v9.9.9", "kubeadm wants registry.k8s.io/coredns/coredns:v9.9.9, but versions.go says " + corednsVersion},
		{"another Kubernetes", "scheduler:" + kubernetesVersion, "scheduler:v0.0.0-master", "but versions.go says " + kubernetesVersion},
		{"a new image", "pause:", "newcomer:", "kubeadm wants registry.k8s.io/newcomer:3.10.2, which this program doesn't build"},
		{"another registry", "registry.k8s.io/kube-proxy", "example.org/kube-proxy", "but default-cni.yaml uses " + proxyImage},
		{"an image less", "registry.k8s.io/kube-scheduler:" + kubernetesVersion + "\n", "", "kubeadm wants fewer images than thought"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list := strings.Replace(kubeadmList(), tc.old, tc.new, 1)
			require.NotEqual(t, kubeadmList(), list)
			_, err := requiredImages(list, sandboxConfig)
			assert.ErrorContains(t, err, tc.want)
		})
	}
	_, err := requiredImages(kubeadmList(), "# nothing")
	assert.EqualError(t, err, "kind's containerd configuration names no sandbox_image")
}

// entries reads a tar file: name → what it is.
func entries(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	found := map[string]string{}
	reader := tar.NewReader(r)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		name := strings.TrimSuffix(header.Name, "/")
		require.NotContains(t, found, name, "twice in the archive")
		content, err := io.ReadAll(reader)
		require.NoError(t, err)
		switch header.Typeflag {
		case tar.TypeDir:
			found[name] = "folder"
		case tar.TypeSymlink:
			found[name] = "-> " + header.Linkname
		default:
			found[name] = string(content)
		}
	}
}

// writeTar makes a small root file system.
func writeTar(t *testing.T, files ...file) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "root.tar")
	_, err := writeLayer(name, func(w *tar.Writer) error { return addFiles(w, files, map[string]bool{}) })
	require.NoError(t, err)
	return name
}

func TestWriteArchive(t *testing.T) {
	dir := t.TempDir()
	layer, err := writeLayer(filepath.Join(dir, "layer.tar"), func(w *tar.Writer) error {
		return addFiles(w, []file{{path: "usr/bin/pause", mode: 0o755, content: []byte("program")}}, map[string]bool{})
	})
	require.NoError(t, err)
	var archive bytes.Buffer
	require.NoError(t, writeArchive(&archive, []image{{name: "zerodrop/x:1", layer: layer, run: runConfig{Entrypoint: []string{"/usr/bin/pause"}, StopSignal: "SIGRTMIN+3"}}}))

	found := entries(t, &archive)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	require.NoError(t, json.Unmarshal([]byte(found["manifest.json"]), &manifest))
	require.Len(t, manifest, 1)
	assert.Equal(t, []string{"zerodrop/x:1"}, manifest[0].RepoTags)
	assert.JSONEq(t, `{"Entrypoint": ["/usr/bin/pause"], "StopSignal": "SIGRTMIN+3"}`, section(t, found[manifest[0].Config], "config"))
	assert.JSONEq(t, `{"type": "layers", "diff_ids": ["`+layer.digest+`"]}`, section(t, found[manifest[0].Config], "rootfs"))
	assert.Equal(t, map[string]string{"usr": "folder", "usr/bin": "folder", "usr/bin/pause": "program"},
		entries(t, strings.NewReader(found[manifest[0].Layers[0]])))
}

func section(t *testing.T, document, key string) string {
	t.Helper()
	var all map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(document), &all))
	return string(all[key])
}

func TestNodeRootFileSystem(t *testing.T) {
	folderOf := func(names ...string) string {
		dir := t.TempDir()
		for _, name := range names {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("the file "+filepath.Base(name)), 0o755))
		}
		return dir
	}
	kind := folderOf("usr/local/bin/entrypoint", "etc/systemd/system/kubelet.service", "kind/bin/undo-mount-hacks.sh")
	for name, content := range map[string]string{containerdConfig: "  restrict_oom_score_adj = false\n", kubeletDefaults: "KUBELET_EXTRA_ARGS=--kinds-own\n"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(kind, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(kind, name), []byte(content), 0o644))
	}
	containerd := folderOf("containerd", "containerd-shim-runc-v2")
	ctr := "#!/bin/sh\necho '{\"process\": {\"rlimits\": [1], \"cwd\": \"/\"}}'\n"
	require.NoError(t, os.WriteFile(filepath.Join(containerd, "ctr"), []byte(ctr), 0o755))
	parts := nodeParts{
		base: writeTar(t,
			file{path: "sbin", link: "usr/sbin"},
			file{path: "etc/systemd/journald.conf", mode: 0o644, content: []byte("#ReadKMsg=yes")},
			file{path: "etc/systemd/system/timers.target.wants/apt-daily.timer", link: "/lib/systemd/system/apt-daily.timer"},
			file{path: "usr/lib/systemd/system/sockets.target.wants/systemd-udevd-control.socket", link: "../x"},
			file{path: "usr/lib/systemd/system/sockets.target.wants/dbus.socket", link: "../dbus.socket"},
		),
		kind: kind, kubernetes: folderOf("kubelet", "kubeadm", "kubectl", "kube-apiserver"), containerd: containerd,
		cni:   folderOf("ptp", "host-local", "loopback", "portmap"),
		store: folderOf("io.containerd.metadata.v1.bolt/meta.db"), ctr: filepath.Join(containerd, "ctr"),
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	require.NoError(t, parts.writeNode(t.Context(), w))
	require.NoError(t, w.Close())
	got := entries(t, &out)

	for name, want := range map[string]string{
		"sbin":                       "-> usr/sbin",
		"usr/sbin/init":              "-> /usr/lib/systemd/systemd",
		"usr/local/bin/entrypoint":   "the file entrypoint",
		"usr/bin/kubelet":            "the file kubelet",
		"usr/local/bin/containerd":   "the file containerd",
		"opt/cni/bin/ptp":            "the file ptp",
		"kind/version":               kubernetesVersion,
		"etc/containerd/config.toml": "  restrict_oom_score_adj = true\n",
		"etc/default/kubelet":        "KUBELET_EXTRA_ARGS=--fail-cgroupv1=false --feature-gates=KubeletInUserNamespace=true --kinds-own\n",
		"etc/systemd/journald.conf":  "[Journal]\nReadKMsg=no\n",
		"etc/systemd/system/multi-user.target.wants/kubelet.service": "-> /etc/systemd/system/kubelet.service",
		"var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db":  "the file meta.db",
		"usr/lib/systemd/system/sockets.target.wants/dbus.socket":    "-> ../dbus.socket",
	} {
		assert.Equal(t, want, got[name], name)
	}
	for _, name := range []string{
		"usr/bin/kube-apiserver", "etc/systemd/system/timers.target.wants/apt-daily.timer",
		"usr/lib/systemd/system/sockets.target.wants/systemd-udevd-control.socket",
	} {
		assert.NotContains(t, got, name)
	}
	assert.JSONEq(t, `{"process": {"cwd": "/"}, "hooks": {"createContainer": [{"path": "/kind/bin/mount-product-files.sh"}]}}`, got["etc/containerd/cri-base.json"])

	require.NoError(t, os.WriteFile(filepath.Join(kind, kubeletDefaults), []byte("SOMETHING_ELSE=\n"), 0o644))
	_, err := parts.settings(t.Context())
	assert.EqualError(t, err, `kind's etc/default/kubelet doesn't say "KUBELET_EXTRA_ARGS=" once any more`)
}

func TestProxyRootHasWhatItsPackagesNeed(t *testing.T) {
	const status = `Package: iptables
Depends: libc6 (>= 2.34), netbase | libxtables12 (= 1.8.9-2)

Package: libc6
Pre-Depends: libgcc-s1:any

Package: libgcc-s1

Package: libxtables12

Package: perl
`
	list := func(name, content string) file {
		return file{path: "var/lib/dpkg/info/" + name + ".list", mode: 0o644, content: []byte(content)}
	}
	base := writeTar(t,
		file{path: "lib", link: "usr/lib"},
		file{path: "var/lib/dpkg/status", mode: 0o644, content: []byte(status)},
		list("iptables", "/.\n/usr\n/usr/sbin/xtables-nft-multi\n/usr/sbin/iptables-nft\n"), list("libc6:amd64", "/lib/libc.so.6\n"),
		list("libgcc-s1:amd64", "/lib/libgcc_s.so.1\n"), list("libxtables12", "/usr/lib/libxtables.so.12\n"), list("perl", "/usr/bin/perl\n"),
		file{path: "usr/sbin/xtables-nft-multi", mode: 0o755, content: []byte("nft")},
		file{path: "usr/sbin/iptables-nft", link: "xtables-nft-multi"},
		file{path: "usr/sbin/iptables", link: "/etc/alternatives/iptables"},
		file{path: "usr/lib/libc.so.6", mode: 0o755, content: []byte("c")},
		file{path: "usr/lib/libgcc_s.so.1", mode: 0o755, content: []byte("gcc")},
		file{path: "usr/lib/libxtables.so.12", mode: 0o755, content: []byte("x")},
		file{path: "usr/bin/perl", mode: 0o755, content: []byte("perl")},
		file{path: "etc/passwd", mode: 0o644, content: []byte("root:x:0:0::/root:/bin/bash")},
	)
	packages, err := readPackages(base)
	require.NoError(t, err)
	wanted, err := packages.closure([]string{"iptables"})
	require.NoError(t, err)
	assert.Equal(t, map[string]bool{"iptables": true, "libc6": true, "libgcc-s1": true, "libxtables12": true}, wanted)
	_, err = packages.closure([]string{"nftables"})
	assert.EqualError(t, err, "package nftables isn't in Debian's root file system")

	var out bytes.Buffer
	w := tar.NewWriter(&out)
	_, err = copyPackages(w, base, []string{"iptables"})
	require.NoError(t, err)
	require.NoError(t, w.Close())
	got := entries(t, &out)
	for _, name := range []string{"usr/sbin/xtables-nft-multi", "usr/lib/libc.so.6", "usr/lib/libgcc_s.so.1", "usr/lib/libxtables.so.12", "etc/passwd", "lib"} {
		assert.Contains(t, got, name)
	}
	assert.NotContains(t, got, "usr/bin/perl")
	assert.NotContains(t, got, "var/lib/dpkg/status")
	assert.Equal(t, "-> iptables-wrapper", got["usr/sbin/iptables"])
	assert.Equal(t, iptablesWrapper, got["usr/sbin/iptables-wrapper"])
}

func TestNetworkManifest(t *testing.T) {
	// As kind does with it.
	require.Contains(t, cniManifest, "would you kindly template this file")
	require.Contains(t, cniManifest, "would you kindly patch this file")
	filled, err := template.New("").Parse(strings.ReplaceAll(cniManifest, "KUBE_PROXY_IMAGE", proxyImage))
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, filled.Execute(&out, struct{ PodSubnet string }{"10.244.0.0/16"}))
	documents := strings.Split(out.String(), "\n---\n")
	require.Len(t, documents, 4)
	for _, document := range documents {
		var object struct{ Kind string }
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &map[string]any{}))
		require.NoError(t, yaml.Unmarshal([]byte(document), &object))
		assert.NotEmpty(t, object.Kind)
	}
	var daemonSet appsv1.DaemonSet
	require.NoError(t, yaml.UnmarshalStrict([]byte(documents[3]), &daemonSet))
	require.NotEmpty(t, daemonSet.Spec.Template.Spec.Containers)
	assert.NotEmpty(t, daemonSet.Spec.Template.Spec.Containers[0].Env, "kind's patch adds to it")
	assert.Equal(t, proxyImage, daemonSet.Spec.Template.Spec.Containers[0].Image)
	assert.Contains(t, documents[3], `value: "10.244.0.0/16"`)
}

func TestProgress(t *testing.T) {
	now := time.Unix(0, 0)
	compile := &step{name: "compile Kubernetes", compiles: true, made: &artifact{}, cost: 8 * time.Minute}
	node := &step{name: "make the node image", needs: []*step{compile}, cost: 20 * time.Second}
	var out strings.Builder
	p := newProgress(&out, false, func() time.Time { return now }, []*step{compile, node})
	p.started(compile)
	now = now.Add(time.Minute)
	p.tick() // too soon for another line
	now = now.Add(61 * time.Second)
	p.tick()
	now = now.Add(5 * time.Minute)
	p.ended(compile, nil)
	p.started(node)
	p.ended(node, os.ErrClosed)
	p.close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 5)
	assert.Equal(t, "node image 0:00  compile Kubernetes …", lines[0])
	assert.Regexp(t, `^node image 2:01  still at it: compile Kubernetes \(2:01\); about \d+ (min|s) left$`, lines[1])
	assert.Equal(t, "node image 7:01  compile Kubernetes: done in 7:01; about 20 s left", lines[2])
	assert.Equal(t, "node image 7:01  make the node image: stopped after 0:00", lines[4])
}

func TestProgressOnATerminal(t *testing.T) {
	now := time.Unix(0, 0)
	s := &step{name: strings.Repeat("long name ", 20), compiles: true, made: &artifact{}, cost: time.Minute}
	var out strings.Builder
	p := newProgress(&out, true, func() time.Time { return now }, []*step{s})
	p.started(s)
	out.Reset()
	p.tick()
	assert.True(t, strings.HasPrefix(out.String(), "\r\x1b[K"), "it replaces the line before")
	assert.NotContains(t, out.String(), "\n")
	assert.LessOrEqual(t, len([]rune(strings.TrimPrefix(out.String(), "\r\x1b[K"))), 79, "or it would wrap")
	out.Reset()
	p.close()
	assert.Equal(t, "\r\x1b[K", out.String())
}

func TestEstimateScalesWithTheProcessors(t *testing.T) {
	fetch := &step{name: "download"}
	compile := &step{compiles: true, made: &artifact{}, needs: []*step{fetch}, cost: 10 * time.Minute}
	debian := &step{made: &artifact{}, cost: 2 * time.Minute}
	node := &step{needs: []*step{compile, debian}, cost: time.Minute}
	steps := []*step{fetch, compile, debian, node}
	assert.Equal(t, 11*time.Minute, estimate(steps, 2), "Debian is installed beside the compiling")
	assert.Equal(t, 6*time.Minute, estimate(steps, 4))
	assert.Equal(t, "about 11 min", about(estimate(steps, 2)))
	assert.Equal(t, "about 10 s", about(time.Second))
}
