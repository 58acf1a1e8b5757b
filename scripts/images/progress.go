package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// progress writes a line for each step that starts or ends, and one whenever nothing was written
// for a while.
type progress struct {
	out io.Writer
	now func() time.Time

	mu      sync.Mutex
	start   time.Time
	waiting []*step
	running map[*step]time.Time // when it started
	written time.Time           // the last line
}

// silence is the longest time without a line: less than what people take for a hang.
const silence = 30 * time.Second

func newProgress(out io.Writer, now func() time.Time, steps []*step) *progress {
	return &progress{
		out: out, now: now, start: now(), written: now(), waiting: slices.Clone(steps), running: map[*step]time.Time{},
	}
}

// during runs work and breaks the silence meanwhile.
func (p *progress) during(ctx context.Context, work func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.breakSilence()
			}
		}
	}()
	return work()
}

func (p *progress) started(s *step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(w *step) bool { return w == s })
	p.running[s] = p.now()
	p.line("%s …", s.name)
}

func (p *progress) ended(s *step, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := clock(p.now().Sub(p.running[s]))
	delete(p.running, s)
	if err != nil {
		p.line("%s: stopped after %s", s.name, took)
	} else {
		p.line("%s: done in %s%s", s.name, took, p.remaining())
	}
}

func (p *progress) breakSilence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now().Sub(p.written) < silence || len(p.running) == 0 {
		return
	}
	var doing []string
	for s, start := range p.running {
		doing = append(doing, fmt.Sprintf("%s (%s)", s.name, clock(p.now().Sub(start))))
	}
	slices.Sort(doing)
	p.line("still at it: %s%s", strings.Join(doing, ", "), p.remaining())
}

// line writes a line. The caller holds mu.
func (p *progress) line(format string, args ...any) {
	p.written = p.now()
	fmt.Fprintf(p.out, "images %s  %s\n", clock(p.written.Sub(p.start)), fmt.Sprintf(format, args...))
}

// remaining is the estimate of the time left, as the end of a line.
func (p *progress) remaining() string {
	left := slices.Clone(p.waiting)
	for s, start := range p.running {
		if rest := *s; rest.cost > 0 {
			// A step that takes longer than measured still counts a little: "0 left" would be
			// wrong.
			rest.cost = max(rest.cost-p.now().Sub(start), 10*time.Second)
			left = append(left, &rest)
		}
	}
	total := estimate(left, runtime.NumCPU())
	if total <= 0 {
		return ""
	}
	return "; " + about(total) + " left"
}

// estimate is how long the steps take with that many processors. Compiling steps share the
// processors and others run beside them, except for the last steps, which need all the others.
func estimate(steps []*step, processors int) time.Duration {
	var compiling, beside, last time.Duration
	for _, s := range steps {
		switch {
		case s.compiles:
			compiling += s.cost * 2 / time.Duration(processors)
		case len(s.needs) > 1:
			last += s.cost
		default:
			beside = max(beside, s.cost)
		}
	}
	return max(compiling, beside) + last
}

// about rounds a duration as one would say it.
func about(d time.Duration) string {
	if d < 100*time.Second {
		return fmt.Sprintf("about %d s", max(int(d.Round(10*time.Second).Seconds()), 10))
	}
	return fmt.Sprintf("about %d min", int(d.Round(time.Minute).Minutes()))
}

// clock is a duration as 4:05.
func clock(d time.Duration) string {
	seconds := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}
