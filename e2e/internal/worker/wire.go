// Package worker sends load from another process. A worker is a Pod, or the client beside a cluster
// of ours, that runs traffic.SendShard; a Fleet, in the harness, tells workers what to send and when
// to stop, and takes over their records while they send. With a Pod all of it goes through the API
// server's proxy, so that a kubeconfig is all it takes.
//
//	harness                               worker
//	GET  /clock     ×20  ◀─ its clock ──  how far is it ahead, and how sure is that?
//	POST /probe     ── a URL ─────────▶   is the app there, seen from its node?
//	POST /start     ── lanes, shard ──▶   sends from the agreed instant on
//	GET  /records   ◀─ batch by batch ──  as requests end; taken up again where it was cut off
//	POST /stop      ── agreed end ────▶   sends until then, waits for what is in flight
//	POST /exit      ──────────────────▶   it ends
//
// Where Pods have long tasks to do, the first worker of a fleet has the queue that they take them from
// (package queue): it outlives all of them.
package worker

import (
	"net/netip"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Port is where workers listen.
const Port = 8090

// clockReading is the answer to GET /clock, as JSON.
type clockReading struct {
	UnixNano int64  `json:"unixNano"`
	Kernel   string `json:"kernel,omitempty"` // timeline.Kernel; empty if the clock isn't that kernel's own
}

// probeResponse is the answer to POST /probe with a Target, as JSON.
type probeResponse struct {
	Answer traffic.Answer `json:"answer"`
	Err    string         `json:"error,omitempty"`
}

// Target is where the app is reached.
type Target struct {
	URL string `json:"url"` // without a path
	// Dial is dialled in the place of the URL's host; zero: the host itself.
	Dial netip.Addr `json:"dial"`
	// App is the app that is asked; nil for the sample app.
	App *scenarios.Target `json:"app,omitempty"`
}

// startRequest is what a worker is to send, as JSON.
type startRequest struct {
	// Zero is the offset zero of the run, by the worker's own clock.
	Zero  int64          `json:"zeroUnixNano"`
	Lanes []traffic.Lane `json:"lanes"`
	Shard traffic.Shard  `json:"shard"`
	Max   time.Duration  `json:"max"`
	// Tasks are those that the worker has a queue of; nil: it has none.
	Tasks *timeline.TaskSpec `json:"tasks,omitempty"`
}

// stopRequest is the agreed end of the load, as JSON: an offset.
type stopRequest struct {
	Offset time.Duration `json:"offset"`
}

// batch is a part of the answer to GET /records, as gob: requests of one lane that have ended since
// the batch before, with all Pods and addresses so far.
type batch struct {
	Lane int // index in the start request, or noLane: then it only says that the worker is there
	traffic.Batch
	Last *summary // in the last batch of all
}

// noLane is the lane of a batch without requests. gob leaves zeros out, so that it can't be 0.
const noLane = -1

// summary closes a worker's ledgers.
type summary struct {
	Recorded []int // requests in its ledger, per lane
	Lookups  []int // DNS queries, per lane
	// Held are the connections that clients held, per lane: there are few of them, beside requests.
	Held     [][]timeline.Held
	Tasks    []timeline.TaskAttempt // that its queue has given out
	Pressure *float64
	Err      string // what went wrong in sending; empty if nothing did
}
