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
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/kind/pkg/apis/config/defaults"
)

// nodeRecipe is everything that the node image is made of.
type nodeRecipe struct {
	debian, pause, store artifact
	programs             map[string]artifact // by the name of their module
	// tag is of the form v1.37.2-1a2b3c4d: the digest changes with the recipe, so that an image of
	// an older recipe isn't taken for this one.
	tag string
}

func newNodeRecipe() nodeRecipe {
	r := nodeRecipe{
		debian: newArtifact("debian-"+debianSuite, nil,
			runtime.GOARCH, strings.Join(basePackages, " "), strings.Join(omitted, " ")),
		pause:    newArtifact("pause", nil, pauseSource, runtime.GOARCH),
		programs: map[string]artifact{},
	}
	parts := []artifact{r.debian, r.pause}
	for _, m := range nodeModules() {
		r.programs[m.name] = m.artifact()
		parts = append(parts, m.artifact())
	}
	tables := fmt.Sprint(unwantedUnits, proxyPackages, wrappedPrograms)
	r.store = newArtifact("images", parts, kindVersion, iptablesWrapper, assembly, tables, importConfig)
	// Until assembly counted its revisions, the source of this program was a part of the key, and
	// machines have the first revision under that. The case ends with the next change of any part.
	if r.store.key == "2dc4b193182c" {
		r.store.key = "67711284afc0"
	}
	node := newArtifact("node", append(parts, r.store), cniManifest, crictl)
	const digits = 8
	r.tag = kubernetesVersion + "-" + node.key[:digits]
	return r
}

// builtLabel is on the node images that this program built, and on no other.
const builtLabel = "org.zerodrop.nodeimage"

// nodeImage is the image that a kind cluster is made from.
func nodeImage() image {
	r := newNodeRecipe()
	return image{
		official: defaults.Image, ours: "zerodrop/node:" + r.tag, debian: true,
		space: space{
			parts: 3 * gigabyte, temporary: 2 * gigabyte, compiled: 6 * gigabyte, modules: 2 * gigabyte,
			docker: 2 * gigabyte,
		},
		plan: func(b builder) *step { return b.planNode(r) },
	}
}

// planNode returns the last step of the build, which needs the others.
func (b builder) planNode(r nodeRecipe) *step {
	work := b.cache.work()
	debian := b.installDebian("install Debian "+debianSuite, r.debian, basePackages)
	pause := b.making(r.pause, step{name: "compile pause", cost: 2 * time.Second, compiles: true},
		func(ctx context.Context, dir string) error {
			return compilePause(ctx, filepath.Join(work, "pause"), dir)
		})
	parts := []*step{debian, pause}
	for _, m := range nodeModules() {
		made := r.programs[m.name]
		build := m.build(filepath.Join(work, "module-"+made.String()))
		fetch := &step{name: "download " + m.name, run: func(ctx context.Context) error { return m.fetch(ctx, build) }}
		compile := step{name: "compile " + m.name, needs: []*step{fetch}, cost: m.cost, compiles: true}
		parts = append(parts, b.making(made, compile, func(ctx context.Context, dir string) error {
			return build.compile(ctx, dir+"/"+m.binary)
		}))
	}
	store := b.making(r.store, step{name: "make the cluster's images", needs: parts, cost: 10 * time.Second},
		func(ctx context.Context, dir string) error {
			parts, err := b.nodeParts(ctx, r)
			if err != nil {
				return err
			}
			return parts.fillStore(ctx, work, dir)
		})
	return &step{
		name: "make the node image", needs: append(parts, store), cost: 15 * time.Second,
		run: func(ctx context.Context) error { return b.loadNode(ctx, r) },
	}
}

// nodeParts are the folders that a node image is put together from.
type nodeParts struct {
	root                                              string // Debian's root.tar
	kind                                              string // images/base/files of kind's module
	kubernetes, containerd, etcd, coredns, cni, pause string // programs
	store                                             string // containerd's folder with the cluster's images
}

