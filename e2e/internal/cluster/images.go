package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
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

// loadImages builds the images of the app and of the workers and loads them into all nodes at once;
// that of the workers also into the engine, for the client.
func (k *kindCluster) loadImages(ctx context.Context) error {
	all, err := k.provider.ListInternalNodes(k.name())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	if len(all) == 0 {
		return fmt.Errorf("list nodes: kind cluster %s has none", k.name())
	}
	var app, loadgen []byte
	var builds errgroup.Group
	builds.Go(func() (err error) { app, err = build(ctx, appPackage); return err })
	builds.Go(func() (err error) { loadgen, err = build(ctx, loadPackage); return err })
	if err := builds.Wait(); err != nil {
		return err
	}
	var loads errgroup.Group
	loads.Go(func() error { return load(ctx, all, app, loadgen) })
	loads.Go(func() error { return k.loadClient(ctx, loadgen) })
	return loads.Wait()
}

// loadArchive loads the images of a file into all nodes; without one it does nothing.
func (k *kindCluster) loadArchive(file string) error {
	if file == "" {
		return nil
	}
	all, err := k.provider.ListInternalNodes(k.name())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	var loads errgroup.Group
	for _, node := range all {
		loads.Go(func() error {
			archive, err := os.Open(file)
			if err != nil {
				return fmt.Errorf("load the images of %s: %w", file, err)
			}
			defer archive.Close()
			if err := nodeutils.LoadImageArchive(node, archive); err != nil {
				return fmt.Errorf("load the images of %s into node %s: %w", file, node, err)
			}
			return nil
		})
	}
	return loads.Wait()
}

// loadClient loads the image of the client, unless the engine has it: its tag says what is in it.
func (k *kindCluster) loadClient(ctx context.Context, loadgen []byte) error {
	k.clientImage = fmt.Sprintf("localhost/zerodrop-client:%.6x", sha256.Sum256(loadgen))
	if _, err := k.engine(ctx, nil, "image", "inspect", k.clientImage); err == nil {
		return nil
	}
	archive, err := imageArchive(program{k.clientImage, "loadgen", loadgen, nil})
	if err == nil {
		_, err = k.engine(ctx, bytes.NewReader(archive), "load")
	}
	if err != nil {
		return fmt.Errorf("load the image of the client: %w", err)
	}
	return nil
}

func load(ctx context.Context, all []nodes.Node, app, loadgen []byte) error {
	shell, err := shellOf(ctx, all[0])
	if err != nil {
		return err
	}
	archive, err := imageArchive(
		program{fixtures.StaticImage, "sampleapp", app, nil},
		program{fixtures.ShellImage, "sampleapp", app, shell},
		program{fixtures.LoadImage, "loadgen", loadgen, nil},
	)
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

// program is what an image consists of.
type program struct {
	ref, name string
	binary    []byte
	beside    []byte // tar archive of what there is beside it; nil for nothing
}

// imageArchive is a Docker archive of an image for each program.
func imageArchive(programs ...program) ([]byte, error) {
	images := map[name.Reference]v1.Image{}
	for _, p := range programs {
		layer, err := tarOf(p.name, p.binary)
		if err != nil {
			return nil, err
		}
		layers := [][]byte{layer}
		if p.beside != nil {
			layers = append(layers, p.beside)
		}
		img, err := image("/"+p.name, layers...)
		if err != nil {
			return nil, err
		}
		tag, err := name.NewTag(p.ref)
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
