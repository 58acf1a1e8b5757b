package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"
)

// progress shows how far the build is: a line for each step that starts or ends and, on a terminal, a last line that lives.
type progress struct {
	out  io.Writer
	live bool
	now  func() time.Time

	mu      sync.Mutex
	start   time.Time
	waiting map[*step]bool
	running []*running
	beat    time.Time // when a line was last written
	drawn   bool      // the cursor stands in the live line
}

type running struct {
	step  *step
	start time.Time
}

// silence is how long a log without a terminal goes without a line: less than CI systems and people take for a hang.
const silence = 2 * time.Minute

func newProgress(out io.Writer, live bool, now func() time.Time, steps []*step) *progress {
	p := &progress{out: out, live: live, now: now, start: now(), beat: now(), waiting: map[*step]bool{}}
	for _, s := range steps {
		p.waiting[s] = true
	}
	return p
}

func (p *progress) started(s *step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, s)
	p.running = append(p.running, &running{step: s, start: p.now()})
	p.line("%s …", s.name)
}

func (p *progress) ended(s *step, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, r := range p.running {
		if r.step != s {
			continue
		}
		p.running = append(p.running[:i:i], p.running[i+1:]...)
		if took := clock(p.now().Sub(r.start)); err != nil {
			p.line("%s: stopped after %s", s.name, took)
		} else {
			p.line("%s: done in %s%s", s.name, took, p.remaining())
		}
		return
	}
}

// tick is to be called about every second: it keeps the live line moving, or a log from falling silent.
func (p *progress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		p.draw()
	} else if p.now().Sub(p.beat) >= silence && len(p.running) > 0 {
		p.line("still at it: %s%s", p.doing(), p.remaining())
	}
}

// close leaves the cursor on an empty line.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

// line writes a line that stays. The caller holds mu.
func (p *progress) line(format string, args ...any) {
	p.erase()
	p.beat = p.now()
	fmt.Fprintf(p.out, "node image %s  %s\n", clock(p.beat.Sub(p.start)), fmt.Sprintf(format, args...))
	if p.live {
		p.draw()
	}
}

func (p *progress) draw() {
	p.erase()
	if len(p.running) == 0 {
		return
	}
	text := []rune(fmt.Sprintf("node image %s%s: %s", clock(p.now().Sub(p.start)), p.remaining(), p.doing()))
	const width = 79 // a longer line wraps on a narrow terminal, and then can't be erased
	if len(text) > width {
		text = append(text[:width-1], '…')
	}
	fmt.Fprint(p.out, string(text))
	p.drawn = true
}

func (p *progress) erase() {
	if p.drawn {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *progress) doing() string {
	names := make([]string, len(p.running))
	for i, r := range p.running {
		names[i] = fmt.Sprintf("%s (%s)", r.step.name, clock(p.now().Sub(r.start)))
	}
	return strings.Join(names, ", ")
}

// remaining is the estimate of what is left, as the end of a line.
func (p *progress) remaining() string {
	var left []*step
	for s := range p.waiting {
		left = append(left, s)
	}
	for _, r := range p.running {
		if rest := *r.step; rest.cost > 0 {
			// A step that takes longer than thought still counts a little: "0 left" would be a lie.
			rest.cost = max(rest.cost-p.now().Sub(r.start), 10*time.Second)
			left = append(left, &rest)
		}
	}
	total := estimate(left, runtime.NumCPU())
	if total <= 0 {
		return ""
	}
	return "; " + about(total) + " left"
}

// estimate is how long the steps take with that many processors: those that compile share them, and the others go on beside those, but
// for the last ones, which need all the others.
func estimate(steps []*step, processors int) time.Duration {
	var compiling, beside, last time.Duration
	for _, s := range steps {
		switch {
		case s.compiles:
			compiling += s.cost * 2 / time.Duration(max(processors, 1))
		case len(s.needs) > 1:
			last += s.cost
		default:
			beside = max(beside, s.cost)
		}
	}
	return max(compiling, beside) + last
}

// about rounds a time as one would say it.
func about(d time.Duration) string {
	if d < 100*time.Second {
		return fmt.Sprintf("about %d s", max(int(d.Round(10*time.Second).Seconds()), 10))
	}
	return fmt.Sprintf("about %d min", int(d.Round(time.Minute).Minutes()))
}

// clock is a time as 4:05.
func clock(d time.Duration) string {
	seconds := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
}
