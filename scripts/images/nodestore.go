package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// proxyImage is in node/default-cni.yaml, too.
const proxyImage = "registry.k8s.io/kube-proxy:" + kubernetesVersion

// requiredImages returns the names of the images that a cluster needs: those of `kubeadm config
// images list`, except for the pause image, whose name kind's configuration of containerd gives. So
// no tag is typed in here, and each must fit the version that is built.
func requiredImages(kubeadmList, containerdConfig string) (map[string]string, error) {
	sandbox := regexp.MustCompile(`(?m)^\s*sandbox_image\s*=\s*"([^"]+)"`).FindStringSubmatch(containerdConfig)
	if sandbox == nil {
		return nil, errors.New("kind's containerd configuration names no sandbox_image")
	}
	versions := map[string]string{
		"kube-apiserver": kubernetesVersion, "kube-controller-manager": kubernetesVersion,
		"kube-scheduler": kubernetesVersion, "kube-proxy": kubernetesVersion, "coredns": corednsVersion,
		"etcd": etcdVersion, "pause": "",
	}
	names := map[string]string{"pause": sandbox[1]}
	for name := range strings.FieldsSeq(kubeadmList) {
		repository, tag, found := strings.Cut(path.Base(name), ":")
		version, known := versions[repository]
		switch {
		case !found:
			return nil, fmt.Errorf("kubeadm config images list: %q has no tag", name)
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
	if len(names) != len(versions) {
		return nil, fmt.Errorf("kubeadm wants fewer images than this program builds:\n%s", kubeadmList)
	}
	return names, nil
}

// fillStore leaves containerd's folder, with the images of a cluster in it, in store.
func (p nodeParts) fillStore(ctx context.Context, work, store string) error {
	list, err := command{}.output(ctx, filepath.Join(p.kubernetes, "kubeadm"), "config", "images", "list",
		"--kubernetes-version="+kubernetesVersion)
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
	images := map[name.Reference]v1.Image{}
	for repository, ref := range names {
		tag, err := name.NewTag(ref)
		if err != nil {
			return err
		}
		if images[tag], err = p.clusterImage(dir, repository); err != nil {
			return fmt.Errorf("make the image %s: %w", ref, err)
		}
	}
	archive := filepath.Join(dir, "images.tar")
	if err := tarball.MultiRefWriteToFile(archive, images); err != nil {
		return fmt.Errorf("write the cluster's images: %w", err)
	}
	return importImages(ctx, p.containerd, archive, store)
}

// clusterImage makes the image of one program, with its layer in dir.
func (p nodeParts) clusterImage(dir, repository string) (v1.Image, error) {
	source, target := filepath.Join(p.kubernetes, repository), "usr/local/bin/"+repository
	switch repository {
	case "etcd":
		source = filepath.Join(p.etcd, "etcd")
	case "coredns":
		source, target = filepath.Join(p.coredns, "coredns"), "coredns"
	case "pause":
		source, target = filepath.Join(p.pause, "pause"), "pause"
	}
	layer, err := writeLayer(filepath.Join(dir, repository+".tar"), func(w *tar.Writer) error {
		known := map[string]bool{}
		if repository == "kube-proxy" {
			var err error
			if known, err = copyPackages(w, p.root, proxyPackages); err != nil {
				return err
			}
		}
		// /tmp: CoreDNS and the API server write there, if anything.
		files := []file{{path: target, mode: 0o755, source: source}, {path: "tmp", mode: 0o1777}}
		return addFiles(w, files, known)
	})
	if err != nil {
		return nil, err
	}
	return newImage(layer, v1.Config{Entrypoint: []string{"/" + target}, Env: []string{defaultPath}})
}

// importImages runs the containerd that was just built for as long as it takes to import the
// archive, and leaves its folder in store. That needs neither Docker nor a node: only containerd's
// store of content and its database are in use.
func importImages(ctx context.Context, containerd, archive, store string) error {
	// Short, as the path of a socket must be.
	dir, err := os.MkdirTemp("", "zerodrop")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// On the file system of store, so that what is finished can be renamed.
	root := filepath.Join(filepath.Dir(archive), "containerd")
	socket, configFile := filepath.Join(dir, "containerd.sock"), filepath.Join(dir, "config.toml")
	config := fmt.Sprintf(importConfig, root, filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(configFile, []byte(config), 0o644); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- command{}.run(running, filepath.Join(containerd, "containerd"), "--config="+configFile)
	}()
	if err := waitForSocket(ctx, socket, ended); err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	err = command{}.run(ctx, filepath.Join(containerd, "ctr"), "--address="+socket, "--namespace=k8s.io", "images",
		"import", "--local", "--no-unpack", "--platform=linux/"+runtime.GOARCH, "--label=io.cri-containerd.pinned=pinned",
		archive)
	stop() // by SIGTERM, at which containerd closes its database
	if endErr := <-ended; err != nil {
		return errors.Join(err, endErr)
	}
	// A node's containerd creates the rest itself.
	for _, name := range []string{"io.containerd.content.v1.content", "io.containerd.metadata.v1.bolt"} {
		if err := os.Rename(filepath.Join(root, name), filepath.Join(store, name)); err != nil {
			return err
		}
	}
	return nil
}

// importConfig has only what an import needs, and nothing that writes outside of its folders or
// looks at the host.
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
