// Command nodeimage prints the name of the node image that a kind cluster is to be made from, after having made sure that Docker has it.
//
// That is the image which -image names; else kind's default, if Docker has it or can pull it; else one that it builds from Go modules and
// Debian's packages, for machines that reach no container registry. That takes a while, once: the parts are kept in the user's cache
// folder, and a build that was cut off goes on where it stopped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/term"
	"sigs.k8s.io/kind/pkg/apis/config/defaults"
)

func main() {
	image := flag.String("image", "", "use this node image, which Docker has or can pull")
	source := flag.Bool("source", false, "build the image from source even if kind's default could be had")
	rebuild := flag.Bool("rebuild", false, "build the image from source again, from the start (Go's own caches are kept)")
	find := flag.Bool("find", false, "only say which image a cluster would get from what Docker has now: pull nothing, build nothing")
	flag.Parse()
	if flag.NArg() > 0 {
		fail(fmt.Errorf("unknown argument %q", flag.Arg(0)))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ref, err := nodeImage(ctx, *image, *source, *rebuild, *find)
	if err != nil {
		stop()
		fail(err)
	}
	fmt.Println(ref)
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "node image: error: %v\n", err)
	os.Exit(1)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "node image: "+format+"\n", args...) }

func nodeImage(ctx context.Context, image string, source, rebuild, find bool) (string, error) {
	docker := dockerCLI{progress: os.Stderr}
	r := newRecipe()
	if find {
		return present(ctx, docker, defaults.Image, r.image())
	}
	return choose(ctx, docker, choice{
		image: image, fromSource: source, rebuild: rebuild, official: defaults.Image, ours: r.image(), say: say,
		build: func(ctx context.Context) error { return build(ctx, docker, r, rebuild) },
	})
}

// build makes the image of the recipe from source, or what of it isn't in the cache yet.
func build(ctx context.Context, docker dockerCLI, r recipe, rebuild bool) error {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := canBuild(string(release), os.Geteuid()); err != nil {
		return err
	}
	store, err := defaultCache()
	if err != nil {
		return err
	}
	unlock, err := store.lock(ctx, func(holder string) { say("waiting for another build (process %s) in %s", holder, store.dir) })
	if err != nil {
		return err
	}
	defer unlock()
	// The one that we waited for may have made it.
	if !rebuild {
		if found, err := docker.present(ctx, r.image()); err != nil || found {
			return err
		}
	}
	if err := store.clear(); err != nil {
		return err
	}
	b := builder{cache: store, docker: docker}
	target := b.plan(r)
	finished := store.has
	if rebuild {
		finished = func(artifact) bool { return false }
	}
	steps := pending(target, finished)
	if err := checkSpace(spaceNeeded(ctx, docker, store, steps), freeSpace); err != nil {
		return err
	}
	say("building %s from source, once: %s on %d cores; the parts are kept in %s", r.image(), about(estimate(steps, runtime.NumCPU())), runtime.NumCPU(), store.dir)
	shown := newProgress(os.Stderr, term.IsTerminal(int(os.Stderr.Fd())), time.Now, steps)
	err = showing(ctx, shown, func() error { return execute(ctx, steps, shown) })
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted; the next run goes on from what is finished, in %s", store.dir)
	case diskFull(err):
		_, free, _ := freeSpace(store.dir)
		return fmt.Errorf("the disk is full, with %s free in %s (finished steps are kept: make room and run this again): %w", gigabytes(free), store.dir, err)
	}
	return err
}

// showing keeps the progress moving while work runs.
func showing(ctx context.Context, shown *progress, work func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				shown.tick()
			}
		}
	}()
	err := work()
	cancel()
	<-stopped
	shown.close()
	return err
}
