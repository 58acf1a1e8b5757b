package userapp

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxDocument is more than any manifest or configuration of an image has; layers are longer, mostly.
const maxDocument = 4 << 20

// Annotations of an OCI index that name its images.
const (
	refAnnotation        = "org.opencontainers.image.ref.name"
	containerdAnnotation = "io.containerd.image.name"
)

// ReadArchive reads which images an archive has, as docker save or a builder of OCI images writes it, in their
// full names. Nodes of the architecture have to run them.
func ReadArchive(file, architecture string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the archive of images: %w", err)
	}
	defer f.Close()
	documents, err := readDocuments(f)
	if err != nil {
		return nil, fmt.Errorf("read the archive of images %s: %w: want what docker save writes, or an OCI archive", file,
			err)
	}
	images, err := documents.images()
	if err != nil {
		return nil, fmt.Errorf("read the archive of images %s: %w", file, err)
	}
	var names, others []string
	for _, i := range images {
		if i.architecture != architecture {
			others = append(others, i.architecture)
		} else if !slices.Contains(names, i.name) {
			names = append(names, i.name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the archive of images %s is for %s, and the nodes are %s: build it with --platform linux/%s",
			file, slices.Compact(slices.Sorted(slices.Values(others))), architecture, architecture)
	}
	return names, nil
}

// documents are the JSON documents of an archive, by their names in it.
type documents map[string][]byte

func readDocuments(r io.Reader) (documents, error) {
	out := documents{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg || header.Size > maxDocument {
			continue
		}
		raw, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		if json.Valid(raw) {
			out[path.Clean(header.Name)] = raw
		}
	}
}

func (d documents) read(name string, into any) error {
	raw, ok := d[name]
	if !ok {
		return fmt.Errorf("has no %s", name)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// archived is an image of an archive.
type archived struct{ name, architecture string }

// images are those of a docker archive, or of an OCI one.
func (d documents) images() ([]archived, error) {
	var saved []struct {
		Config   string
		RepoTags []string
	}
	if _, ok := d["manifest.json"]; !ok {
		return d.indexed()
	}
	if err := d.read("manifest.json", &saved); err != nil {
		return nil, err
	}
	var out []archived
	for _, image := range saved {
		var config v1.ConfigFile
		if err := d.read(path.Clean(image.Config), &config); err != nil {
			return nil, err
		}
		for _, tag := range image.RepoTags {
			out = append(out, archived{fullName(tag), config.Architecture})
		}
	}
	return named(out)
}

// indexed are the images of an OCI archive's index, and of indexes in it.
func (d documents) indexed() ([]archived, error) {
	var index v1.IndexManifest
	if err := d.read("index.json", &index); err != nil {
		return nil, fmt.Errorf("%w and no manifest.json", err)
	}
	var out []archived
	var add func(list []v1.Descriptor, name string) error
	add = func(list []v1.Descriptor, name string) error {
		for _, m := range list {
			called := name
			for _, key := range []string{refAnnotation, containerdAnnotation} { // the latter is whole
				if text := m.Annotations[key]; text != "" {
					called = text
				}
			}
			blob := path.Join("blobs", m.Digest.Algorithm, m.Digest.Hex)
			if m.MediaType.IsIndex() {
				var inner v1.IndexManifest
				if err := d.read(blob, &inner); err != nil {
					return err
				}
				if err := add(inner.Manifests, called); err != nil {
					return err
				}
				continue
			}
			var manifest v1.Manifest
			if d.read(blob, &manifest) != nil {
				continue // of another platform, whose blobs needn't be there
			}
			var config v1.ConfigFile
			err := d.read(path.Join("blobs", manifest.Config.Digest.Algorithm, manifest.Config.Digest.Hex), &config)
			if err != nil {
				return err
			}
			if called != "" && config.Architecture != "" { // without it is an attestation
				out = append(out, archived{fullName(called), config.Architecture})
			}
		}
		return nil
	}
	if err := add(index.Manifests, ""); err != nil {
		return nil, err
	}
	return named(out)
}

func named(images []archived) ([]archived, error) {
	if len(images) == 0 {
		return nil, errors.New("has no image with a name: save it by name, as in docker save NAME:TAG")
	}
	return images, nil
}

// fullName is an image's name with its registry and tag, as a node has it.
func fullName(image string) string {
	ref, err := name.ParseReference(image)
	if err != nil {
		return image
	}
	return ref.Name()
}
