package userapp

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// archive writes files into a tar archive, in the order given: name, content, name, content.
func archive(t *testing.T, files ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	w := tar.NewWriter(f)
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		_, err := w.Write([]byte(files[i+1]))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return path
}

// TestReadArchive: the images of what docker save writes, and of an OCI archive; one for other nodes is refused.
func TestReadArchive(t *testing.T) {
	oci := func(arch string) []string {
		const a, b, c = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
		return []string{
			"oci-layout", `{"imageLayoutVersion": "1.0.0"}`,
			"blobs/sha256/" + c, `{"architecture": "` + arch + `", "os": "linux"}`,
			"blobs/sha256/" + b, `{"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:` + c + `", "size": 1}}`,
			"blobs/sha256/" + a, `{"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:` + b + `", "size": 1}]}`,
			"index.json", `{"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:` + a + `", "size": 1,
				"annotations": {"org.opencontainers.image.ref.name": "1.4", "io.containerd.image.name": "registry.example/shop:1.4"}}]}`,
		}
	}
	saved := func(arch string) []string {
		return []string{
			"config.json", `{"architecture": "` + arch + `"}`, "layer.tar", "no JSON",
			"manifest.json", `[{"Config": "config.json", "RepoTags": ["shop:1.4", "registry.example/shop:1.4"]}]`,
		}
	}
	tests := []struct {
		name  string
		files []string
		want  []string
		err   string
	}{
		{"docker save", saved("amd64"), []string{"index.docker.io/library/shop:1.4", "registry.example/shop:1.4"}, ""},
		{"OCI", oci("amd64"), []string{"registry.example/shop:1.4"}, ""},
		{"docker save, of another architecture", saved("arm64"), nil, "is for [arm64], and the nodes are amd64: build it with --platform linux/amd64"},
		{"OCI, of another architecture", oci("arm64"), nil, "is for [arm64], and the nodes are amd64"},
		{"without a name", []string{"config.json", `{"architecture": "amd64"}`, "manifest.json", `[{"Config": "config.json"}]`}, nil, "has no image with a name"},
		{"of something else", []string{"README.md", "# shop"}, nil, "has no index.json and no manifest.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadArchive(archive(t, tt.files...), "amd64")
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	_, err := ReadArchive(filepath.Join(t.TempDir(), "none.tar"), "amd64")
	require.ErrorContains(t, err, "read the archive of images: open ")
	text := filepath.Join(t.TempDir(), "text.tar")
	require.NoError(t, os.WriteFile(text, []byte("no archive at all, but a text that is long enough"), 0o600))
	_, err = ReadArchive(text, "amd64")
	require.ErrorContains(t, err, "want what docker save writes, or an OCI archive")
}
