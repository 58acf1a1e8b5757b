package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// step is one piece of the build.
type step struct {
	name  string // what it does, as in "compile Kubernetes"
	needs []*step
	// made is what the step leaves in the cache. A step without one prepares another (downloads, say), and runs only if that must run.
	made *artifact
	// cost is how long it takes on two cores, measured: for the estimate alone.
	cost time.Duration
	// compiles marks a step that keeps all processors busy by itself. Few of those run at a time; the others wait for the network.
	compiles bool
	run      func(context.Context) error
}

// pending is what remains to do until the target is there, each step after those that it needs. Steps that only a finished step needs
// aren't in it.
func pending(target *step, finished func(artifact) bool) []*step {
	var order []*step
	seen := map[*step]bool{}
	var visit func(*step)
	visit = func(s *step) {
		if seen[s] || (s.made != nil && finished(*s.made)) {
			return
		}
		seen[s] = true
		for _, need := range s.needs {
			visit(need)
		}
		order = append(order, s)
	}
	visit(target)
	return order
}

// observer is told of each step as it happens. Its methods are called from several goroutines.
type observer interface {
	started(*step)
	ended(*step, error)
}

// compilers is how many compiling steps run at a time. Two: while the one links, on one core, the other has something to compile.
const compilers = 2

// execute runs the steps, which must be all that pending named: each as soon as those before it are done. After the first failure no
// step starts, and those that run are stopped.
func execute(ctx context.Context, steps []*step, watch observer) error {
	group, ctx := errgroup.WithContext(ctx)
	done := make(map[*step]chan struct{}, len(steps))
	for _, s := range steps {
		done[s] = make(chan struct{})
	}
	slots := make(chan struct{}, compilers)
	for _, s := range steps {
		group.Go(func() error {
			for _, need := range s.needs {
				finished, runs := done[need]
				if !runs {
					continue // was finished before
				}
				select {
				case <-finished:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if s.compiles {
				select {
				case slots <- struct{}{}:
					defer func() { <-slots }()
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			// A slot and the end may come together.
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			watch.started(s)
			err := s.run(ctx)
			watch.ended(s, err)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			close(done[s])
			return nil
		})
	}
	return group.Wait()
}
