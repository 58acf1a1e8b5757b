package observe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Node is a node whose own programs can be run.
type Node struct {
	Name string
	// Etcd says that etcd runs there, and that it logs every write (see fixtures/kind.yaml).
	Etcd bool
	// Run runs a program on the node until it ends or ctx is over, and writes what it prints to stdout line by line, as it comes.
	Run func(ctx context.Context, stdout io.Writer, command string, args ...string) error
}

// nodeWatch is what a node tells: of connections, of processes, and of what etcd has written.
type nodeWatch struct {
	observation *Observation
	node        Node
	clock       timeline.Comparison // common to all that the node tells
	routes      []route
	exits       []process
	writes      map[place]time.Duration // when etcd began to apply each
	missing     map[timeline.SourceKind]string
	listening   chan struct{} // closed when connection tracking tells, or never will
	heard       sync.Once
}

// route is a choice of kube-proxy, process the start or the end of a container's process; both as a node tells them.
type (
	route struct {
		at             time.Duration
		source, target string
		port           uint16
	}
	process struct {
		at        time.Duration
		kind      timeline.Kind
		container string
		code      int
	}
)

// comparisons is how often the clock of a node is read; the shortest exchange counts.
const comparisons = 5

// watchNodes begins to watch every node, and returns when what they will tell is on its way. What can't be had of a node is written down, and is no error: the
// run is worth having without it.
func (o *Observation) watchNodes(ctx context.Context) {
	for _, node := range o.config.Nodes {
		w := &nodeWatch{observation: o, node: node, writes: map[place]time.Duration{}, missing: map[timeline.SourceKind]string{}, listening: make(chan struct{})}
		o.nodes = append(o.nodes, w)
		o.done.Go(func() {
			if err := w.compareClocks(ctx); err != nil {
				for _, kind := range w.kinds() {
					w.miss(ctx, kind, err)
				}
				return
			}
			o.done.Go(func() {
				// Only new connections: nothing else says whom kube-proxy chose. The buffer holds a burst for a reader that has to wait for a CPU.
				err := node.Run(ctx, &lines{see: w.seeConnection}, "sh", "-c", "exec conntrack -E -e NEW -p tcp -o timestamp -b 8388608 2>&1")
				w.miss(ctx, timeline.SourceConntrack, err)
			})
			if node.Etcd && w.undatable(0) == "" {
				o.done.Go(func() {
					err := node.Run(ctx, &lines{see: w.seeWrite}, "sh", "-c", followEtcd)
					w.miss(ctx, timeline.SourceEtcd, err)
				})
			}
			err := node.Run(ctx, &lines{see: w.seeProcess}, "ctr", "-n", "k8s.io", "events")
			w.miss(ctx, timeline.SourceRuntime, err)
		})
	}
}

// awaitNodes waits until connection tracking tells of every node, or can't: what begins before that would go unseen.
func (o *Observation) awaitNodes(ctx context.Context) {
	patience := time.NewTimer(askWithin)
	defer patience.Stop()
	for _, w := range o.nodes {
		select {
		case <-w.listening:
		case <-patience.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// kinds are those of the sources that the node should be.
func (w *nodeWatch) kinds() []timeline.SourceKind {
	kinds := []timeline.SourceKind{timeline.SourceRuntime, timeline.SourceConntrack}
	if w.node.Etcd {
		kinds = append(kinds, timeline.SourceEtcd)
	}
	return kinds
}

func (w *nodeWatch) hear() { w.heard.Do(func() { close(w.listening) }) }

// subscribed is what conntrack says, on its standard error, when it has subscribed to the kernel's events and sets the size of its buffer.
const subscribed = "Netlink socket buffer size has been set"

// miss writes down that a source ended before the observation did.
func (w *nodeWatch) miss(ctx context.Context, kind timeline.SourceKind, err error) {
	if kind == timeline.SourceConntrack {
		w.hear()
	}
	if ctx.Err() != nil {
		return
	}
	why := "it ended"
	if err != nil {
		why = err.Error()
	}
	w.observation.mu.Lock()
	defer w.observation.mu.Unlock()
	w.missing[kind] = fmt.Sprintf("from %s on: %s", w.observation.now().Round(time.Millisecond), why)
}

// compareClocks finds how far the node's wall clock is ahead. Where the node's kernel is this one's, as in kind on Linux, it is the same clock.
func (w *nodeWatch) compareClocks(ctx context.Context) error {
	kernel, err := w.ask(ctx, "cat", timeline.KernelFile)
	if err != nil {
		return err
	}
	if w.clock.SameClock = timeline.SameKernel(kernel); w.clock.SameClock {
		return nil
	}
	w.clock, err = timeline.Compare(comparisons, func() (e timeline.Exchange, err error) {
		e.Sent = w.observation.now()
		text, err := w.ask(ctx, "date", "+%s%N")
		e.Received = w.observation.now()
		if err != nil {
			return e, err
		}
		nanos, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return e, fmt.Errorf("read the clock of node %s: %w", w.node.Name, err)
		}
		e.Reading = w.observation.clock.Wall(time.Unix(0, nanos))
		return e, nil
	})
	return err
}

// askWithin is how long a node may take to answer what needs no work.
const askWithin = 5 * time.Second

func (w *nodeWatch) ask(ctx context.Context, command string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var out bytes.Buffer
	err := w.node.Run(ctx, &out, command, args...)
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return "", fmt.Errorf("ask node %s (%s): %w", w.node.Name, command, err)
	}
	return strings.TrimSpace(out.String()), nil
}

// offset turns an instant of the node's wall clock into an offset.
func (w *nodeWatch) offset(at time.Time) time.Duration {
	return w.observation.clock.Wall(at) - w.clock.Correction()
}

// seeConnection reads a line of conntrack:
//
//	[1795382109.014939]     [NEW] tcp      6 120 SYN_SENT src=10.244.0.41 dst=10.96.197.182 sport=33998 dport=80 [UNREPLIED] src=10.244.1.7 dst=10.244.0.41 sport=8080 dport=33998
//
// The first addresses are those of the packet, the second those that an answer will have. Where the answer will come from another address than the packet went
// to, the node has chosen it. Any other line is of a connection in which nothing was chosen here.
func (w *nodeWatch) seeConnection(line []byte) {
	if bytes.Contains(line, []byte(subscribed)) {
		w.hear()
		return
	}
	var sources, targets, ports []string
	fields := strings.Fields(string(line))
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "src":
			sources = append(sources, value)
		case "dst":
			targets = append(targets, value)
		case "sport":
			ports = append(ports, value)
		}
	}
	if len(sources) != 2 || len(targets) != 2 || len(ports) != 2 || sources[1] == targets[0] {
		return
	}
	at, err := seconds(strings.Trim(fields[0], "[]"))
	if err != nil {
		return
	}
	port, err := strconv.ParseUint(ports[0], 10, 16)
	if err != nil {
		return
	}
	w.observation.mu.Lock()
	defer w.observation.mu.Unlock()
	w.routes = append(w.routes, route{w.offset(at), sources[0], sources[1], uint16(port)})
}

