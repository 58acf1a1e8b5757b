package timeline

import (
	"time"
)

// Timeline is the record of one run, with all of its lanes at the same time.
//
// Every time.Duration in a Timeline is an offset from Start, unless its comment says otherwise.
// Offsets come from the monotonic clock (see Clock), so a step of the wall clock during a run moves
// nothing.
type Timeline struct {
	Schema   string `json:"schema"`
	Spec     Spec   `json:"spec"` // what the run was declared to be
	Repeat   int    `json:"repeat"`
	Replicas int    `json:"replicas"` // Pods that the workload asks for
	// wall clock at offset zero, for people and for the offsets of other clocks
	Start       time.Time    `json:"start"`
	Window      Window       `json:"window"`
	Lanes       []LaneRecord `json:"lanes"`
	Events      []Event      `json:"events"`
	Environment Environment  `json:"environment"`
	// Senders are the processes that sent the load: this one, workers in the cluster.
	Senders []Sender `json:"senders,omitempty"`
	// Sources are those that the events and routes came from, each with what is known of its clock,
	// and with what it did not tell.
	Sources []Source `json:"sources,omitempty"`
	// Routes are the choices of kube-proxy, in the order of their time; stored beside the JSON.
	Routes Routes `json:"-"`
	// Forwards are what proxies passed on, in the order of their time; stored beside the JSON.
	Forwards Forwards `json:"-"`
	// Scrapes are those of consumers that are only watched, in the order of their time.
	Scrapes []Scrape `json:"scrapes,omitempty"`
	// Services are the app's; empty where nobody may list them, and in runs that were stored before
	// they were kept.
	Services []ServiceEndpoints `json:"services,omitempty"`
	// Served is the server's side of the ledger, as far as Pods told it.
	Served []Served `json:"served,omitempty"`
	// Held is the server's side of the ledger of held connections, as far as Pods told it.
	Held []HeldByPod `json:"held,omitempty"`
	// TasksByPod are the Pods' side of the ledger of long tasks; the queue's is the sender's that has it.
	TasksByPod []TaskByPod `json:"tasksByPod,omitempty"`
	// Interrupted says who or what ended the run before its time; empty if nobody did.
	Interrupted string `json:"interrupted,omitempty"`
	// Errors are what went wrong with the measurement itself, in the order in which it happened:
	// the disruption ended in an error, the run was interrupted, the API server went away. A
	// timeline with one is a record of what was seen until then.
	Errors []string `json:"errors,omitempty"`
	// Retry says why this run was made a second time: the reasons for which the first was
	// inconclusive, for the machine's sake. Empty for one that was made once.
	Retry []string `json:"retry,omitempty"`
}

// Window says when the phases of a run began. A phase that was never reached is zero, except
// LoadStart, which is zero by definition of the clock.
type Window struct {
	DisruptStart time.Duration `json:"disruptStart"` // lead is over, the disruption begins
	DisruptEnd   time.Duration `json:"disruptEnd"`   // the disruption's function returned
	Settled      time.Duration `json:"settled"`      // all Pods ready, and none terminating on a node that lives
	LoadEnd      time.Duration `json:"loadEnd"`      // instant up to which requests were due
	// Phase is, where a load balancer probes nodes, by how much the lead was lengthened: a length,
	// between 0 and the longest interval of a lane's balancer. It follows from the run's name and
	// repeat, and spreads the deletions of several runs over the time between two probes.
	Phase time.Duration `json:"phase,omitempty"`
	// length, not an offset: what the harness added beyond lead, disruption, termination and tail
	Overhead time.Duration `json:"overhead"`
}

// Seen is what an observer saw of the cluster in a run; the fields are those of Timeline.
type Seen struct {
	Events   []Event
	Served   []Served
	Sources  []Source
	Routes   Routes
	Forwards Forwards
	Scrapes  []Scrape
	Services []ServiceEndpoints
	Held     []HeldByPod
	Tasks    []TaskByPod
}

