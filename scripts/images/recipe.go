package main

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.yaml.in/yaml/v3"
)

// recipe says how the image of a component is made: recipe.yaml in a folder of the component's
// name. The image has a program, compiled from the Go module in the folder (go.mod and go.sum, as
// `go mod tidy` leaves them, and a main package or a `tool` line for the main package of another
// module), or a small Debian with some packages, or the program on top of that Debian.
type recipe struct {
	name, dir string

	Image      string              // official image, with a tag: used where a registry is in reach
	Package    string              // import path of the main package, "." for the folder itself
	Tags       string              // build tags, separated by commas
	LDFlags    string              `yaml:"ldflags"`
	Patches    map[string][]string // module → files of the folder, applied to a copy of the module
	Program    string              // where the image has the program; /usr/local/bin/NAME if empty
	Debian     []string            // packages of the root file system
	Entrypoint []string            // the program, if empty
	Env        []string            // NAME=value, beside PATH
	Files      map[string]string   // path in the image → file of the folder
	Folders    map[string]string   // path in the image → permissions, as in /tmp: "1777"
}

// componentLabel, with the component's name after it, is on images that this program built.
const componentLabel = "org.zerodrop.component."

const recipeFile = "recipe.yaml"

// selectRecipes reads the recipes in root that are named, separated by spaces or commas, or all.
func selectRecipes(root string, args []string) ([]recipe, error) {
	known, err := filepath.Glob(filepath.Join(root, "*", recipeFile))
	if err != nil {
		return nil, err
	}
	for i, file := range known {
		known[i] = filepath.Base(filepath.Dir(file))
	}
	if len(known) == 0 {
		return nil, errors.New("no component has a recipe yet: scripts/images/NAME/" + recipeFile)
	}
	names := strings.FieldsFunc(strings.Join(args, ","), func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 {
		names = known
	}
	var recipes []recipe
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown component %q; known: %s", name, strings.Join(known, ", "))
		}
		r, err := readRecipe(filepath.Join(root, name))
		if err != nil {
			return nil, fmt.Errorf("read the recipe of %s: %w", name, err)
		}
		recipes = append(recipes, r)
	}
	return recipes, nil
}

func readRecipe(dir string) (recipe, error) {
	r := recipe{name: filepath.Base(dir), dir: dir}
	f, err := os.Open(filepath.Join(dir, recipeFile))
	if err != nil {
		return r, err
	}
	defer f.Close()
	decoder := yaml.NewDecoder(f)
	decoder.KnownFields(true)
	if err := decoder.Decode(&r); err != nil {
		return r, err
	}
	switch _, tag, _ := strings.Cut(path.Base(r.Image), ":"); {
	case tag == "":
		return r, fmt.Errorf("image %q has no tag", r.Image)
	case r.Package == "" && len(r.Debian) == 0:
		return r, errors.New("it needs package or debian")
	case r.Package == "" && len(r.Entrypoint) == 0:
		return r, errors.New("it needs an entrypoint")
	}
	r.Program = cmp.Or(r.Program, "/usr/local/bin/"+r.name)
	if len(r.Entrypoint) == 0 {
		r.Entrypoint = []string{r.Program}
	}
	return r, nil
}

// artifact is what takes long to make: the program, or Debian's root file system where there is no
// program. Its key is a digest of everything that the image is made of.
func (r recipe) artifact() (artifact, error) {
	inputs := []string{runtime.GOARCH, assembly, debianSuite, fmt.Sprint(omitted, goEnv()), stripped, noDebugInfo}
	err := fs.WalkDir(os.DirFS(r.dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		content, err := os.ReadFile(filepath.Join(r.dir, name))
		inputs = append(inputs, name, fmt.Sprint(executable(info)), string(content))
		return err
	})
	return newArtifact("component-"+r.name, nil, inputs...), err
}

// root is Debian's root file system. Below a program it is an artifact of its own, which stays when
// the program changes.
func (r recipe) root(made artifact) artifact {
	if r.Package == "" {
		return made
	}
	inputs := []string{runtime.GOARCH, debianSuite, fmt.Sprint(omitted, r.Debian)}
	return newArtifact("debian-"+r.name, nil, inputs...)
}

