package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	kindexec "sigs.k8s.io/kind/pkg/exec"

	"github.com/zerodrop/zerodrop/fixtures"
)

// entry is a file of an archive.
type entry struct {
	Mode    int64
	Type    byte
	Content string
}

func untar(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	files := map[string]entry{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		content, err := io.ReadAll(archive)
		require.NoError(t, err)
		files[header.Name] = entry{header.Mode, header.Typeflag, string(content)}
	}
}

// images reads an archive back as a node's container runtime does: by its tags.
func images(t *testing.T, archive []byte) map[string]v1.Image {
	t.Helper()
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }
	manifest, err := tarball.LoadManifest(opener)
	require.NoError(t, err)
	out := map[string]v1.Image{}
	for _, image := range manifest {
		for _, ref := range image.RepoTags {
			tag, err := name.NewTag(ref)
			require.NoError(t, err)
			img, err := tarball.Image(opener, &tag)
			require.NoError(t, err)
			out[ref] = img
		}
	}
	return out
}

func TestTarOf(t *testing.T) {
	raw, err := tarOf("sampleapp", []byte("binary"))
	require.NoError(t, err)
	assert.Equal(t, map[string]entry{"sampleapp": {0o755, tar.TypeReg, "binary"}}, untar(t, bytes.NewReader(raw)))
	again, err := tarOf("sampleapp", []byte("binary"))
	require.NoError(t, err)
	assert.Equal(t, raw, again, "no time in it: the same binary gives the same image")
}

// TestImageArchive: two images of the app's binary, one of them with a shell, and one of the
// worker's, all run by a user without rights.
func TestImageArchive(t *testing.T) {
	binary := bytes.Repeat([]byte("binary\x00"), 10_000)
	shell, err := tarOf("bin/sh", []byte("shell"))
	require.NoError(t, err)
	archive, err := imageArchive(
		program{fixtures.StaticImage, "sampleapp", binary, nil}, program{fixtures.ShellImage, "sampleapp", binary, shell},
		program{fixtures.LoadImage, "loadgen", []byte("loadgen"), nil})
	require.NoError(t, err)
	got := images(t, archive)
	require.Len(t, got, 3)

	tests := []struct {
		name    string
		ref     string
		program string
		want    map[string]entry
	}{
		{"the app alone", fixtures.StaticImage, "/sampleapp", map[string]entry{"sampleapp": {0o755, tar.TypeReg, string(binary)}}},
		{"with a shell", fixtures.ShellImage, "/sampleapp", map[string]entry{
			"sampleapp": {0o755, tar.TypeReg, string(binary)}, "bin/sh": {0o755, tar.TypeReg, "shell"},
		}},
		{"the worker", fixtures.LoadImage, "/loadgen", map[string]entry{"loadgen": {0o755, tar.TypeReg, "loadgen"}}},
	}
	first := map[string]v1.Hash{} // layer of each image
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img := got[tt.ref]
			require.NotNil(t, img)
			config, err := img.ConfigFile()
			require.NoError(t, err)
			assert.Equal(t, []string{tt.program}, config.Config.Entrypoint)
			assert.Empty(t, config.Config.Cmd)
			assert.Equal(t, "65532:65532", config.Config.User, "runAsNonRoot wants a number")
			assert.Equal(t, []string{"PATH=/bin"}, config.Config.Env)
			assert.Equal(t, "linux/"+runtime.GOARCH, config.OS+"/"+config.Architecture)
			layers, err := img.Layers()
			require.NoError(t, err)
			require.Len(t, layers, len(tt.want))
			for i, layer := range layers {
				content, err := layer.Uncompressed()
				require.NoError(t, err)
				hash, _, err := v1.SHA256(content)
				require.NoError(t, err)
				assert.Equal(t, config.RootFS.DiffIDs[i], hash, "a container runtime refuses a layer that isn't what the configuration says")
			}
			first[tt.ref] = config.RootFS.DiffIDs[0]
			files := mutate.Extract(img)
			defer files.Close()
			assert.Equal(t, tt.want, untar(t, files))
		})
	}
	require.Len(t, first, 3)
	assert.Equal(t, first[fixtures.StaticImage], first[fixtures.ShellImage], "one layer for both")
}

// aKindNode runs commands here instead of in a node, as far as they do no harm, and keeps what it
// is to import.
type aKindNode struct {
	nodes.Node
	name     string
	config   string // containerd's
	shell    string // runs instead of what is asked of a shell; empty for that
	fails    bool
	mu       sync.Mutex
	imported []byte
	command  string
}

func (n *aKindNode) String() string { return n.name }

func (n *aKindNode) Command(command string, args ...string) kindexec.Cmd {
	return n.CommandContext(context.Background(), command, args...)
}

func (n *aKindNode) CommandContext(ctx context.Context, command string, args ...string) kindexec.Cmd {
	switch command {
	case "sh":
		if n.shell != "" {
			return kindexec.CommandContext(ctx, "sh", "-c", n.shell)
		}
		return kindexec.CommandContext(ctx, command, args...)
	case "containerd":
		return kindexec.CommandContext(ctx, "printf", "%s", n.config)
	case "ctr":
		return &importCmd{node: n, command: strings.Join(append([]string{command}, args...), " ")}
	}
	return kindexec.CommandContext(ctx, "false")
}

