// Package observe watches the app's Pods, their endpoints, their logs and the nodes they run on,
// and records what happens as events on the run's clock. It is the only watcher, and it writes
// nothing to the cluster.
//
// Each Source is a file of its own and a line in sources:
//
//	apiwatch.go   Pods, EndpointSlices, Nodes and Events, as the API server delivers them
//	services.go   what the endpoints of the app's Services are in when the run begins
//	runtime.go    sandboxes, containers and processes, as containerd on a node has them
//	conntrack.go  the Pods that kube-proxy chose for new connections, as a node's kernel has them
//	audit.go      when the API server made the changes that it delivers, and who asked for them
//	applog.go     what the app says in its log
//	accesslog.go  what a proxy says that it passed on, and to whom
//	prometheus.go when Prometheus scraped each Pod, as its own series have it
//
// The sources run at the same time and record to one Record. A source that needs what others have
// recorded, such as the Pod of a container ID, uses it at the end (Recorder.AtEnd).
package observe

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Config says what to watch.
type Config struct {
	Client    kubernetes.Interface
	Namespace string
	Selector  string   // label selector of the Pods
	Services  []string // their EndpointSlices are watched
	Container string   // of each Pod: its log is read, its process is followed
	// Foreign says that the app isn't the sample app: its log is kept, and nothing is read in it.
	Foreign bool
	// LogDir gets the log of each Pod as <pod>.log, of the second of a name as <pod>.2.log, and that of
	// a container that was started again as <pod>-restart-1.log; empty for no files. The events in the
	// logs are read all the same.
	LogDir string
	// Nodes are those that can be asked for what the API server doesn't know: connections,
	// processes. Empty where no node can be asked.
	Nodes []Node
	// AccessLogs are those of the proxies that the load goes through.
	AccessLogs []AccessLog
	// Scrapers are the consumers that are only watched.
	Scrapers []Scraper
}

// sources lists what is observed, in the order in which the sources are merged.
func sources(config Config) []Source {
	list := []Source{apiWatch{config}, serviceObjects{config}}
	var nodes []*watchedNode
	for _, node := range config.Nodes {
		n := watched(node)
		nodes = append(nodes, n)
		list = append(list, runtimeEvents{n}, conntrack{n})
		if n.AuditLog != "" {
			list = append(list, auditLog{n, config.Namespace})
		}
	}
	for _, scraper := range config.Scrapers {
		s := scraping{Scraper: scraper}
		if i := slices.IndexFunc(nodes, func(n *watchedNode) bool { return n.Name == scraper.Node }); i >= 0 {
			s.node = nodes[i]
		}
		list = append(list, s)
	}
	for _, log := range config.AccessLogs {
		i := slices.IndexFunc(nodes, func(n *watchedNode) bool { return n.Name == log.Node.Name })
		if i < 0 {
			i, nodes = len(nodes), append(nodes, watched(log.Node))
		}
		list = append(list, accessLog{log, nodes[i]})
	}
	if config.Foreign && config.LogDir == "" {
		return list // nobody wants its log
	}
	return append(list, appLog{config, nodes})
}

// Source is one place that events come from.
type Source interface {
	// Name identifies the source in what is recorded when it fails.
	Name() string
	// Run records until ctx ends. It calls to.Ready once it misses nothing that happens from then
	// on. An error before that fails Start. A source that the run can do without returns nil
	// instead, and records what it could not see: as an event, or as a timeline.Source with
	// Missing.
	Run(ctx context.Context, to Recorder) error
}

// Observation is a watch that is under way.
type Observation struct {
	record  *Record
	cancel  context.CancelFunc
	running sync.WaitGroup
	merge   sync.Once
}

// Start begins to watch and returns when all sources are ready. Stop must be called.
func Start(ctx context.Context, clock timeline.Clock, config Config) (*Observation, error) {
	return start(ctx, clock, sources(config))
}

func start(ctx context.Context, clock timeline.Clock, sources []Source) (*Observation, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &Observation{record: newRecord(clock, len(sources)), cancel: cancel}
	first := make(chan error, len(sources)) // of each source: nil when it is ready, or what Run returned before that
	for i, source := range sources {
		var once sync.Once
		to := Recorder{Record: o.record, index: i, ready: func() { once.Do(func() { first <- nil }) }}
		o.running.Go(func() {
			err := source.Run(ctx, to)
			wasReady := true
			once.Do(func() { first <- err; wasReady = false })
			if wasReady && err != nil && ctx.Err() == nil {
				why := source.Name() + ": " + err.Error()
				to.Add(timeline.Event{At: to.now(), Kind: timeline.WatchGap, Detail: why})
			}
		})
	}
	for range sources {
		if err := <-first; err != nil {
			o.Stop()
			return nil, err
		}
	}
	return o, nil
}

// Stop ends the watch and returns what was recorded, merged: events and routes are in the order of
// their time.
func (o *Observation) Stop() timeline.Seen {
	o.cancel()
	o.running.Wait()
	o.merge.Do(o.record.merge)
	seen := o.record.Seen
	seen.Served = slices.Clone(seen.Served) // callers append to it
	return seen
}

