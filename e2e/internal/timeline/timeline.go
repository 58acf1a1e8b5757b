// Package timeline holds the facts of a run and nothing else: every request that was planned, every cluster event that was seen, all on one
// clock. What the facts mean is said elsewhere (package verdict), so that a stored timeline can be judged again, by other rules, without a cluster.
package timeline

import (
	"time"
)

// Timeline is the record of one run: one strategy under one disruption, with all lanes at the same time.
//
// Every time.Duration in a Timeline is an offset from Start, unless its comment says otherwise. Offsets come from the monotonic clock (see Clock), so a
// step of the wall clock during a run moves nothing.
type Timeline struct {
	Schema      string       `json:"schema"`
	Strategy    string       `json:"strategy"`
	Disruption  string       `json:"disruption"`
	Repeat      int          `json:"repeat"`
	Replicas    int          `json:"replicas"` // Pods the Deployment asks for
	Start       time.Time    `json:"start"`    // wall clock at offset zero, for people and for the offsets of other clocks
	Window      Window       `json:"window"`
	Lanes       []LaneRecord `json:"lanes"`
	Events      []Event      `json:"events"`
	Environment Environment  `json:"environment"`
	// Senders are the processes that sent the load: this one, workers in the cluster.
	Senders []Sender `json:"senders,omitempty"`
	// Sources are those that the events and routes came from, each with what is known of its clock, and with what it did not tell.
	Sources []Source `json:"sources,omitempty"`
	// Routes are the choices of kube-proxy, in the order of their time. They are stored beside the JSON, as CSV.
	Routes Routes `json:"-"`
	// Served is the server's side of the ledger, as far as Pods told it.
	Served []Served `json:"served,omitempty"`
	// Interrupted says who or what asked for the run to end before its time; empty for a run that was left alone.
	Interrupted string `json:"interrupted,omitempty"`
	// Faults are what went wrong with the measurement itself, in the order in which it happened: the disruption ended in an error, the run was
	// interrupted, the API server went away. A timeline with a fault is a record of what was seen until then.
	Faults []string `json:"faults,omitempty"`
}

// Window says when the phases of a run began. A phase that was never reached is zero, except LoadStart, which is zero by definition of the clock.
type Window struct {
	DisruptStart time.Duration `json:"disruptStart"` // lead is over, the disruption begins
	DisruptEnd   time.Duration `json:"disruptEnd"`   // the disruption's function returned
	Settled      time.Duration `json:"settled"`      // all Pods ready and no Pod terminating
	LoadEnd      time.Duration `json:"loadEnd"`      // instant up to which requests were due
	Overhead     time.Duration `json:"overhead"`     // length, not an offset: what the harness added beyond lead, disruption, termination and tail
}

// Seen is what an observer saw of the cluster in a run; the fields are those of Timeline.
type Seen struct {
	Events  []Event
	Served  []Served
	Sources []Source
	Routes  Routes
}

// Sender is a process that sent load. All instants of its records are on the run's clock already: what its own clock said was turned into that.
type Sender struct {
	Name string `json:"name"`           // host, worker-0
	Node string `json:"node,omitempty"` // of a worker
	IP   string `json:"ip,omitempty"`   // of a worker: where its connections come from
	// Lanes are those that it sent, or had a share of: where several senders name a lane, the n-th of them sent every request whose number, divided by their
	// count, leaves n.
	Lanes []string `json:"lanes"`
	// Comparison is that of the sender's clock before the load; zero for the harness itself. Its uncertainty is the greater of those before and after the load.
	Comparison
	// Drift is how much the offset had changed when the load was over; a length, of which twice the uncertainty means nothing.
	Drift time.Duration `json:"drift"`
	// Pressure is the share of the time of the load, from 0 to 1, in which some task on the sender's machine waited for a CPU (Linux PSI, cpu some); nil if
	// the kernel doesn't tell.
	Pressure *float64 `json:"pressure,omitempty"`
}

// Served is how many requests of each lane a Pod says it has answered. A Pod that is killed tells nothing.
type Served struct {
	Pod      string         `json:"pod"`
	Answered map[string]int `json:"answered"` // by lane; requests whose answer was handed to the kernel as a whole
}

