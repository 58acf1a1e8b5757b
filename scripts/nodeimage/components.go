package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// component is a Go module whose programs go into the node image.
type component struct {
	name     string
	module   string
	version  string
	packages []string // below the module; "" is its root
	tags     string
	ldflags  string
	// binary names the program of a root package, which go build would name after the last element of its path.
	binary string
	// staged says that the module replaces others by folders of its own, which no module has, and which are published under this version.
	staged string
	cost   time.Duration // to compile, on two cores
}

// Symbol tables and debug information aren't even made: nobody looks at them in a node, and without them compiling takes a tenth less.
const (
	stripped    = "-s -w"
	noDebugInfo = "-gcflags=all=-dwarf=false"
)

// components are what the node image is made of, besides Debian and kind's files. Their costs were measured on two cores without Go's caches.
func components() []component {
	return []component{
		{
			name: "Kubernetes", module: "k8s.io/kubernetes", version: kubernetesVersion, staged: stagingVersion(),
			packages: []string{
				"cmd/kube-apiserver", "cmd/kube-controller-manager", "cmd/kube-scheduler", "cmd/kube-proxy", "cmd/kubelet", "cmd/kubeadm", "cmd/kubectl",
			},
			ldflags: kubernetesLinkerFlags(), cost: 8 * time.Minute,
		},
		{
			name: "CoreDNS", module: "github.com/coredns/coredns", version: corednsVersion, packages: []string{""}, binary: "coredns",
			cost: 110 * time.Second,
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
			packages: []string{"plugins/main/ptp", "plugins/ipam/host-local", "plugins/main/loopback", "plugins/meta/portmap"},
			cost:     15 * time.Second,
		},
	}
}

// kubernetesLinkerFlags gives the programs the version that they report. Without, they say v0.0.0-master.
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

// artifact is the folder of the component's programs.
func (c component) artifact() artifact {
	return newArtifact(strings.ReplaceAll(strings.ToLower(c.name), " ", "-")+"-"+c.version, nil,
		runtime.GOARCH, c.module, c.version, strings.Join(c.packages, " "), c.tags, c.ldflags, c.binary, c.staged, stripped, noDebugInfo, strings.Join(goEnv(), " "))
}

// programs are the names of the files in the artifact.
func (c component) programs() []string {
	if c.binary != "" {
		return []string{c.binary}
	}
	names := make([]string, len(c.packages))
	for i, p := range c.packages {
		names[i] = path.Base(p)
	}
	return names
}

func (c component) imports() []string {
	list := make([]string, len(c.packages))
	for i, p := range c.packages {
		list[i] = path.Join(c.module, p)
	}
	return list
}

// goEnv makes static programs, whatever the user's own settings for Go are. The module and build caches stay the user's.
func goEnv() []string {
	return []string{"CGO_ENABLED=0", "GO111MODULE=on", "GOWORK=off", "GOFLAGS=-mod=mod -buildvcs=false", "GOOS=linux"}
}

// fetch writes a module that requires the component into dir, and downloads what its programs are made of: this is the part that waits
// for the network.
func (c component) fetch(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mod := fmt.Sprintf("module nodeimage\n\ngo 1.26.0\n\nrequire %s %s\n", c.module, c.version)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	if c.staged != "" {
		replacements, err := c.stagedReplacements(ctx, dir)
		if err != nil {
			return err
		}
		mod += replacements
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
			return err
		}
	}
	// Not `go mod download` or `go mod tidy`: those get the modules of tests, too.
	args := append([]string{"list", "-deps", "-tags=" + c.tags}, c.imports()...)
	return command{dir: dir, env: goEnv(), discard: true}.run(ctx, "go", args...)
}

// stagedReplacements gives each module that the component's go.mod replaces by a folder of its own in its published version.
func (c component) stagedReplacements(ctx context.Context, dir string) (string, error) {
	download, err := downloadModule(ctx, dir, c.module, c.version)
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
		return "", fmt.Errorf("read %s's go.mod: %w", c.module, err)
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
		fmt.Fprintf(&lines, "replace %s => %[1]s %s\n", r.Old.Path, c.staged)
		if required[r.Old.Path] {
			// Or the programs would say that they were made of its version v0.0.0.
			fmt.Fprintf(&lines, "require %s %s\n", r.Old.Path, c.staged)
		}
	}
	if lines.Len() == 0 {
		return "", fmt.Errorf("%s %s replaces no module by a folder below ./staging: its layout has changed", c.module, c.version)
	}
	return "\n" + lines.String(), nil
}

// compile makes the programs in bin from the module in dir. Its temporary files are in dir, too: there the next run finds and removes what a
// killed one left.
func (c component) compile(ctx context.Context, dir, bin string) error {
	target := bin + "/"
	if c.binary != "" {
		target = filepath.Join(bin, c.binary)
	}
	args := []string{"build", "-trimpath", noDebugInfo, "-tags=" + c.tags, "-ldflags=" + strings.TrimSpace(stripped+" "+c.ldflags), "-o=" + target}
	args = append(args, c.imports()...)
	if err := (command{dir: dir, env: append(goEnv(), "GOTMPDIR="+dir)}).run(ctx, "go", args...); err != nil {
		return err
	}
	for _, name := range c.programs() {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("go build made no %s: %w", name, err)
		}
	}
	return nil
}

type moduleDownload struct{ Dir, GoMod, Error string }

// downloadModule has the module in Go's module cache.
func downloadModule(ctx context.Context, dir, module, version string) (moduleDownload, error) {
	var download moduleDownload
	out, err := command{dir: dir, env: goEnv()}.output(ctx, "go", "mod", "download", "-json", module+"@"+version)
	jsonErr := json.Unmarshal([]byte(out), &download)
	switch {
	case download.Error != "": // the reason of a failure is in what it prints
		return download, fmt.Errorf("download %s: %s", module, download.Error)
	case err != nil:
		return download, err
	case jsonErr != nil:
		return download, fmt.Errorf("read what go mod download says of %s: %w", module, jsonErr)
	}
	return download, nil
}

// compilePause makes the program of the pause image, from the source in this program.
func compilePause(ctx context.Context, dir, bin string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range map[string]string{"go.mod": "module pause\n\ngo 1.26.0\n", "main.go": pauseSource} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return command{dir: dir, env: goEnv()}.run(ctx, "go", "build", "-trimpath", noDebugInfo, "-ldflags="+stripped, "-o="+filepath.Join(bin, "pause"), ".")
}
