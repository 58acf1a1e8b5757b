package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ownProgram is a program of the repository that runs in clusters, in an image of its own.
type ownProgram struct{ name, pkg string }

// ownPrograms are those whose images a cluster that exists has to pull.
var ownPrograms = []ownProgram{{"sampleapp", "./sampleapp"}, {"loadgen", "./e2e/loadgen"}}

// architectures are those that images are pushed for.
var architectures = []string{"amd64", "arm64"}

// writeArchives compiles the programs in the repository at root, and writes an OCI archive of each into dir:
// one image for every architecture, as registries take it. It needs neither Docker nor root.
func writeArchives(ctx context.Context, root, dir string, programs []ownProgram) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range programs {
		file := filepath.Join(dir, p.name+".tar")
		if err := writeArchive(ctx, root, p, file); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
		fmt.Println(p.name, file)
	}
	return nil
}

func writeArchive(ctx context.Context, root string, p ownProgram, target string) error {
	work, err := os.MkdirTemp(filepath.Dir(target), "."+p.name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	var index v1.ImageIndex = empty.Index
	for _, arch := range architectures {
		image, err := ownImage(ctx, root, work, p, arch)
		if err != nil {
			return fmt.Errorf("for %s: %w", arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	// An index within the archive's own: programs that push want one thing in it.
	files := filepath.Join(work, "layout")
	archive, err := layout.Write(files, empty.Index)
	if err == nil {
		err = archive.AppendIndex(index)
	}
	if err != nil {
		return err
	}
	unfinished := filepath.Join(work, "archive.tar")
	if err := tarFolder(files, unfinished); err != nil {
		return err
	}
	return os.Rename(unfinished, target)
}

// ownImage is a program alone in an image, as the suite loads it into kind's nodes.
func ownImage(ctx context.Context, root, work string, p ownProgram, arch string) (v1.Image, error) {
	binary := filepath.Join(work, arch)
	env := append(goEnv(), "GOARCH="+arch, "GOFLAGS=-mod=readonly -buildvcs=false")
	compile := command{dir: root, env: env}
	if err := compile.run(ctx, "go", "build", "-trimpath", "-ldflags="+stripped, "-o="+binary, p.pkg); err != nil {
		return nil, err
	}
	_, err := writeLayer(binary+".tar", func(w *tar.Writer) error {
		return addFiles(w, []file{{path: p.name, mode: 0o755, source: binary}}, map[string]bool{})
	})
	if err != nil {
		return nil, err
	}
	compressed, err := tarball.LayerFromFile(binary+".tar", tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, compressed)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config = v1.Config{Entrypoint: []string{"/" + p.name}, Env: []string{"PATH=/bin"}, User: "65532:65532"}
	return mutate.ConfigFile(image, config)
}

func tarFolder(dir, target string) error {
	f, err := os.Create(target)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	return errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), f.Sync())
}
