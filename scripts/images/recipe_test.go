package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// component reads a recipe of testdata.
func component(t *testing.T, name string) (recipe, image) {
	t.Helper()
	recipes, err := selectRecipes("testdata", []string{name})
	require.NoError(t, err)
	require.Len(t, recipes, 1)
	i, err := recipes[0].image()
	require.NoError(t, err)
	return recipes[0], i
}

// tarOf is a tar file with one executable file.
func tarOf(t *testing.T, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}))
	_, err := w.Write([]byte(content))
	require.NoError(t, errors.Join(err, w.Close()))
	return out.Bytes()
}

// loadedImage builds the image with a Docker that stores what it is to load, and reads that.
func loadedImage(t *testing.T, store cache, i image) (v1.ConfigFile, map[string]string) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	fakeDocker(t, `[ "$1" != load ] || cat >`+archive)
	steps := pending(i.plan(builder{cache: store}), store.has)
	require.NoError(t, execute(t.Context(), steps, &eventLog{}))
	return readImage(t, archive, i.ours)
}

func TestRecipeOfAGoModule(t *testing.T) {
	store := newCache(t)
	r, i := component(t, "hello")
	assert.Equal(t, "docker.io/example/hello:v1.2@sha256:"+strings.Repeat("0", 62)+"aa", i.official)
	assert.Regexp(t, `^zerodrop/hello:v1\.2-[0-9a-f]{8}$`, i.ours)
	assert.False(t, i.debian, "anyone may compile a program")
	assert.Equal(t, []string{"download hello", "compile hello", "make the image hello"},
		names(pending(i.plan(builder{cache: store}), store.has)), "nothing that another image needs")

	config, files := loadedImage(t, store, i)
	made, err := r.artifact()
	require.NoError(t, err)
	assert.Equal(t, v1.Config{
		Entrypoint: []string{"/hello", "serve"}, Env: []string{defaultPath, "HELLO=world"},
		Labels: map[string]string{"org.zerodrop.component.hello": made.key},
	}, config.Config)
	program := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(program, []byte(files["hello"])[len("0755 "):], 0o755))
	out, err := exec.CommandContext(t.Context(), program).Output()
	require.NoError(t, err)
	assert.Equal(t, "v1.2 patched\n", string(out), "linker flags and patches")
	delete(files, "hello")
	assert.Equal(t, map[string]string{
		"tmp": "1777 folder", "data": "0755 folder", "etc": "0755 folder", "etc/motd": "0644 Good morning\n",
	}, files)

	assert.True(t, store.has(made))
	assert.Equal(t, []string{"make the image hello"}, names(pending(i.plan(builder{cache: store}), store.has)),
		"for an image that is gone nothing is compiled again")
}

func TestRecipeOfDebianPackages(t *testing.T) {
	bin := t.TempDir()
	for name, script := range map[string]string{
		"unshare": `while [ "$1" != -- ]; do shift; done; shift; exec "$@"`,
		"debootstrap": `for root; do :; done
mkdir -p "$root/usr/bin" "$root/etc" "$root/var/log"
echo "$2" >"$root/usr/bin/hello"; echo old >"$root/etc/tool.conf"; echo x >"$root/var/log/x"`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	store := newCache(t)
	_, i := component(t, "tool")
	assert.True(t, i.debian)
	assert.Equal(t, []string{"install Debian with hello, jq", "make the image tool"},
		names(pending(i.plan(builder{cache: store}), store.has)))

	config, files := loadedImage(t, store, i)
	assert.Equal(t, []string{"/usr/bin/hello"}, config.Config.Entrypoint)
	assert.Equal(t, "0644 --include=hello,jq\n", files["usr/bin/hello"])
	assert.Equal(t, "0644 changed = true\n", files["etc/tool.conf"], "the recipe's file replaces Debian's")
	assert.NotContains(t, files, "var/log/x")
}

// A program on top of Debian: what is changed alone is made again alone.
func TestRecipeOfAProgramOnDebian(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hello")
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "hello"))))
	extend := func(file, text string) (steps []string, i image) {
		f, err := os.OpenFile(filepath.Join(dir, file), os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, errors.Join(err, f.Close()))
		r, err := readRecipe(dir)
		require.NoError(t, err)
		i, err = r.image()
		require.NoError(t, err)
		store := cache{dir: t.TempDir()}
		debian := r.root(artifact{})
		return names(pending(i.plan(builder{cache: store}), func(a artifact) bool { return a == debian })), i
	}
	steps, i := extend(recipeFile, "\ndebian: [jq]\n")
	assert.Equal(t, []string{"download hello", "compile hello", "make the image hello"}, steps)
	assert.True(t, i.debian)

	r, err := readRecipe(dir)
	require.NoError(t, err)
	before := r.root(artifact{})
	steps, changed := extend("go.mod", "\n// changed\n")
	assert.Equal(t, []string{"download hello", "compile hello", "make the image hello"}, steps)
	assert.NotEqual(t, i.ours, changed.ours)
	assert.Equal(t, before, r.root(artifact{}))
	r.Debian = []string{"jq", "haproxy"}
	assert.NotEqual(t, before, r.root(artifact{}), "other packages")

	store := newCache(t)
	made, err := r.artifact()
	require.NoError(t, err)
	require.NoError(t, store.put(made, func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "hello"), []byte("program"), 0o755)
	}))
	require.NoError(t, store.put(r.root(made), func(dir string) error {
		return os.WriteFile(filepath.Join(dir, rootTar), tarOf(t, "usr/bin/jq", "jq"), 0o644)
	}))
	i, err = r.image()
	require.NoError(t, err)
	_, files := loadedImage(t, store, i)
	assert.Equal(t, "0755 program", files["hello"])
	assert.Equal(t, "0755 jq", files["usr/bin/jq"])
}

