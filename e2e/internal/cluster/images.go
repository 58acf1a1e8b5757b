package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/zerodrop/zerodrop/fixtures"
)

// The programs that run in the cluster.
const (
	appPackage  = "github.com/zerodrop/zerodrop/sampleapp"
	loadPackage = "github.com/zerodrop/zerodrop/e2e/loadgen"
)

// loadImages builds the images of the app and of the workers and loads them into all nodes at once.
func (k *kindCluster) loadImages(ctx context.Context) error {
	all, err := k.provider.ListInternalNodes(clusterName)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	if len(all) == 0 {
		return fmt.Errorf("list nodes: kind cluster %s has none", clusterName)
	}
	var app, loadgen []byte
	var builds errgroup.Group
	builds.Go(func() (err error) { app, err = build(ctx, appPackage); return err })
	builds.Go(func() (err error) { loadgen, err = build(ctx, loadPackage); return err })
	if err := builds.Wait(); err != nil {
		return err
	}
	return load(ctx, all, app, loadgen)
}

func load(ctx context.Context, all []nodes.Node, app, loadgen []byte) error {
	shell, err := shellOf(ctx, all[0])
	if err != nil {
		return err
	}
	archive, err := imageArchive(app, loadgen, shell)
	if err != nil {
		return fmt.Errorf("put the images together: %w", err)
	}
	var loads errgroup.Group
	for _, node := range all {
		loads.Go(func() error {
			if err := nodeutils.LoadImageArchive(node, bytes.NewReader(archive)); err != nil {
				return fmt.Errorf("load the images into node %s: %w", node, err)
			}
			return nil
		})
	}
	return loads.Wait()
}

// build compiles a program as one static binary for the nodes, which have the architecture of this
// machine.
func build(ctx context.Context, program string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "zerodrop-")
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", program, err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "program")
	compile := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, program)
	compile.Env = append(
		os.Environ(),
		"CGO_ENABLED=0",
		"GOOS=linux",
		"GOARCH="+runtime.GOARCH,
		"GOFLAGS=-buildvcs=false",
	)
	if out, err := compile.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w: %s", program, err, out)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", program, err)
	}
	return binary, nil
}

// listShell prints the files that sh and sleep consist of: the programs and the libraries they are
// linked with.
const listShell = `for p in /bin/sh /bin/sleep; do echo "$p"; ldd "$p" | grep -o '/[^ ]*'; done | sort -u`

// shellOf takes a shell and sleep, with their libraries, from a node, as a tar archive. Every kind
// node is a Debian, so this gives a real shell on any machine, without a registry and without a
// package manager.
func shellOf(ctx context.Context, node nodes.Node) ([]byte, error) {
	var out, errs bytes.Buffer
	tarShell := node.CommandContext(ctx, "sh", "-c", "tar --create --dereference --owner=0 --group=0 $("+listShell+")")
	if err := tarShell.SetStdout(&out).SetStderr(&errs).Run(); err != nil {
		return nil, fmt.Errorf("take a shell from node %s: %w: %s", node, err, errs.String())
	}
	return out.Bytes(), nil
}

// imageArchive is a Docker archive of three images: the app alone, the app with a shell, and the
// worker.
func imageArchive(app, loadgen, shell []byte) ([]byte, error) {
	images := map[name.Reference]v1.Image{}
	for _, content := range []struct {
		ref, program string
		binary       []byte
		layers       [][]byte // on top of it
	}{
		{fixtures.StaticImage, "sampleapp", app, nil},
		{fixtures.ShellImage, "sampleapp", app, [][]byte{shell}},
		{fixtures.LoadImage, "loadgen", loadgen, nil},
	} {
		layer, err := tarOf(content.program, content.binary)
		if err != nil {
			return nil, err
		}
		img, err := image("/"+content.program, append([][]byte{layer}, content.layers...)...)
		if err != nil {
			return nil, err
		}
		tag, err := name.NewTag(content.ref)
		if err != nil {
			return nil, err
		}
		images[tag] = img
	}
	var archive bytes.Buffer
	if err := tarball.MultiRefWrite(images, &archive); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}

func image(entrypoint string, layers ...[]byte) (v1.Image, error) {
	img := empty.Image
	for _, raw := range layers {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
		layer, err := tarball.LayerFromOpener(open)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.Entrypoint = []string{entrypoint}
	file.Config.Env = []string{"PATH=/bin"}
	file.Config.User = "65532:65532"
	return mutate.ConfigFile(img, file)
}

// tarOf is an archive of one program.
func tarOf(path string, content []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(content))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	return out.Bytes(), w.Close()
}