// image says how the recipe's image is found and built.
func (r recipe) image() (image, error) {
	made, err := r.artifact()
	if err != nil {
		return image{}, fmt.Errorf("read the recipe of %s: %w", r.name, err)
	}
	_, tag, _ := strings.Cut(path.Base(r.Image), ":")
	tag, _, _ = strings.Cut(tag, "@")
	const digits = 8
	i := image{
		official: r.Image, ours: fmt.Sprintf("zerodrop/%s:%s-%s", r.name, tag, made.key[:digits]),
		debian: len(r.Debian) > 0,
		space:  space{parts: gigabyte, temporary: gigabyte, compiled: 3 * gigabyte, modules: gigabyte, docker: gigabyte},
	}
	i.plan = func(b builder) *step {
		var parts []*step
		if i.debian {
			parts = append(parts, b.installDebian("install Debian with "+strings.Join(r.Debian, ", "), r.root(made), r.Debian))
		}
		if r.Package != "" {
			parts = append(parts, b.compileRecipe(r, made))
		}
		return &step{
			name: "make the image " + r.name, needs: parts, cost: 5 * time.Second,
			run: func(ctx context.Context) error {
				if err := b.loadRecipe(ctx, r, i.ours, made); err != nil {
					return err
				}
				if err := b.cache.removeOthers(r.root(made)); err != nil {
					return fmt.Errorf("remove parts of older recipes: %w", err)
				}
				return b.removeOlder(ctx, componentLabel+r.name, made.key, made)
			},
		}
	}
	return i, nil
}

func (b builder) compileRecipe(r recipe, made artifact) *step {
	build := goBuild{
		dir:      filepath.Join(b.cache.work(), "module-"+made.String()),
		packages: []string{r.Package}, tags: r.Tags, ldflags: r.LDFlags,
		env: []string{"GOFLAGS=-mod=readonly -buildvcs=false"}, // go.sum is the recipe's
	}
	fetch := &step{name: "download " + r.name, run: func(ctx context.Context) error {
		if err := os.CopyFS(build.dir, os.DirFS(r.dir)); err != nil {
			return err
		}
		if err := r.patch(ctx, build.dir); err != nil {
			return err
		}
		return build.download(ctx)
	}}
	compile := step{name: "compile " + r.name, needs: []*step{fetch}, cost: 2 * time.Minute, compiles: true}
	return b.making(made, compile, func(ctx context.Context, dir string) error {
		return build.compile(ctx, filepath.Join(dir, r.name))
	})
}

// patch replaces each module that has patches by a patched copy, in the copy of the recipe's
// module.
func (r recipe) patch(ctx context.Context, module string) error {
	for i, name := range slices.Sorted(maps.Keys(r.Patches)) {
		download, err := downloadModule(ctx, module, name)
		if err != nil {
			return err
		}
		patched := fmt.Sprintf("patched-%d", i)
		if err := os.CopyFS(filepath.Join(module, patched), os.DirFS(download.Dir)); err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		// Without a ceiling, git takes a repository above the cache for the one to patch.
		apply := command{dir: filepath.Join(module, patched), env: []string{"GIT_CEILING_DIRECTORIES=" + module}}
		for _, file := range r.Patches[name] {
			if err := apply.run(ctx, "git", "apply", filepath.Join(module, file)); err != nil {
				return fmt.Errorf("patch %s: %w", name, err)
			}
		}
		edit := command{dir: module, env: goEnv()}
		if err := edit.run(ctx, "go", "mod", "edit", "-replace="+name+"=./"+patched); err != nil {
			return err
		}
	}
	return nil
}

func (b builder) loadRecipe(ctx context.Context, r recipe, ref string, made artifact) error {
	files, err := r.files()
	if err != nil {
		return err
	}
	if r.Package != "" {
		program := file{path: strings.TrimPrefix(r.Program, "/"), mode: 0o755, source: b.cache.path(made, r.name)}
		files = append(files, program)
	}
	run := v1.Config{
		Entrypoint: r.Entrypoint, Env: append([]string{defaultPath}, r.Env...),
		Labels: map[string]string{componentLabel + r.name: made.key},
	}
	return b.load(ctx, ref, run, func(w *tar.Writer) error {
		known := map[string]bool{}
		if len(r.Debian) > 0 {
			known, err = copyTar(w, b.cache.path(r.root(made), rootTar), func(name string, _ *tar.Header) bool {
				return !slices.ContainsFunc(files, func(f file) bool { return f.path == name })
			})
			if err != nil {
				return err
			}
		}
		return addFiles(w, files, known)
	})
}

// files are the recipe's own files and folders, as entries of the image.
func (r recipe) files() ([]file, error) {
	var list []file
	for _, name := range slices.Sorted(maps.Keys(r.Folders)) {
		mode, err := strconv.ParseInt(r.Folders[name], 8, 64)
		if err != nil {
			return nil, fmt.Errorf("permissions of the folder %s: %w", name, err)
		}
		list = append(list, file{path: strings.TrimPrefix(name, "/"), mode: mode})
	}
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		source := filepath.Join(r.dir, r.Files[name])
		info, err := os.Stat(source)
		if err != nil {
			return nil, err
		}
		mode := 0o644 | executable(info)
		list = append(list, file{path: strings.TrimPrefix(name, "/"), mode: mode, source: source})
	}
	return list, nil
}

// executable are the permissions of a file that git stores: to run it, by all or by nobody.
func executable(info fs.FileInfo) int64 {
	if info.Mode()&0o100 != 0 {
		return 0o111
	}
	return 0
}
