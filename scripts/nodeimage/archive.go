package main

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
)

// file is one entry that goes into an image. One of content, source and link says what it is; none of them makes it a folder.
type file struct {
	path    string // in the image, without a leading slash
	mode    int64
	content []byte
	source  string // a file of this machine
	link    string // a symbolic link to this
}

func (f file) isFolder() bool { return f.content == nil && f.source == "" && f.link == "" }

// layer is an image's file system, as an uncompressed tar file of this machine: compressing it would cost more time, at the build and
// at each node's start, than the disk space is worth.
type layer struct {
	path   string
	digest string // of the tar file
}

// writeLayer makes a layer at path. fill writes its entries.
func writeLayer(path string, fill func(*tar.Writer) error) (layer, error) {
	f, err := os.Create(path)
	if err != nil {
		return layer{}, err
	}
	defer f.Close()
	sum := sha256.New()
	buffer := bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<20)
	w := tar.NewWriter(buffer)
	if err := fill(w); err != nil {
		return layer{}, err
	}
	if err := errors.Join(w.Close(), buffer.Flush(), f.Close()); err != nil {
		return layer{}, err
	}
	return layer{path: path, digest: "sha256:" + hex.EncodeToString(sum.Sum(nil))}, nil
}

// addFiles writes the files and the folders above them, except for folders in known: those that are there already.
func addFiles(w *tar.Writer, files []file, known map[string]bool) error {
	for _, f := range files {
		if f.isFolder() && known[f.path] {
			continue
		}
		if err := addParents(w, path.Dir(f.path), known); err != nil {
			return err
		}
		if err := addFile(w, f); err != nil {
			return fmt.Errorf("add /%s to the image: %w", f.path, err)
		}
		known[f.path] = true
	}
	return nil
}

func addParents(w *tar.Writer, dir string, known map[string]bool) error {
	if dir == "." || known[dir] {
		return nil
	}
	if err := addParents(w, path.Dir(dir), known); err != nil {
		return err
	}
	known[dir] = true
	return addFile(w, file{path: dir, mode: 0o755})
}

func addFile(w *tar.Writer, f file) error {
	header := &tar.Header{Name: f.path, Mode: f.mode, Typeflag: tar.TypeReg, Size: int64(len(f.content))}
	switch {
	case f.link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.link, 0o777
	case f.source != "":
		return addSource(w, f.source, header)
	case f.isFolder():
		header.Typeflag, header.Name = tar.TypeDir, f.path+"/"
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(f.content)
	return err
}

func addSource(w *tar.Writer, source string, header *tar.Header) error {
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, from)
	return err
}

// folder lists the files of a folder of this machine as they shall be in the image below target. mode gives each its permissions.
func folder(files fs.FS, root, target string, mode func(name string) int64) ([]file, error) {
	var list []file
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := path.Join(target, name)
		if to == "." {
			return nil
		}
		if entry.IsDir() {
			list = append(list, file{path: to, mode: 0o755})
		} else {
			list = append(list, file{path: to, mode: mode(to), source: path.Join(root, name)})
		}
		return nil
	})
	return list, err
}

// copyTar copies the entries of the tar file at from for which keep says so, and returns their names. keep gets names without a leading
// "./" or a closing slash.
func copyTar(w *tar.Writer, from string, keep func(name string, header *tar.Header) bool) (map[string]bool, error) {
	names := map[string]bool{}
	err := readTar(from, func(name string, header *tar.Header, content io.Reader) error {
		if name == "." || !keep(name, header) {
			return nil
		}
		names[name] = true
		header.Name = strings.TrimPrefix(header.Name, "./")
		if header.Typeflag == tar.TypeLink {
			header.Linkname = strings.TrimPrefix(header.Linkname, "./")
		}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(w, content)
		return err
	})
	return names, err
}

func readTar(from string, visit func(name string, header *tar.Header, content io.Reader) error) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	r := tar.NewReader(bufio.NewReaderSize(f, 1<<20))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", from, err)
		}
		if err := visit(path.Clean(header.Name), header, r); err != nil {
			return err
		}
	}
}

// image is a container image of one layer.
type image struct {
	name  string // with its tag
	layer layer
	run   runConfig
}

// runConfig is what a container of the image starts with, by the names of the image format.
type runConfig struct {
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Env        []string          `json:"Env,omitempty"`
	StopSignal string            `json:"StopSignal,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

// writeArchive writes the images in the format of `docker save`, which `docker load` and `ctr images import` read.
func writeArchive(out io.Writer, images []image) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	w := tar.NewWriter(out)
	var manifest []entry
	for _, i := range images {
		config, err := json.Marshal(map[string]any{
			"created":      buildDate,
			"architecture": runtime.GOARCH,
			"os":           "linux",
			"config":       i.run,
			"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{i.layer.digest}},
			"history":      []map[string]string{{"created_by": "zerodrop scripts/nodeimage"}},
		})
		if err != nil {
			return err
		}
		sum := sha256.Sum256(config)
		e := entry{
			Config:   hex.EncodeToString(sum[:]) + ".json",
			RepoTags: []string{i.name},
			Layers:   []string{strings.TrimPrefix(i.layer.digest, "sha256:") + "/layer.tar"},
		}
		manifest = append(manifest, e)
		layerFile := file{path: e.Layers[0], mode: 0o644, source: i.layer.path}
		if err := addFiles(w, []file{{path: e.Config, mode: 0o644, content: config}, layerFile}, map[string]bool{}); err != nil {
			return fmt.Errorf("write the archive of %s: %w", i.name, err)
		}
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	if err := addFile(w, file{path: "manifest.json", mode: 0o644, content: content}); err != nil {
		return fmt.Errorf("write the archive's manifest: %w", err)
	}
	return w.Close()
}
