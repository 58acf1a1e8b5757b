package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// proxyImage is in default-cni.yaml, too.
const proxyImage = "registry.k8s.io/kube-proxy:" + kubernetesVersion

// requiredImages returns the names of the images that a cluster needs: those of `kubeadm config images list`, but the pause image as
// kind's configuration of containerd names it. So no tag is typed in here, and each must fit the version that is built.
func requiredImages(kubeadmList, containerdConfig string) (map[string]string, error) {
	sandbox := regexp.MustCompile(`(?m)^\s*sandbox_image\s*=\s*"([^"]+)"`).FindStringSubmatch(containerdConfig)
	if sandbox == nil {
		return nil, errors.New("kind's containerd configuration names no sandbox_image")
	}
	names := map[string]string{"pause": sandbox[1]}
	for name := range strings.FieldsSeq(kubeadmList) {
		repository, tag, found := strings.Cut(path.Base(name), ":")
		if !found {
			return nil, fmt.Errorf("kubeadm config images list: %q has no tag", name)
		}
		want := map[string]string{
			"kube-apiserver": kubernetesVersion, "kube-controller-manager": kubernetesVersion, "kube-scheduler": kubernetesVersion,
			"kube-proxy": kubernetesVersion, "coredns": corednsVersion, "etcd": etcdVersion, "pause": "",
		}
		version, known := want[repository]
		switch {
		case !known:
			return nil, fmt.Errorf("kubeadm wants %s, which this program doesn't build", name)
		case repository == "pause":
			continue
		// etcd's images have a revision of their own: 3.7.0-0.
		case version != tag && version != "v"+strings.SplitN(tag, "-", 2)[0]:
			return nil, fmt.Errorf("kubeadm wants %s, but versions.go says %s", name, version)
		}
		names[repository] = name
	}
	if names["kube-proxy"] != proxyImage {
		return nil, fmt.Errorf("kubeadm wants %s, but default-cni.yaml uses %s", names["kube-proxy"], proxyImage)
	}
	const all = 7
	if len(names) != all {
		return nil, fmt.Errorf("kubeadm wants fewer images than thought:\n%s", kubeadmList)
	}
	return names, nil
}

// imageParts are the files that the cluster's images are made from.
type imageParts struct {
	base       string // Debian's root.tar
	kind       string // images/base/files of kind's module
	kubernetes string // folders of programs
	containerd string
	etcd       string
	coredns    string
	pause      string
}

// fillStore leaves containerd's folder, with the images of a cluster in it, in store.
func (p imageParts) fillStore(ctx context.Context, work, store string) error {
	list, err := command{}.output(ctx, filepath.Join(p.kubernetes, "kubeadm"), "config", "images", "list", "--kubernetes-version="+kubernetesVersion)
	if err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(p.kind, containerdConfig))
	if err != nil {
		return fmt.Errorf("read kind's node files: %w", err)
	}
	names, err := requiredImages(list, string(config))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(work, "images.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	images, err := p.build(dir, names)
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "images.tar")
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := errors.Join(writeArchive(f, images), f.Close()); err != nil {
		return err
	}
	return importImages(ctx, p.containerd, archive, store)
}

// build makes the layers, in dir.
func (p imageParts) build(dir string, names map[string]string) ([]image, error) {
	kubernetes := func(name string) string { return filepath.Join(p.kubernetes, name) }
	var images []image
	for _, i := range []struct{ repository, source, target string }{
		{"kube-apiserver", kubernetes("kube-apiserver"), "usr/local/bin/kube-apiserver"},
		{"kube-controller-manager", kubernetes("kube-controller-manager"), "usr/local/bin/kube-controller-manager"},
		{"kube-scheduler", kubernetes("kube-scheduler"), "usr/local/bin/kube-scheduler"},
		{"kube-proxy", kubernetes("kube-proxy"), "usr/local/bin/kube-proxy"},
		{"etcd", filepath.Join(p.etcd, "etcd"), "usr/local/bin/etcd"},
		{"coredns", filepath.Join(p.coredns, "coredns"), "coredns"},
		{"pause", filepath.Join(p.pause, "pause"), "pause"},
	} {
		layer, err := writeLayer(filepath.Join(dir, i.repository+".tar"), func(w *tar.Writer) error {
			known := map[string]bool{}
			if i.repository == "kube-proxy" {
				var err error
				if known, err = copyPackages(w, p.base, proxyPackages); err != nil {
					return err
				}
			}
			// /tmp: CoreDNS and the API server write there, if anything.
			files := []file{{path: i.target, mode: 0o755, source: i.source}}
			if !known["tmp"] {
				files = append(files, file{path: "tmp", mode: 0o1777})
			}
			return addFiles(w, files, known)
		})
		if err != nil {
			return nil, fmt.Errorf("make the image %s: %w", names[i.repository], err)
		}
		run := runConfig{
			Entrypoint: []string{"/" + i.target},
			Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		}
		images = append(images, image{name: names[i.repository], layer: layer, run: run})
	}
	return images, nil
}

// importImages runs the containerd that was just built for as long as it takes to import the archive, and leaves its folder in store. It
// needs neither Docker nor a node for that: only its store of content and its database are in use.
func importImages(ctx context.Context, containerd, archive, store string) error {
	// Short, as the path of a socket must be.
	dir, err := os.MkdirTemp("", "zerodrop")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "containerd.sock")
	config := fmt.Sprintf(importConfig, store, filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o644); err != nil {
		return err
	}
	var last tail
	daemon := exec.CommandContext(ctx, filepath.Join(containerd, "containerd"), "--config", filepath.Join(dir, "config.toml"))
	daemon.Stdout, daemon.Stderr = &last, &last
	daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	daemon.Cancel = func() error { return daemon.Process.Signal(syscall.SIGTERM) }
	daemon.WaitDelay = 10 * time.Second
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	if err := waitForSocket(ctx, socket, ended); err != nil {
		return fmt.Errorf("start containerd: %w\n%s", err, last.String())
	}
	importErr := command{}.run(ctx, filepath.Join(containerd, "ctr"), "--address="+socket, "--namespace=k8s.io", "images", "import",
		"--local", "--no-unpack", "--platform=linux/"+runtime.GOARCH, "--label=io.cri-containerd.pinned=pinned", archive)
	// Its end, in peace, closes the database.
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return errors.Join(importErr, fmt.Errorf("stop containerd: %w", err))
	}
	if err := <-ended; err != nil && importErr == nil {
		importErr = fmt.Errorf("containerd: %w\n%s", err, last.String())
	}
	if importErr != nil {
		return importErr
	}
	return keepStore(store)
}

// importConfig has only what an import needs, and nothing that writes outside of its folders or looks at the host.
const importConfig = `version = 3
root = %q
state = %q
disabled_plugins = [
  "io.containerd.cri.v1.images",
  "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.restart",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.overlayfs",
]
[grpc]
address = %q
`

func waitForSocket(ctx context.Context, socket string, ended <-chan error) error {
	const limit = 30 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it listens on no socket after %s", limit))
	defer cancel()
	for {
		if _, err := os.Stat(socket); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-ended:
			return errors.Join(errors.New("it ended at once"), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// keepStore removes what a node's containerd makes anew.
func keepStore(store string) error {
	entries, err := os.ReadDir(store)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch entry.Name() {
		case "io.containerd.content.v1.content", "io.containerd.metadata.v1.bolt":
		default:
			if err := os.RemoveAll(filepath.Join(store, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
