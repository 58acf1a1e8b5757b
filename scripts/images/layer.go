package main

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// newImage is a container image of one layer.
func newImage(l layer, run v1.Config) (v1.Image, error) {
	created, err := time.Parse(time.RFC3339, buildDate)
	if err != nil {
		return nil, err
	}
	config := &v1.ConfigFile{
		Created: v1.Time{Time: created}, Architecture: runtime.GOARCH, OS: "linux", Config: run,
		RootFS: v1.RootFS{Type: "layers"},
	}
	base, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		return nil, err
	}
	history := v1.History{Created: config.Created, CreatedBy: "zerodrop scripts/images"}
	return mutate.Append(base, mutate.Addendum{Layer: l, History: history})
}

// layer is an image's file system, a v1.Layer of an uncompressed tar file of this machine.
// Compressing the file would cost more time, at the build and at each node's start, than the disk
// space is worth.
type layer struct {
	path   string
	size   int64
	digest v1.Hash
}

func (l layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l layer) DiffID() (v1.Hash, error)             { return l.digest, nil }
func (l layer) Size() (int64, error)                 { return l.size, nil }
func (l layer) MediaType() (types.MediaType, error)  { return types.DockerUncompressedLayer, nil }
func (l layer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l layer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }

// writeLayer makes a layer at path. fill writes its entries.
func writeLayer(path string, fill func(*tar.Writer) error) (layer, error) {
	f, err := os.Create(path)
	if err != nil {
		return layer{}, err
	}
	defer f.Close()
	buffer := bufio.NewWriterSize(f, 1<<20)
	w := tar.NewWriter(buffer)
	if err := fill(w); err != nil {
		return layer{}, err
	}
	if err := errors.Join(w.Close(), buffer.Flush()); err != nil {
		return layer{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return layer{}, err
	}
	digest, size, err := v1.SHA256(f)
	return layer{path: path, size: size, digest: digest}, err
}

// file is one entry of a layer. One of content, source and link says what it is; with none of them
// it is a folder.
type file struct {
	path    string // in the image, without a leading slash
	mode    int64
	content []byte
	source  string // a file of this machine
	link    string // the target of a symbolic link
}

func (f file) isFolder() bool { return f.content == nil && f.source == "" && f.link == "" }

// addFiles writes the files and the folders above them, except for folders in known, which the
// layer has already.
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
	header := &tar.Header{Name: f.path, Mode: f.mode, Typeflag: tar.TypeReg}
	content := f.content
	switch {
	case f.link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.link, 0o777
	case f.source != "":
		var err error
		if content, err = os.ReadFile(f.source); err != nil {
			return err
		}
	case f.isFolder():
		header.Typeflag, header.Name = tar.TypeDir, f.path+"/"
	}
	header.Size = int64(len(content))
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// folder lists the files of a folder of this machine as they are to be in the image below target.
// mode gives each its permissions.
func folder(root, target string, mode func(name string) int64) ([]file, error) {
	var list []file
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		to := path.Join(target, name)
		switch {
		case err != nil:
			return err
		case to == ".":
		case entry.IsDir():
			list = append(list, file{path: to, mode: 0o755})
		default:
			list = append(list, file{path: to, mode: mode(to), source: path.Join(root, name)})
		}
		return nil
	})
	return list, err
}

// copyTar copies those entries of the tar file at from that want accepts, and returns their names.
// want gets names without a leading "./" and without a closing slash.
func copyTar(w *tar.Writer, from string, want func(name string, header *tar.Header) bool) (map[string]bool, error) {
	names := map[string]bool{}
	err := readTar(from, func(name string, header *tar.Header, content io.Reader) error {
		if name == "." || !want(name, header) {
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