// Record is what all sources have recorded.
type Record struct {
	clock timeline.Clock
	atEnd []func(all *Record) // by source

	mu sync.Mutex // of all that follows, until all sources have ended
	timeline.Seen
	recorded   map[mark]bool
	started    []timeline.Event          // Pods whose container has started, or was started again
	more       chan struct{}             // closed and replaced when started grows
	containers map[string]timeline.Event // by ID: Pod, UID, node and Restart
	routes     []route
}

// pod tells Pods apart: a StatefulSet uses names again.
type pod struct{ name, uid string }

// mark is a kind of event that is recorded once per Pod, or once for each container that a Pod has
// had in the same place.
type mark struct {
	pod     pod
	kind    timeline.Kind
	restart int
}

func markOf(e timeline.Event) mark { return mark{pod{e.Pod, e.UID}, e.Kind, e.Restart} }

// route is a choice of kube-proxy.
type route struct {
	at                   time.Duration
	node, source, target string
	port                 uint16
}

func newRecord(clock timeline.Clock, sources int) *Record {
	return &Record{
		clock: clock, recorded: map[mark]bool{}, more: make(chan struct{}), containers: map[string]timeline.Event{},
		atEnd: make([]func(*Record), sources),
	}
}

// Recorder is a source's access to the Record.
type Recorder struct {
	*Record
	index int
	ready func()
}

// Ready says that the source misses nothing from now on, or that it isn't worth waiting for any
// longer.
func (r Recorder) Ready() { r.ready() }

// AtEnd sets what the source does when all sources have ended. These functions run one after the
// other, in the order of the sources, and may read and change everything that was recorded.
func (r Recorder) AtEnd(do func(all *Record)) {
	r.atEnd[r.index] = do
}

func (r *Record) now() time.Duration { return r.clock.Offset(time.Now()) }

// Add records an event.
func (r *Record) Add(e timeline.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Events = append(r.Events, e)
}

// Once records an event unless the Pod's container had one of the kind already.
func (r *Record) Once(e timeline.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := markOf(e)
	if r.recorded[key] {
		return
	}
	r.recorded[key] = true
	r.Events = append(r.Events, e)
	if e.Kind == timeline.PodStarted {
		r.started = append(r.started, e)
		close(r.more)
		r.more = make(chan struct{})
	}
}

// Has says whether an event was recorded with Once.
func (r *Record) Has(key mark) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recorded[key]
}

// Withdraw removes an event that was recorded with Once and turned out not to have happened.
func (r *Record) Withdraw(key mark) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recorded[key] {
		delete(r.recorded, key)
		r.Events = slices.DeleteFunc(r.Events, func(e timeline.Event) bool { return markOf(e) == key })
	}
}

// EachStarted calls do with the PodStarted event of each container, now and when it comes, until ctx
// ends.
func (r *Record) EachStarted(ctx context.Context, do func(timeline.Event)) {
	for done := 0; ctx.Err() == nil; {
		r.mu.Lock()
		started, more := r.started[done:], r.more
		r.mu.Unlock()
		for _, e := range started {
			do(e)
		}
		done += len(started)
		select {
		case <-more:
		case <-ctx.Done():
		}
	}
}

// OwnContainer records the Pod that a container belongs to, by the container's ID, and returns how
// many containers of that Pod were recorded before it.
func (r *Record) OwnContainer(id string, of timeline.Event) (restart int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.containers[id]; ok {
		return known.Restart
	}
	for _, other := range r.containers {
		if other.Pod == of.Pod && other.UID == of.UID {
			restart++
		}
	}
	r.containers[id] = timeline.Event{Pod: of.Pod, UID: of.UID, Node: of.Node, Restart: restart}
	return restart
}

// podIPs are the addresses that the app's Pods have had. It is for functions that run at the end.
func (r *Record) podIPs() map[string]bool {
	ips := map[string]bool{}
	for _, e := range r.Events {
		ips[e.IP] = e.IP != ""
	}
	return ips
}

// merge runs the sources' functions for the end and sorts. All sources must have ended: nothing is
// locked.
func (r *Record) merge() {
	for _, do := range r.atEnd {
		if do != nil {
			do(r)
		}
	}
	slices.SortStableFunc(r.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(r.Forwards.List, func(a, b timeline.Forward) int { return cmp.Compare(a.At, b.At) })
	slices.SortStableFunc(r.routes, func(a, b route) int { return cmp.Compare(a.at, b.at) })
	for _, from := range r.routes {
		var indices [3]uint16
		for i, name := range []string{from.node, from.source, from.target} {
			index, err := r.Routes.Index(name)
			if err != nil {
				return // more addresses than a cluster of one run has
			}
			indices[i] = index
		}
		r.Routes.List = append(r.Routes.List, timeline.Route{
			At: from.at.Round(time.Microsecond), Port: from.port,
			Node: indices[0], Source: indices[1], Target: indices[2],
		})
	}
}
