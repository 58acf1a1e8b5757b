package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// step is one piece of a build.
type step struct {
	name  string // what it does, as in "compile Kubernetes"
	needs []*step
	// made is what the step leaves in the cache. A step without one prepares another step, by
	// downloads for example, and runs only if the other must run.
	made *artifact
	// cost is how long the step takes on two cores, measured. It serves the estimate alone.
	cost time.Duration
	// compiles marks a step that keeps all processors busy. Few of those run at a time; the other
	// steps wait for the network.
	compiles bool
	run      func(context.Context) error
}

// pending returns what remains to do until the target exists, each step after those that it needs.
// Steps that only a finished step needs are left out.
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

// observer is called for each step as it starts and ends, from several goroutines.
type observer interface {
	started(*step)
	ended(*step, error)
}

// compilers is how many compiling steps run at a time. Two: while one links, on one core, the other
// has something to compile.
const compilers = 2

// execute runs the steps, which must be all that pending returned: each as soon as those before it
// are done. After the first failure no step starts, and running steps are stopped.
func execute(ctx context.Context, steps []*step, watch observer) error {
	group, ctx := errgroup.WithContext(ctx)
	done := make(map[*step]chan struct{}, len(steps))
	for _, s := range steps {
		done[s] = make(chan struct{})
	}
	slots := semaphore.NewWeighted(compilers)
	for _, s := range steps {
		group.Go(func() error {
			for _, need := range s.needs {
				finished, runs := done[need]
				if !runs {
					continue // an earlier run finished it
				}
				select {
				case <-finished:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if s.compiles {
				if err := slots.Acquire(ctx, 1); err != nil {
					return err
				}
				defer slots.Release(1)
			}
			// A free slot and the end of ctx may come together.
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
