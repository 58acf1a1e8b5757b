// Command images makes sure that Docker has the images that zerodrop's clusters are made of, and
// prints their names.
//
//	images [flags] node                    the node image of a kind cluster
//	images [flags] components [NAME…]      the images of programs that consumers need, and of servers; all, if unnamed
//	images archives FOLDER                 of the sample app and the load generator, as OCI archives to push
//
// An image is the official one, if Docker has it or can pull it; else one that is built from Go
// modules and Debian's packages, for machines that reach no container registry. A build takes a
// while, once: its parts are stored in the user's cache folder, and a build that was cut off
// continues where it stopped. recipe.go says how a component's image is described.
package main

import (
	"archive/tar"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	var o options
	flag.StringVar(&o.image, "image", "", "use this node image, which Docker has or can pull")
	flag.BoolVar(&o.source, "source", false, "build from source even if the official image could be had")
	flag.BoolVar(&o.rebuild, "rebuild", false, "build from source again, from the start (Go's own caches are kept)")
	flag.BoolVar(&o.find, "find", false, "only print which image that Docker has would be used: pull and build nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, o, flag.Args())
	stop()
	if err != nil {
		say("error: %v", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "images: "+format+"\n", args...) }

type options struct {
	image                 string
	source, rebuild, find bool
}

// run prints a line for each image: the node image's name, or a component and its image's name.
func run(ctx context.Context, o options, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "node":
		ref, err := find(ctx, o, nodeImage())
		if err == nil {
			fmt.Println(ref)
		}
		return err
	case len(args) > 0 && args[0] == "components" && o.image == "":
		recipes, err := selectRecipes(".", args[1:])
		if err != nil {
			return err
		}
		return findComponents(ctx, recipes, func(i image) (string, error) { return find(ctx, o, i) })
	case len(args) == 2 && args[0] == "archives" && o == (options{}):
		return writeArchives(ctx, filepath.Join("..", ".."), args[1], ownPrograms)
	}
	return errors.New("usage: images [flags] node, or: images [flags, but not -image] components [NAME…], " +
		"or: images archives FOLDER")
}

// findComponents prints a line for each component whose image is found. One that can't be had is
// said by name, with the reason, and the others go on.
func findComponents(ctx context.Context, recipes []recipe, find func(image) (string, error)) error {
	var failed []string
	for _, r := range recipes {
		i, err := r.image()
		var ref string
		if err == nil {
			ref, err = find(i)
		}
		switch {
		case err == nil:
			fmt.Println(r.name, ref)
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", r.name, err)
		default:
			say("%s: %v", r.name, err)
			failed = append(failed, r.name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("no image of %s: the reasons are above", strings.Join(failed, ", "))
	}
	return nil
}

// image is a container image that this program finds or builds.
type image struct {
	official string // pulled where a registry is in reach
	ours     string // built here
	debian   bool   // the build installs Debian's packages
	space    space
	plan     func(builder) *step // the last step of the build
}

// find returns the name of the image to use. Unless the user wants only to find one, Docker has it.
func find(ctx context.Context, o options, i image) (string, error) {
	docker := dockerCLI{progress: os.Stderr}
	if o.find {
		ref, err := firstOf(ctx, docker, i.official, i.ours)
		if err == nil && ref == "" {
			ref = i.official // kind will pull this one
		}
		return ref, err
	}
	return choose(ctx, docker, o, i, func(ctx context.Context) error { return build(ctx, docker, i, o.rebuild) })
}

// build makes the image from source, or those parts of it that aren't in the cache yet.
func build(ctx context.Context, docker dockerCLI, i image, rebuild bool) error {
	if i.debian {
		if err := canInstallDebian(os.Geteuid()); err != nil {
			return err
		}
	}
	store, err := defaultCache()
	if err != nil {
		return err
	}
	unlock, err := store.lock(ctx, func(holder string) {
		say("waiting for another build (process %s) in %s", holder, store.dir)
	})
	if err != nil {
		return err
	}
	defer unlock()
	// The build that this one waited for may have made it.
	if !rebuild {
		if found, err := docker.has(ctx, i.ours); err != nil || found {
			return err
		}
	}
	if err := store.clear(); err != nil {
		return err
	}
	finished := store.has
	if rebuild {
		finished = func(artifact) bool { return false }
	}
	steps := pending(i.plan(builder{cache: store, docker: docker}), finished)
	if err := checkSpace(i.space.needs(ctx, docker, store, steps), freeSpace); err != nil {
		return err
	}
	cores := runtime.NumCPU()
	say("building %s from source, once: %s on %d cores; the parts are stored in %s",
		i.ours, about(estimate(steps, cores)), cores, store.dir)
	shown := newProgress(os.Stderr, time.Now, steps)
	err = shown.during(ctx, func() error { return execute(ctx, steps, shown) })
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted; the next run continues after the finished steps, in %s", store.dir)
	case diskFull(err):
		_, free, _ := freeSpace(store.dir)
		return fmt.Errorf("the disk is full, with %s free in %s (finished steps are stored: make room, run again): %w",
			gigabytes(free), store.dir, err)
	}
	return err
}

// builder makes images from Go modules and Debian's packages.
type builder struct {
	cache  cache
	docker dockerCLI
}

// making completes a step that makes an artifact.
func (b builder) making(a artifact, s step, fill func(ctx context.Context, dir string) error) *step {
	s.made = &a
	s.run = func(ctx context.Context) error {
		return b.cache.put(a, func(dir string) error { return fill(ctx, dir) })
	}
	return &s
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// load gives Docker an image of one layer, whose entries fill writes.
func (b builder) load(ctx context.Context, ref string, run v1.Config, fill func(*tar.Writer) error) error {
	file := filepath.Join(b.cache.work(), "layer.tar")
	defer os.Remove(file)
	layer, err := writeLayer(file, fill)
	if err != nil {
		return err
	}
	image, err := newImage(layer, run)
	if err != nil {
		return err
	}
	return b.docker.load(ctx, ref, image)
}

// removeOlder removes the images and artifacts that older recipes of the same image left. Each
// image has the label, whose value is its key.
func (b builder) removeOlder(ctx context.Context, label, key string, made artifact) error {
	if err := b.docker.removeOthers(ctx, label, key); err != nil {
		return fmt.Errorf("remove images of older recipes: %w", err)
	}
	if err := b.cache.removeOthers(made); err != nil {
		return fmt.Errorf("remove parts of older recipes: %w", err)
	}
	return nil
}
