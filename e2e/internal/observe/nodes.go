package observe

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Node is a node whose own programs can be run.
type Node struct {
	Name string
	IP   string // that clients outside ask
	// AuditLog is the file there to which an API server writes its audit log, of what
	// fixtures/audit-policy.yaml says; empty if there is none.
	AuditLog string
	// Run runs a program on the node until it ends or ctx is over, and writes what it prints to
	// stdout line by line, as it comes.
	Run func(ctx context.Context, stdout io.Writer, command string, args ...string) error
}

// watchedNode is a Node and the comparison of its clock, which is made once for all sources on it.
type watchedNode struct {
	Node
	turn       chan struct{} // for one at a time; a channel, as a bubble of testing/synctest stands still for a mutex
	compared   bool
	comparison timeline.Comparison
	err        error
}

func watched(node Node) *watchedNode { return &watchedNode{Node: node, turn: make(chan struct{}, 1)} }

// comparisons is how often the clock of a node is read; the shortest exchange counts.
const comparisons = 5

// askWithin is how long a node may take to answer what needs no work.
const askWithin = 5 * time.Second

// compareClocks compares the clocks unless that was done.
func (n *watchedNode) compareClocks(ctx context.Context, clock timeline.Clock) error {
	n.turn <- struct{}{}
	defer func() { <-n.turn }()
	if !n.compared {
		n.comparison, n.err = n.compare(ctx, clock)
		n.compared = true
	}
	return n.err
}

// compare finds how far the node's wall clock is ahead. Where the node's kernel is this process'
// own, as in kind on Linux, it is the same clock.
func (n *watchedNode) compare(ctx context.Context, clock timeline.Clock) (timeline.Comparison, error) {
	kernel, err := n.ask(ctx, "cat", timeline.KernelFile)
	if err != nil || timeline.SameKernel(kernel) {
		return timeline.Comparison{SameClock: err == nil}, err
	}
	return timeline.Compare(comparisons, func() (e timeline.Exchange, err error) {
		e.Sent = clock.Offset(time.Now())
		text, err := n.ask(ctx, "date", "+%s%N")
		e.Received = clock.Offset(time.Now())
		if err != nil {
			return e, err
		}
		nanos, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return e, fmt.Errorf("read the clock of node %s: %w", n.Name, err)
		}
		e.Reading = clock.Wall(time.Unix(0, nanos))
		return e, nil
	})
}

func (n *watchedNode) ask(ctx context.Context, command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var out bytes.Buffer
	err := n.Run(ctx, &out, command, args...)
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return "", fmt.Errorf("ask node %s (%s): %w", n.Name, command, err)
	}
	return strings.TrimSpace(out.String()), nil
}

// offset turns an instant of the node's wall clock into an offset. The clocks must have been
// compared.
func (n *watchedNode) offset(clock timeline.Clock, at time.Time) time.Duration {
	return clock.Wall(at) - n.comparison.Correction()
}

// follow runs a program on the node until ctx ends and calls do with each line that it prints. It
// returns the source's record, with Missing if the program ended before.
func (n *watchedNode) follow(
	ctx context.Context, to Recorder, kind timeline.SourceKind, do func(line []byte), command string, args ...string,
) timeline.Source {
	err := n.compareClocks(ctx, to.clock)
	if err == nil {
		err = n.Run(ctx, &lines{do: do}, command, args...)
	}
	source := timeline.Source{Kind: kind, Node: n.Name, IP: n.IP, Comparison: n.comparison}
	if ctx.Err() == nil {
		why := "it ended"
		if err != nil {
			why = err.Error()
		}
		source.Missing = fmt.Sprintf("from %s on: %s", to.now().Round(time.Millisecond), why)
	}
	return source
}

// lines calls do with each whole line that is written to it, and drops a last one without an end:
// it was cut off.
type lines struct {
	do   func(line []byte)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.do(line)
		l.rest = rest
	}
}