func (b builder) nodeParts(ctx context.Context, r nodeRecipe) (nodeParts, error) {
	kind, err := downloadModule(ctx, b.cache.work(), "sigs.k8s.io/kind@"+kindVersion)
	return nodeParts{
		root:       b.cache.path(r.debian, rootTar),
		kind:       filepath.Join(kind.Dir, "images", "base", "files"),
		kubernetes: b.cache.path(r.programs["Kubernetes"]),
		containerd: b.cache.path(r.programs["containerd"]),
		etcd:       b.cache.path(r.programs["etcd"]),
		coredns:    b.cache.path(r.programs["CoreDNS"]),
		cni:        b.cache.path(r.programs["CNI plugins"]),
		pause:      b.cache.path(r.pause),
		store:      b.cache.path(r.store),
	}, err
}

func (b builder) loadNode(ctx context.Context, r nodeRecipe) error {
	parts, err := b.nodeParts(ctx, r)
	if err != nil {
		return err
	}
	run := v1.Config{
		Entrypoint: []string{"/usr/local/bin/entrypoint", "/sbin/init"},
		// systemd looks at this to see that it is in a container.
		Env: []string{defaultPath, "container=docker"},
		// systemd ends on this; on SIGTERM it starts itself again.
		StopSignal: "SIGRTMIN+3",
		Labels:     map[string]string{builtLabel: r.tag},
	}
	write := func(w *tar.Writer) error { return parts.writeNode(ctx, w) }
	if err := b.load(ctx, nodeImage().ours, run, write); err != nil {
		return err
	}
	return b.removeOlder(ctx, builtLabel, r.tag, r.store) // what was compiled stays: it took minutes
}

// nodeModule is a Go module whose programs go into the node image.
type nodeModule struct {
	name     string
	module   string
	version  string
	packages []string // below the module; "" is its root
	tags     string
	ldflags  string
	// binary names the program of a root package, which go build would name after the last element
	// of its path.
	binary string
	// staged says that the module replaces others by folders of its own, which no module has, and
	// which are published under this version.
	staged string
	cost   time.Duration // to compile, on two cores
}

// nodeModules are what the node image is made of, besides Debian and kind's files. Their costs were
// measured on two cores without Go's caches.
func nodeModules() []nodeModule {
	return []nodeModule{
		{
			name: "Kubernetes", module: "k8s.io/kubernetes", version: kubernetesVersion, staged: stagingVersion(),
			packages: []string{
				"cmd/kube-apiserver", "cmd/kube-controller-manager", "cmd/kube-scheduler", "cmd/kube-proxy", "cmd/kubelet",
				"cmd/kubeadm", "cmd/kubectl",
			},
			ldflags: kubernetesLinkerFlags(), cost: 8 * time.Minute,
		},
		{
			name: "CoreDNS", module: "github.com/coredns/coredns", version: corednsVersion, packages: []string{""},
			binary: "coredns", cost: 110 * time.Second,
		},
		{
			name: "containerd", module: "github.com/containerd/containerd/v2", version: containerdVersion,
			packages: []string{"cmd/containerd", "cmd/containerd-shim-runc-v2", "cmd/ctr"},
			tags:     "no_aufs,no_zfs,no_btrfs,no_devmapper", // as in kind's Dockerfile
			ldflags:  "-X github.com/containerd/containerd/v2/version.Version=" + containerdVersion,
			cost:     60 * time.Second,
		},
		{
			name: "etcd", module: "go.etcd.io/etcd/server/v3", version: etcdVersion, packages: []string{""}, binary: "etcd",
			cost: 45 * time.Second,
		},
		{
			name: "CNI plugins", module: "github.com/containernetworking/plugins", version: cniVersion,
			packages: []string{
				"plugins/main/ptp", "plugins/ipam/host-local", "plugins/main/loopback", "plugins/meta/portmap",
			},
			cost: 15 * time.Second,
		},
	}
}

