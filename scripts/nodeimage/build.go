package main

import (
	"archive/tar"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// builder makes the node image from Go modules and Debian's packages.
type builder struct {
	cache  cache
	docker dockerCLI
}

// repository is where images of ours are, in Docker's names.
const repository = "zerodrop/node"

// recipe is everything that the image is made of.
type recipe struct {
	debian, pause, store artifact
	components           map[string]artifact
	// tag is of the form v1.37.2-1a2b3c4d: the digest changes with the recipe, so that an image of an older one isn't taken for this.
	tag string
}

func newRecipe() recipe {
	r := recipe{
		debian:     baseArtifact(),
		pause:      newArtifact("pause", nil, pauseSource, runtime.GOARCH),
		components: map[string]artifact{},
	}
	parts := []artifact{r.debian, r.pause}
	for _, c := range components() {
		r.components[c.name] = c.artifact()
		parts = append(parts, c.artifact())
	}
	r.store = newArtifact("images", parts, kindVersion, iptablesWrapper, assembly)
	node := newArtifact("node", append(parts, r.store), cniManifest, crictl)
	const digits = 8
	r.tag = kubernetesVersion + "-" + node.key[:digits]
	return r
}

// assembly is the code that puts images together, as a part of the recipe: whoever changes it needn't think of counting up a version, and
// to do it again takes half a minute.
var assembly = sourceArchive + sourceBuild + sourceImages + sourceProxyRoot + sourceRootFS

//go:embed archive.go
var sourceArchive string

//go:embed build.go
var sourceBuild string

//go:embed images.go
var sourceImages string

//go:embed proxyroot.go
var sourceProxyRoot string

//go:embed rootfs.go
var sourceRootFS string

func (r recipe) image() string { return repository + ":" + r.tag }

// plan returns the last step of the build, which needs the others.
func (b builder) plan(r recipe) *step {
	work := b.cache.work()
	bootstrap := step{name: "install Debian " + debianSuite, cost: 80 * time.Second}
	if !toolsInstalled() {
		bootstrap.needs = []*step{{name: "install debootstrap with apt-get", run: installTools}}
	}
	debian := b.making(r.debian, bootstrap, func(ctx context.Context, dir string) error { return bootstrapDebian(ctx, work, dir) })
	pause := b.making(r.pause, step{name: "compile pause", cost: 2 * time.Second, compiles: true}, func(ctx context.Context, dir string) error {
		return compilePause(ctx, filepath.Join(work, "pause"), dir)
	})
	parts := []*step{debian, pause}
	for _, c := range components() {
		module := filepath.Join(work, "module-"+r.components[c.name].String())
		fetch := &step{name: "download " + c.name, run: func(ctx context.Context) error { return c.fetch(ctx, module) }}
		compile := step{name: "compile " + c.name, needs: []*step{fetch}, cost: c.cost, compiles: true}
		parts = append(parts, b.making(r.components[c.name], compile, func(ctx context.Context, dir string) error {
			return c.compile(ctx, module, dir)
		}))
	}
	store := b.making(r.store, step{name: "make the cluster's images", needs: parts, cost: 10 * time.Second},
		func(ctx context.Context, dir string) error { return b.fillStore(ctx, r, dir) })
	return &step{
		name: "make the node image", needs: append(parts, store), cost: 15 * time.Second,
		run: func(ctx context.Context) error { return b.loadNode(ctx, r) },
	}
}

// making completes a step that makes an artifact.
func (b builder) making(a artifact, s step, fill func(ctx context.Context, dir string) error) *step {
	s.made = &a
	s.run = func(ctx context.Context) error {
		return b.cache.put(a, func(dir string) error { return fill(ctx, dir) })
	}
	return &s
}

func (b builder) fillStore(ctx context.Context, r recipe, dir string) error {
	kind, err := b.kindFiles(ctx)
	if err != nil {
		return err
	}
	return imageParts{
		base:       b.cache.path(r.debian, baseTar),
		kind:       kind,
		kubernetes: b.cache.path(r.components["Kubernetes"]),
		containerd: b.cache.path(r.components["containerd"]),
		etcd:       b.cache.path(r.components["etcd"]),
		coredns:    b.cache.path(r.components["CoreDNS"]),
		pause:      b.cache.path(r.pause),
	}.fillStore(ctx, b.cache.work(), dir)
}

// kindFiles is the folder of kind's node files, in Go's module cache.
func (b builder) kindFiles(ctx context.Context) (string, error) {
	const module = "sigs.k8s.io/kind"
	download, err := downloadModule(ctx, b.cache.work(), module, kindVersion)
	if err != nil {
		return "", err
	}
	return filepath.Join(download.Dir, "images", "base", "files"), nil
}

func (b builder) loadNode(ctx context.Context, r recipe) error {
	kind, err := b.kindFiles(ctx)
	if err != nil {
		return err
	}
	parts := nodeParts{
		base:       b.cache.path(r.debian, baseTar),
		kind:       kind,
		kubernetes: b.cache.path(r.components["Kubernetes"]),
		containerd: b.cache.path(r.components["containerd"]),
		cni:        b.cache.path(r.components["CNI plugins"]),
		store:      b.cache.path(r.store),
		ctr:        b.cache.path(r.components["containerd"], "ctr"),
	}
	file := filepath.Join(b.cache.work(), "node.tar")
	defer os.Remove(file)
	layer, err := writeLayer(file, func(w *tar.Writer) error { return parts.writeNode(ctx, w) })
	if err != nil {
		return err
	}
	err = b.docker.load(ctx, image{name: r.image(), layer: layer, run: runConfig{
		Entrypoint: []string{"/usr/local/bin/entrypoint", "/sbin/init"},
		// systemd looks at this to see that it's in a container.
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=docker"},
		// systemd ends on this; on SIGTERM it starts itself again.
		StopSignal: "SIGRTMIN+3",
		Labels:     map[string]string{builtLabel: r.tag},
	}})
	if err != nil {
		return fmt.Errorf("load the image into Docker: %w", err)
	}
	return b.forget(ctx, r)
}

// builtLabel is on the images that this program built, and on no other.
const builtLabel = "org.zerodrop.nodeimage"

// forget removes what older recipes left and what takes less than a minute to make again. What was compiled stays.
func (b builder) forget(ctx context.Context, r recipe) error {
	if err := b.docker.removeOthers(ctx, r.image(), builtLabel); err != nil {
		return fmt.Errorf("remove images of older recipes: %w", err)
	}
	if err := b.cache.removeOthers(r.store); err != nil {
		return fmt.Errorf("remove parts of older recipes: %w", err)
	}
	return nil
}
