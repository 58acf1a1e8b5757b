package suite

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// progress says what is going on: one line that is written over on a terminal, plain lines
// elsewhere.
type progress struct {
	out   io.Writer
	live  bool
	began time.Time
}

// newProgress writes to the standard output, or past it to the terminal, if there is one.
func newProgress(toTerminal bool) *progress {
	p := &progress{out: os.Stdout, live: term.IsTerminal(int(os.Stdout.Fd())), began: time.Now()}
	if !p.live && toTerminal {
		if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
			p.out, p.live = tty, true
		}
	}
	return p
}

// eraseLine brings the cursor back to the first column and clears the line (ECMA-48 EL).
const eraseLine = "\r\x1b[K"

// step shows what is being done now.
func (p *progress) step(text string) {
	if p.live {
		_, _ = fmt.Fprintf(p.out, "%s%s", eraseLine, text)
		return
	}
	p.line("%s", text)
}

// clear takes the live line away.
func (p *progress) clear() {
	if p.live {
		_, _ = io.WriteString(p.out, eraseLine)
	}
}

// line shows something that stays.
func (p *progress) line(format string, args ...any) {
	p.clear()
	_, _ = fmt.Fprintf(p.out, "[%4.0fs] %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}

// runProgress is the progress of one run.
type runProgress struct {
	*progress
	name  string
	began time.Time
}

func (p *progress) run(i, n int, run scenarios.Run) runProgress {
	name := fmt.Sprintf("run %d of %d: %s", i, n, run.Path())
	if run.Repeat > 1 {
		name += fmt.Sprintf(" (repeat %d)", run.Repeat)
	}
	return runProgress{p, name, time.Now()}
}

// phase shows the phase that begins. Where lines stay, only the run's end is worth one.
func (p runProgress) phase(phase string) {
	if p.live {
		p.step(fmt.Sprintf("%s · %s", p.name, phase))
	}
}

func (p runProgress) done(v verdict.Verdict) {
	dropped, sent := 0, 0
	for _, l := range v.Lanes {
		dropped += l.Dropped
		sent += l.Sent
	}
	p.line("%s: %s, %d of %d dropped, %s", p.name, report.ResultOf(v), dropped, sent, seconds(time.Since(p.began)))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