type importCmd struct {
	kindexec.Cmd
	node    *aKindNode
	command string
	stdin   io.Reader
}

func (c *importCmd) SetStdin(r io.Reader) kindexec.Cmd { c.stdin = r; return c }

func (c *importCmd) Run() error {
	raw, err := io.ReadAll(c.stdin)
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	c.node.imported, c.node.command = raw, c.command
	if c.node.fails {
		return errFake
	}
	return err
}

func aNodeThatLoads(name string) *aKindNode {
	return &aKindNode{
		name: name, config: "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = \"overlayfs\"\n",
		shell: "cd /tmp && tar --create --files-from=/dev/null",
	}
}

// TestLoad: every node gets the same images, and a node that can't take them is named.
func TestLoad(t *testing.T) {
	a, b := aNodeThatLoads("zerodrop-worker"), aNodeThatLoads("zerodrop-worker2")
	require.NoError(t, load(t.Context(), []nodes.Node{a, b}, []byte("binary"), []byte("loadgen")))
	for _, n := range []*aKindNode{a, b} {
		assert.Contains(t, n.command, "ctr --namespace=k8s.io images import ", "where the kubelet looks")
		got := images(t, n.imported)
		assert.Contains(t, got, fixtures.StaticImage)
		assert.Contains(t, got, fixtures.ShellImage)
		assert.Contains(t, got, fixtures.LoadImage)
	}
	assert.Equal(t, a.imported, b.imported)

	b.fails = true
	require.ErrorContains(t, load(t.Context(), []nodes.Node{a, b}, nil, nil), "load the images into node zerodrop-worker2: ")
	a.shell = "echo no tar here >&2; exit 1"
	err := load(t.Context(), []nodes.Node{a, b}, nil, nil)
	require.ErrorContains(t, err, "take a shell from node zerodrop-worker: ")
	require.ErrorContains(t, err, "no tar here")
}

// TestShellOf: the files of a shell, complete with the libraries, as plain files. This machine
// stands in for a node.
func TestShellOf(t *testing.T) {
	for _, tool := range []string{"tar", "ldd", "grep", "sort"} {
		if _, err := exec.LookPath(tool); runtime.GOOS != "linux" || err != nil {
			t.Skip("takes a shell from a Linux machine with ldd and tar")
		}
	}
	raw, err := shellOf(t.Context(), &aKindNode{name: "here"})
	require.NoError(t, err)
	files := untar(t, bytes.NewReader(raw))
	libraries := 0
	for name, file := range files {
		assert.Equal(t, byte(tar.TypeReg), file.Type, "%s: a link would lead nowhere in the image", name)
		assert.True(t, strings.HasPrefix(file.Content, "\x7fELF"), name)
		if strings.Contains(name, ".so") {
			libraries++
		}
	}
	for _, program := range []string{"bin/sh", "bin/sleep"} {
		require.Contains(t, files, program)
		assert.NotZero(t, files[program].Mode&0o111, "%s can be run", program)
	}
	assert.GreaterOrEqual(t, libraries, 2, "libc and the loader")
}

// TestLoadImagesFails: no node, no image; and what stops a build is told.
func TestLoadImagesFails(t *testing.T) {
	f := &fakeKind{fail: map[string]error{"nodes": errFake}}
	k := &kindCluster{provider: f, engine: f.engine.run}
	require.EqualError(t, k.loadImages(t.Context()), "list nodes: connection refused")
	f.fail = nil
	require.EqualError(t, k.loadImages(t.Context()), "list nodes: kind cluster zerodrop has none")
	f.nodes = []nodes.Node{aNodeThatLoads("zerodrop-worker")}
	require.ErrorContains(t, k.loadImages(cancelled(t, errUser)), "build github.com/zerodrop/zerodrop/")
	t.Setenv("TMPDIR", "/nonexistent")
	require.ErrorContains(t, k.loadImages(t.Context()), "build github.com/zerodrop/zerodrop/")
}

// TestBuild: one static binary of each program for the nodes.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the sample app and the worker")
	}
	node := aNodeThatLoads("zerodrop-worker")
	f := &fakeKind{nodes: []nodes.Node{node}}
	require.NoError(t, (&kindCluster{provider: f, engine: f.engine.run}).loadImages(t.Context()))
	got := images(t, node.imported)
	for ref, name := range map[string]string{fixtures.StaticImage: "sampleapp", fixtures.LoadImage: "loadgen"} {
		t.Run(name, func(t *testing.T) {
			files := mutate.Extract(got[ref])
			defer files.Close()
			binary := untar(t, files)[name].Content
			program, err := elf.NewFile(strings.NewReader(binary))
			require.NoError(t, err)
			libraries, err := program.ImportedLibraries()
			require.NoError(t, err)
			assert.Empty(t, libraries)
			for _, p := range program.Progs {
				assert.NotEqual(t, elf.PT_INTERP, p.Type, "an image without a loader can't run it")
			}
		})
	}
}