// seconds reads an instant as conntrack prints it: seconds and six digits.
func seconds(text string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	s, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	if len(fraction) != 6 {
		return time.Time{}, fmt.Errorf("%q has no microseconds", text)
	}
	micros, err := strconv.ParseInt(fraction, 10, 64)
	return time.Unix(s, micros*1000), err
}

// seeProcess reads a line of containerd's events:
//
//	2026-11-22 21:33:17.613095017 +0000 UTC k8s.io /tasks/exit {"container_id":"07f…","id":"07f…","pid":21358,"exited_at":{"seconds":1795383197,"nanos":612815790}}
//
// Where id is another than the container's, it is a process that was run in it, such as a probe.
func (w *nodeWatch) seeProcess(line []byte) {
	fields := bytes.SplitN(line, []byte(" "), 7)
	if len(fields) < 7 {
		return
	}
	var task struct {
		Container string `json:"container_id"`
		ID        string `json:"id"`
		Status    int    `json:"exit_status"`
		ExitedAt  struct {
			Seconds int64 `json:"seconds"`
			Nanos   int64 `json:"nanos"`
		} `json:"exited_at"`
	}
	topic := string(fields[5])
	if topic != "/tasks/start" && topic != "/tasks/exit" || json.Unmarshal(fields[6], &task) != nil {
		return
	}
	p := process{kind: timeline.ProcessStart, container: task.Container}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700", string(bytes.Join(fields[:3], []byte(" "))))
	if topic == "/tasks/exit" {
		if task.ID != task.Container {
			return
		}
		p.kind, p.code = timeline.ProcessExit, task.Status
		at, err = time.Unix(task.ExitedAt.Seconds, task.ExitedAt.Nanos), nil
	}
	if err != nil {
		return
	}
	w.observation.mu.Lock()
	defer w.observation.mu.Unlock()
	p.at = w.offset(at)
	w.exits = append(w.exits, p)
}

// settle puts what the nodes have told with what the API server has: instants with its events, processes with their Pods, choices with the app's addresses. The
// lock must be held.
func (o *Observation) settle() {
	ips := map[string]bool{}
	for _, e := range o.events {
		if e.IP != "" {
			ips[e.IP] = true
		}
	}
	type placed struct {
		node string
		route
	}
	var all []placed
	stepped := o.clock.Stepped()
	for _, w := range o.nodes {
		if w.node.Etcd {
			o.date(w, stepped)
		}
		for _, kind := range w.kinds() {
			o.sources = append(o.sources, timeline.Source{Kind: kind, Node: w.node.Name, Comparison: w.clock, Missing: w.missing[kind]})
		}
		for _, p := range w.exits {
			if e, ours := o.containers[p.container]; ours {
				e.At, e.Kind, e.Code = p.at, p.kind, p.code
				o.events = append(o.events, e)
			}
		}
		for _, r := range w.routes {
			if ips[r.target] {
				all = append(all, placed{w.node.Name, r})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	for _, r := range all {
		var indices [3]uint16
		for i, name := range []string{r.node, r.source, r.target} {
			index, err := o.routes.Index(name)
			if err != nil {
				return // more addresses than a cluster of one run has
			}
			indices[i] = index
		}
		o.routes.List = append(o.routes.List, timeline.Route{
			At: r.at.Round(time.Microsecond), Node: indices[0], Source: indices[1], Target: indices[2], Port: r.port,
		})
	}
}
