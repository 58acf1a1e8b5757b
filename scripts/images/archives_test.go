package main

import (
	"archive/tar"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestArchives: one image for every architecture, as a registry takes it, and nothing beside it.
func TestArchives(t *testing.T) {
	root, dir := t.TempDir(), filepath.Join(t.TempDir(), "dist")
	require.NoError(t, writeModule(filepath.Join(root, "program"), map[string]string{"main.go": "package main\n\nfunc main() {}\n"}))
	require.NoError(t, writeModule(root, map[string]string{"go.mod": "module example.com/own\n\ngo 1.26.0\n"}))
	programs := []ownProgram{{"program", "./program"}}
	require.NoError(t, writeArchives(t.Context(), root, dir, programs))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	assert.Equal(t, "program.tar", entries[0].Name())

	files := t.TempDir()
	require.NoError(t, readTar(filepath.Join(dir, "program.tar"), func(name string, header *tar.Header, content io.Reader) error {
		path := filepath.Join(files, filepath.FromSlash(name))
		if header.Typeflag == tar.TypeDir {
			return os.MkdirAll(path, 0o755)
		}
		raw, err := io.ReadAll(content)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		return os.WriteFile(path, raw, 0o644)
	}))
	outer, err := layout.ImageIndexFromPath(files)
	require.NoError(t, err)
	list, err := outer.IndexManifest()
	require.NoError(t, err)
	require.Len(t, list.Manifests, 1)
	index, err := outer.ImageIndex(list.Manifests[0].Digest)
	require.NoError(t, err)
	of, err := index.IndexManifest()
	require.NoError(t, err)
	var got []string
	for _, m := range of.Manifests {
		assert.Equal(t, types.OCIManifestSchema1, m.MediaType)
		image, err := index.Image(m.Digest)
		require.NoError(t, err)
		config, err := image.ConfigFile()
		require.NoError(t, err)
		assert.Equal(t, []string{"/program"}, config.Config.Entrypoint)
		assert.Equal(t, "65532:65532", config.Config.User)
		assert.Equal(t, m.Platform.Architecture, config.Architecture)
		layers, err := image.Layers()
		require.NoError(t, err)
		require.Len(t, layers, 1)
		got = append(got, config.OS+"/"+config.Architecture)
	}
	assert.Equal(t, []string{"linux/amd64", "linux/arm64"}, got)

	broken := []ownProgram{{"nothing", "./nothing"}}
	err = writeArchives(t.Context(), root, dir, broken)
	require.ErrorContains(t, err, "write "+filepath.Join(dir, "nothing.tar")+": for amd64: go build")
	entries, err = os.ReadDir(dir)
	require.NoError(t, err)
	assert.False(t, strings.HasPrefix(entries[0].Name(), "."), "no unfinished work stays")
	assert.Len(t, entries, 1)
}