// Sender is a process that sent load. All instants of its records are on the run's clock already:
// what its own clock said was turned into that.
type Sender struct {
	Name string `json:"name"`           // host, client, worker-0
	Node string `json:"node,omitempty"` // of a worker in the cluster
	IP   string `json:"ip,omitempty"`   // where its connections come from; empty for host
	// Lanes are those that it sent, or had a share of: where several senders name a lane, the n-th
	// of them sent every request whose number, divided by their count, leaves n.
	Lanes []string `json:"lanes"`
	// Comparison is that of the sender's clock before the load; zero for the harness itself. Its
	// uncertainty is the greater of those before and after the load.
	Comparison
	// Drift is how much the offset had changed after the load; twice the uncertainty means nothing.
	Drift time.Duration `json:"drift"`
	// Pressure is the share of the time of the load, from 0 to 1, in which some task on the
	// sender's machine waited for a CPU (Linux PSI, cpu some); nil if the kernel doesn't tell.
	Pressure *float64 `json:"pressure,omitempty"`
	// Tasks are what its queue has given out, in that order; empty for a sender that has none.
	Tasks []TaskAttempt `json:"tasks,omitempty"`
}

// Served is how many requests of each lane a Pod says it has answered. A Pod that is killed tells
// nothing.
type Served struct {
	Pod      string         `json:"pod"`
	UID      string         `json:"uid,omitempty"` // empty for the last Pod of the name
	Answered map[string]int `json:"answered"`      // by lane; requests whose answer was handed to the kernel as a whole
	// Unanswered are the requests that it had begun, and not answered, when it gave up or ended.
	Unanswered []Unanswered `json:"unanswered,omitempty"`
}

// Unanswered is a request that a Pod had begun.
type Unanswered struct {
	Lane string `json:"lane"`
	Seq  int    `json:"seq"` // its number in the lane, from 0
}

// LaneRecord is what one lane did. What it was declared to do is in the Spec, under the same name.
type LaneRecord struct {
	Name string `json:"lane"`
	URL  string `json:"url"`
	Rate int    `json:"rate"` // requests per second, as its senders had it
	// Planned is how many requests were due before the end of the load, by the schedule.
	Planned int `json:"planned"`
	// Pods are the names that Request.Pod indexes, from 1.
	Pods []string `json:"pods"`
	// Addresses are the IPs that Request.Address indexes, from 1.
	Addresses []string `json:"addresses,omitempty"`
	// Lookups is how many DNS queries the lane's clients sent.
	Lookups int `json:"lookups,omitempty"`
	// Held are the connections that its clients held, client by client.
	Held []Held `json:"held,omitempty"`
	// Requests has one record per planned request, in the order of the plan, stored beside the
	// JSON.
	Requests []Request `json:"-"`
}

// Request is one planned request. It has a fixed size of 56 bytes, so that a run of a million
// requests can be kept in memory.
type Request struct {
	Planned time.Duration // when it was due
	Lag     time.Duration // length: how late it left, from the due instant to the start of sending
	// length: from the due instant to the last byte of the answer, or to the failure. A late sender
	// can't hide a slow server
	Latency time.Duration
	// length: how long the answering Pod had known of its SIGTERM; NotLeaving if it had not got
	// any, or nothing answered
	Leaving time.Duration
	Conn    uint32 // number of the connection in the answering Pod's process, from 1; 0 if nothing answered
	// ConnUse is which request on its connection this was, from 1: as the Pod counted if it
	// answered, else as the client did. 0 if it had no connection.
	ConnUse uint32
	Pod     uint16 // 1 + index in LaneRecord.Pods of the Pod that answered; 0 if nothing answered
	// Address is 1 + index in LaneRecord.Addresses of the IP that was dialled last by a client that
	// chose it itself; 0 if it didn't.
	Address uint16
	// local port of the last attempt, known also of one that was refused or never answered; 0 if
	// there was none
	Port  uint16
	Code  uint16 // HTTP status; 0 if there was no complete header. Of gRPC: the status that the server sent
	Cause Cause
	// Attempts counts how often the request went on the wire: connections it was given, and
	// connections that could not be made. An ok request with more than one attempt was dropped
	// once, which an ordinary client hides.
	Attempts uint8
}