func TestAComponentThatCantBeHad(t *testing.T) {
	recipes, err := selectRecipes("testdata", nil)
	require.NoError(t, err)
	var asked []string
	find := func(i image) (string, error) {
		asked = append(asked, i.official)
		if strings.Contains(i.official, "hello") {
			return "", errors.New("module answers 403")
		}
		return i.ours, nil
	}
	require.EqualError(t, findComponents(t.Context(), recipes, find), "no image of hello: the reasons are above")
	assert.Len(t, asked, 2, "the others go on")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	asked = nil
	require.EqualError(t, findComponents(ctx, recipes, find), "hello: module answers 403")
	assert.Len(t, asked, 1, "an interrupt ends it")
}

func TestSelectRecipes(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"all", nil, []string{"hello", "tool"}},
		{"an empty CONSUMERS", []string{""}, []string{"hello", "tool"}},
		{"one", []string{"tool"}, []string{"tool"}},
		{"with a comma", []string{"tool,hello"}, []string{"tool", "hello"}},
		{"with a space", []string{"tool", "hello"}, []string{"tool", "hello"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			recipes, err := selectRecipes("testdata", tc.args)
			require.NoError(t, err)
			var got []string
			for _, r := range recipes {
				got = append(got, r.name)
			}
			assert.Equal(t, tc.want, got)
		})
	}
	_, err := selectRecipes("testdata", []string{"hello", "typo"})
	assert.EqualError(t, err, `unknown component "typo"; known: hello, tool`)
	_, err = selectRecipes(t.TempDir(), nil)
	assert.ErrorContains(t, err, "no component has a recipe yet")
}

func TestRecipesThatAreWrong(t *testing.T) {
	for _, tc := range []struct{ name, recipe, want string }{
		{"a typo", "image: x:1\npackages: [hello]", "field packages not found"},
		{"no tag", "image: registry:5000/x\npackage: .", `image "registry:5000/x" has no tag`},
		{"no source", "image: x:1", "it needs package or debian"},
		{"nothing to start", "image: x:1\ndebian: [hello]", "it needs an entrypoint"},
		{"empty", "", "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			require.NoError(t, writeModule(filepath.Join(root, "x"), map[string]string{recipeFile: tc.recipe}))
			_, err := selectRecipes(root, nil)
			assert.ErrorContains(t, err, "read the recipe of x: ")
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

// Whatever is in the folder is a part of the image's name.
func TestAChangedRecipeMakesAnotherImage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tool")
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "tool"))))
	key := func() string {
		r, err := readRecipe(dir)
		require.NoError(t, err)
		i, err := r.image()
		require.NoError(t, err)
		return i.ours
	}
	before := key()
	_, i := component(t, "tool")
	assert.Equal(t, i.ours, before, "its place doesn't matter")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tool.conf"), []byte("changed = again\n"), 0o644))
	changed := key()
	assert.NotEqual(t, before, changed)
	require.NoError(t, os.Chmod(filepath.Join(dir, "tool.conf"), 0o755))
	assert.NotEqual(t, changed, key(), "an executable file is another one")
}