// kubernetesLinkerFlags gives the programs the version that they report. Without, they report
// v0.0.0-master.
func kubernetesLinkerFlags() string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := []string{"-X k8s.io/kubectl/pkg/version.gitVersion=" + kubernetesVersion}
	for _, p := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X "+p+".gitVersion="+kubernetesVersion,
			"-X "+p+".gitMajor="+major,
			"-X "+p+".gitMinor="+minor,
			"-X "+p+".gitTreeState=clean",
			"-X "+p+".buildDate="+buildDate)
	}
	return strings.Join(flags, " ")
}

// artifact is the folder of the module's programs.
func (m nodeModule) artifact() artifact {
	return newArtifact(strings.ReplaceAll(strings.ToLower(m.name), " ", "-")+"-"+m.version, nil,
		runtime.GOARCH, m.module, m.version, strings.Join(m.packages, " "), m.tags, m.ldflags, m.binary, m.staged,
		stripped, noDebugInfo, strings.Join(goEnv(), " "))
}

func (m nodeModule) build(dir string) goBuild {
	b := goBuild{dir: dir, tags: m.tags, ldflags: m.ldflags}
	for _, p := range m.packages {
		b.packages = append(b.packages, path.Join(m.module, p))
	}
	return b
}

// fetch writes a module that requires this one into the build's folder, and downloads what its
// programs are made of.
func (m nodeModule) fetch(ctx context.Context, build goBuild) error {
	mod := fmt.Sprintf("module nodeimage\n\ngo 1.26.0\n\nrequire %s %s\n", m.module, m.version)
	if m.staged != "" {
		replacements, err := m.stagedReplacements(ctx, filepath.Dir(build.dir))
		if err != nil {
			return err
		}
		mod += replacements
	}
	if err := writeModule(build.dir, map[string]string{"go.mod": mod}); err != nil {
		return err
	}
	return build.download(ctx)
}

// writeModule writes the files of a module into dir.
func writeModule(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stagedReplacements gives each module that the module's go.mod replaces by a folder of its own in
// its published version.
func (m nodeModule) stagedReplacements(ctx context.Context, dir string) (string, error) {
	download, err := downloadModule(ctx, dir, m.module+"@"+m.version)
	if err != nil {
		return "", err
	}
	out, err := command{dir: dir, env: goEnv()}.output(ctx, "go", "mod", "edit", "-json", download.GoMod)
	if err != nil {
		return "", err
	}
	var mod struct {
		Require []struct{ Path string }
		Replace []struct{ Old, New struct{ Path string } }
	}
	if err := json.Unmarshal([]byte(out), &mod); err != nil {
		return "", fmt.Errorf("read %s's go.mod: %w", m.module, err)
	}
	required := map[string]bool{}
	for _, r := range mod.Require {
		required[r.Path] = true
	}
	var lines strings.Builder
	for _, r := range mod.Replace {
		if !strings.HasPrefix(r.New.Path, "./staging/") {
			continue
		}
		fmt.Fprintf(&lines, "replace %s => %[1]s %s\n", r.Old.Path, m.staged)
		if required[r.Old.Path] {
			// Or the programs would report that they were made of its version v0.0.0.
			fmt.Fprintf(&lines, "require %s %s\n", r.Old.Path, m.staged)
		}
	}
	if lines.Len() == 0 {
		return "", fmt.Errorf("%s %s replaces no module by a folder below ./staging", m.module, m.version)
	}
	return "\n" + lines.String(), nil
}

// compilePause makes the program of the pause image, from the source in this program.
func compilePause(ctx context.Context, dir, bin string) error {
	files := map[string]string{"go.mod": "module pause\n\ngo 1.26.0\n", "main.go": pauseSource}
	if err := writeModule(dir, files); err != nil {
		return err
	}
	return goBuild{dir: dir, packages: []string{"."}}.compile(ctx, filepath.Join(bin, "pause"))
}