// NotLeaving is the Leaving of a request that no Pod on its way out has answered.
const NotLeaving = time.Duration(-1)

// Sent is the instant at which the request left.
func (r Request) Sent() time.Duration { return r.Planned + r.Lag }

// Done is the instant at which the request ended, well or not.
func (r Request) Done() time.Duration { return r.Planned + r.Latency }

// Masked says that the request succeeded only because the client sent it again.
func (r Request) Masked() bool { return r.Cause == OK && r.Attempts > 1 }

// Dropped says that the request was sent and did not succeed.
func (r Request) Dropped() bool { return r.Cause != Unsent && r.Cause != OK }

// AddressOf is the IP that a client which chooses it itself sent a request to; "" if it didn't.
func (l LaneRecord) AddressOf(r Request) string {
	if r.Address == 0 || int(r.Address) > len(l.Addresses) {
		return ""
	}
	return l.Addresses[r.Address-1]
}

// PodOf names the Pod that answered a request of this lane; "" if none did.
func (l LaneRecord) PodOf(r Request) string {
	if r.Pod == 0 || int(r.Pod) > len(l.Pods) {
		return ""
	}
	return l.Pods[r.Pod-1]
}

// Environment says where a run was measured. A number without its environment compares with
// nothing.
type Environment struct {
	Kubernetes    string `json:"kubernetes"`    // version of the API server, as in v1.37.2
	Nodes         int    `json:"nodes"`         // of the cluster, control plane included
	ProxyMode     string `json:"proxyMode"`     // of kube-proxy: iptables, nftables; unknown if it can't be read
	MinSyncPeriod string `json:"minSyncPeriod"` // of kube-proxy in that mode, as it is in force
	Kernel        string `json:"kernel"`        // of the first node
	Runtime       string `json:"runtime"`       // container runtime of the first node
	CPUs          int    `json:"cpus"`          // of the machine that sends the load
}

// Clock turns instants into offsets from one start, by their monotonic reading.
type Clock struct{ start time.Time }

// NewClock starts a clock at the given instant, which must come from time.Now.
func NewClock(start time.Time) Clock { return Clock{start: start} }

// Start is the instant of offset zero.
func (c Clock) Start() time.Time { return c.start }

// Offset is the offset of an instant. An instant without a monotonic reading, such as one that
// another process wrote down, is compared by wall clock: then a step of the wall clock since the
// start shows in the result.
func (c Clock) Offset(t time.Time) time.Duration { return t.Sub(c.start) }

// Wall is the offset of an instant that somebody wrote down, by wall clock.
func (c Clock) Wall(t time.Time) time.Duration { return t.Round(0).Sub(c.start.Round(0)) }

// Stepped is by how much the wall clock was set forward since the start: what Offset and Wall make
// of the present differs by as much. A clock that is slewed, as NTP does with a small difference,
// shows nothing: both go along. What is less than clockGrain is neither a step nor worth telling,
// and is 0.
func (c Clock) Stepped() time.Duration {
	var step time.Duration
	for n := range readings {
		now := time.Now()
		if read := c.Wall(now) - c.Offset(now); n == 0 || read.Abs() < step.Abs() {
			step = read
		}
	}
	if step = step.Round(time.Microsecond); step.Abs() < clockGrain {
		return 0
	}
	return step
}

// readings of the wall clock and the monotonic one don't happen at once: a process that has to wait
// between the two finds a difference where there is none. The least of several is the true one.
const (
	readings   = 5
	clockGrain = 100 * time.Microsecond
)