// LaneRecord is what one lane (one path and one load) did.
type LaneRecord struct {
	Name        string `json:"lane"` // path/load, as in nodeport/new
	URL         string `json:"url"`
	Method      string `json:"method"`
	From        string `json:"from,omitempty"` // host, cluster; empty in timelines that are older than the second
	Connections string `json:"connections"`    // new, reused
	// Replayable says that http.Transport was free to send a request again, as it is in ordinary clients.
	Replayable bool          `json:"replayable,omitempty"`
	Rate       int           `json:"rate"`    // requests per second
	Work       time.Duration `json:"work"`    // length: what the server is asked to work for each request
	Timeout    time.Duration `json:"timeout"` // length: how long the client waits for a complete answer
	// Planned is how many requests were due before the end of the load, counted by the schedule and not by the records.
	Planned int `json:"planned"`
	// Pods are the names that Request.Pod indexes, from 1.
	Pods []string `json:"pods"`
	// Requests has one record per planned request, in the order of the plan. It is stored beside the JSON, as CSV.
	Requests []Request `json:"-"`
}

// Request is one planned request. It has a fixed size of 48 bytes, so that a run of a million requests can be kept in memory.
type Request struct {
	Planned time.Duration // when it was due
	Lag     time.Duration // length: how late it left, from the due instant to the start of sending
	Latency time.Duration // length: from the due instant to the last byte of the answer, or to the failure. A late sender can't hide a slow server
	Leaving time.Duration // length: how long the answering Pod had known of its SIGTERM; NotLeaving if it had not got any, or nothing answered
	Conn    uint32        // number of the connection in the answering Pod's process, from 1; 0 if nothing answered
	// ConnUse is which request on its connection this was, from 1: as the Pod counted if it answered, else as the client did. 0 if it had no connection.
	ConnUse uint32
	Pod     uint16 // 1 + index in LaneRecord.Pods of the Pod that answered; 0 if nothing answered
	Port    uint16 // local port of the last attempt, known also of one that was refused or never answered; 0 if there was none
	Code    uint16 // HTTP status; 0 if there was no complete header
	Cause   Cause
	// Attempts counts how often the request went on the wire: connections it was given, and connections that could not be made. An ok request
	// with more than one attempt is a loss that an ordinary client would have hidden.
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

// PodOf names the Pod that answered a request of this lane; "" if none did.
func (l LaneRecord) PodOf(r Request) string {
	if r.Pod == 0 || int(r.Pod) > len(l.Pods) {
		return ""
	}
	return l.Pods[r.Pod-1]
}

// Environment says where a run was measured. A number without its environment compares with nothing.
type Environment struct {
	Kubernetes    string `json:"kubernetes"`    // version of the API server, as in v1.37.2
	Nodes         int    `json:"nodes"`         // of the cluster, control plane included
	ProxyMode     string `json:"proxyMode"`     // of kube-proxy: iptables, nftables; unknown if it can't be read
	MinSyncPeriod string `json:"minSyncPeriod"` // of kube-proxy in that mode, as it is in force
	Kernel        string `json:"kernel"`        // of the first node
	Runtime       string `json:"runtime"`       // container runtime of the first node
	CPUs          int    `json:"cpus"`          // of the machine that sends the load
}

// Clock turns instants into offsets from one start. It relies on the monotonic reading that time.Now carries.
type Clock struct{ start time.Time }

// NewClock starts a clock at the given instant, which must come from time.Now.
func NewClock(start time.Time) Clock { return Clock{start: start} }

// Start is the instant of offset zero.
func (c Clock) Start() time.Time { return c.start }

// Offset is the offset of an instant. An instant without a monotonic reading, such as one that another process wrote down, is compared by wall
// clock: then a step of the wall clock since the start shows in the result.
func (c Clock) Offset(t time.Time) time.Duration { return t.Sub(c.start) }

// Wall is the offset of an instant by wall clock: of one that this or another process wrote down, as a number.
func (c Clock) Wall(t time.Time) time.Duration { return t.Round(0).Sub(c.start.Round(0)) }

// Stepped is by how much the wall clock was set forward since the start: what Offset and Wall make of the present differs by as much. A clock that is slewed, as
// NTP does with a small difference, shows nothing: both go along. What is less than clockGrain is neither a step nor worth telling, and is 0.
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

// readings of the wall clock and the monotonic one don't happen at once: a process that has to wait between the two finds a difference where there is none. The
// least of several is the true one.
const (
	readings   = 5
	clockGrain = 100 * time.Microsecond
)
