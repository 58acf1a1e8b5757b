package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// fakeDocker puts a program called docker first in PATH.
func fakeDocker(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const sandboxConfig = `[plugins."io.containerd.grpc.v1.cri"]
  # use fixed sandbox image
  sandbox_image = "registry.k8s.io/pause:3.10"
`

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
		{"another etcd", "etcd:" + etcdVersion[1:], "etcd:3.9.9", "registry.k8s.io/etcd:3.9.9-0, but versions.go says v3"},
		{"another CoreDNS", corednsVersion, "v9.9.9", "coredns:v9.9.9, but versions.go says " + corednsVersion},
		{"another Kubernetes", "scheduler:" + kubernetesVersion, "scheduler:v0", "but versions.go says " + kubernetesVersion},
		{"a new image", "pause:", "newcomer:", "registry.k8s.io/newcomer:3.10.2, which this program doesn't build"},
		{"another registry", "registry.k8s.io/kube-proxy", "example.org/kube-proxy", "default-cni.yaml uses " + proxyImage},
		{"an image less", "registry.k8s.io/kube-scheduler:" + kubernetesVersion + "\n", "", "wants fewer images than"},
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

// entries reads a tar file: name → permissions and content.
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
		switch mode := fmt.Sprintf("%04o ", header.Mode); header.Typeflag {
		case tar.TypeDir:
			found[name] = mode + "folder"
		case tar.TypeSymlink:
			found[name] = "-> " + header.Linkname
		default:
			found[name] = mode + string(content)
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

func TestNewImage(t *testing.T) {
	dir := t.TempDir()
	layer, err := writeLayer(filepath.Join(dir, "layer.tar"), func(w *tar.Writer) error {
		return addFiles(w, []file{{path: "usr/bin/pause", mode: 0o755, content: []byte("program")}}, map[string]bool{})
	})
	require.NoError(t, err)
	made, err := newImage(layer, v1.Config{Entrypoint: []string{"/usr/bin/pause"}, StopSignal: "SIGRTMIN+3"})
	require.NoError(t, err)
	archive := filepath.Join(dir, "image.tar")
	require.NoError(t, tarball.WriteToFile(archive, name.MustParseReference("zerodrop/x:1"), made))

	config, files := readImage(t, archive, "zerodrop/x:1")
	assert.Equal(t, v1.Config{Entrypoint: []string{"/usr/bin/pause"}, StopSignal: "SIGRTMIN+3"}, config.Config)
	assert.Equal(t, runtime.GOARCH, config.Architecture)
	assert.Equal(t, "2026-01-01", config.Created.Format(time.DateOnly))
	assert.Equal(t, []v1.Hash{layer.digest}, config.RootFS.DiffIDs)
	want := map[string]string{"usr": "0755 folder", "usr/bin": "0755 folder", "usr/bin/pause": "0755 program"}
	assert.Equal(t, want, files)
	// Docker and containerd store the layer as it is in the archive.
	assert.Contains(t, entries(t, open(t, archive)), layer.digest.Hex+".tar", "it isn't compressed")
}

// readImage reads an archive for `docker load`.
func readImage(t *testing.T, archive, ref string) (v1.ConfigFile, map[string]string) {
	t.Helper()
	tag, err := name.NewTag(ref)
	require.NoError(t, err)
	image, err := tarball.ImageFromPath(archive, &tag)
	require.NoError(t, err)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	layers, err := image.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
	content, err := layers[0].Uncompressed()
	require.NoError(t, err)
	defer content.Close()
	return *config, entries(t, content)
}

func open(t *testing.T, path string) io.Reader {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// assertGolden compares what a layer holds with testdata/NAME. A difference means that the same
// parts make another image than before: then count up assembly in versions.go, or machines that
// have the image keep the old one.
func assertGolden(t *testing.T, golden string, got map[string]string) {
	t.Helper()
	var text strings.Builder
	for _, path := range slices.Sorted(maps.Keys(got)) {
		first, rest, _ := strings.Cut(strings.ReplaceAll(got[path], kubernetesVersion, "KUBERNETES"), "\n")
		if len(rest) > 60 {
			rest = "… (a part of the image's key)"
		}
		fmt.Fprintf(&text, "%s: %s\n", path, strings.TrimSpace(first+" "+rest))
	}
	golden = filepath.Join("testdata", golden)
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(text.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), text.String(), "count up assembly in versions.go, then run this test with -update")
}

var update = flag.Bool("update", false, "write the golden files")

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
	for name, content := range map[string]string{
		containerdConfig: "  restrict_oom_score_adj = false\n", kubeletDefaults: "KUBELET_EXTRA_ARGS=--kinds-own\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(kind, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(kind, name), []byte(content), 0o644))
	}
	containerd := folderOf("containerd", "containerd-shim-runc-v2")
	ctr := "#!/bin/sh\necho '{\"process\": {\"rlimits\": [1], \"cwd\": \"/\"}}'\n"
	require.NoError(t, os.WriteFile(filepath.Join(containerd, "ctr"), []byte(ctr), 0o755))
	parts := nodeParts{
		root: writeTar(t,
			file{path: "sbin", link: "usr/sbin"},
			file{path: "etc/systemd/journald.conf", mode: 0o644, content: []byte("#ReadKMsg=yes")},
			file{path: "etc/systemd/system/timers.target.wants/apt-daily.timer", link: "/lib/apt-daily.timer"},
			file{path: "usr/lib/systemd/system/sockets.target.wants/systemd-udevd-control.socket", link: "../x"},
			file{path: "usr/lib/systemd/system/sockets.target.wants/dbus.socket", link: "../dbus.socket"},
		),
		kind: kind, kubernetes: folderOf("kubelet", "kubeadm", "kubectl", "kube-apiserver"), containerd: containerd,
		cni:   folderOf("ptp", "host-local", "loopback", "portmap"),
		store: folderOf("io.containerd.metadata.v1.bolt/meta.db"),
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	require.NoError(t, parts.writeNode(t.Context(), w))
	require.NoError(t, w.Close())
	got := entries(t, &out)

	assertGolden(t, "node-root.golden", got)
	for _, name := range []string{
		"usr/bin/kube-apiserver", "etc/systemd/system/timers.target.wants/apt-daily.timer",
		"usr/lib/systemd/system/sockets.target.wants/systemd-udevd-control.socket",
	} {
		assert.NotContains(t, got, name)
	}

	require.NoError(t, os.WriteFile(filepath.Join(kind, kubeletDefaults), []byte("SOMETHING_ELSE=\n"), 0o644))
	_, err := parts.settings(t.Context())
	assert.EqualError(t, err, `kind's etc/default/kubelet doesn't say "KUBELET_EXTRA_ARGS=" once any more`)
}

func TestProxyRoot(t *testing.T) {
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
		list("iptables", "/.\n/usr\n/usr/sbin/xtables-nft-multi\n/usr/sbin/iptables-nft\n"),
		list("libc6:amd64", "/lib/libc.so.6\n"), list("libgcc-s1:amd64", "/lib/libgcc_s.so.1\n"),
		list("libxtables12", "/usr/lib/libxtables.so.12\n"), list("perl", "/usr/bin/perl\n"),
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
	assert.NotContains(t, got, "usr/bin/perl")
	assert.NotContains(t, got, "var/lib/dpkg/status")
	assert.Equal(t, "0755 "+iptablesWrapper, got["usr/sbin/iptables-wrapper"])
	assertGolden(t, "proxy-root.golden", got)
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
		require.NoError(t, yaml.Unmarshal([]byte(document), &object))
		assert.NotEmpty(t, object.Kind)
	}
	var daemonSet struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Image string
						Env   []map[string]any
					}
				}
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(documents[3]), &daemonSet))
	containers := daemonSet.Spec.Template.Spec.Containers
	require.Len(t, containers, 1)
	assert.NotEmpty(t, containers[0].Env, "kind's patch adds to it")
	assert.Equal(t, proxyImage, containers[0].Image)
	assert.Contains(t, documents[3], `value: "10.244.0.0/16"`)
}

func TestProgress(t *testing.T) {
	now := time.Unix(0, 0)
	compile := &step{name: "compile Kubernetes", compiles: true, made: &artifact{}, cost: 8 * time.Minute}
	node := &step{name: "make the node image", needs: []*step{compile}, cost: 20 * time.Second}
	var out strings.Builder
	p := newProgress(&out, func() time.Time { return now }, []*step{compile, node})
	p.started(compile)
	now = now.Add(29 * time.Second)
	p.breakSilence() // too soon for another line
	now = now.Add(time.Second)
	p.breakSilence()
	p.breakSilence()
	now = now.Add(5 * time.Minute)
	p.ended(compile, nil)
	p.started(node)
	p.ended(node, os.ErrClosed)
	now = now.Add(time.Hour)
	p.breakSilence() // nothing runs
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 5)
	assert.Equal(t, "images 0:00  compile Kubernetes …", lines[0])
	assert.Regexp(t, `^images 0:30  still at it: compile Kubernetes \(0:30\); about \d+ (min|s) left$`, lines[1])
	assert.Equal(t, "images 5:30  compile Kubernetes: done in 5:30; about 20 s left", lines[2])
	assert.Equal(t, "images 5:30  make the node image: stopped after 0:00", lines[4])
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
