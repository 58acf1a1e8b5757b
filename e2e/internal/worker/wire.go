// Package worker sends load from within the cluster. A worker is a Pod that runs traffic.SendShare; a Fleet, in the harness, tells workers what to send and
// when to stop, and takes over their records while they send. All of it goes through the API server's Pod proxy, so that a kubeconfig is all it takes.
//
//	harness                               worker
//	GET  /clock     ×20  ◀─ its clock ──  how far is it ahead, and how sure is that?
//	POST /ask       ── a URL ─────────▶   is the app there, seen from its node?
//	POST /order     ── lanes, share ──▶   sends from the agreed instant on
//	GET  /records   ◀─ batch by batch ──  as requests end; taken up again where it was cut off
//	POST /end       ── agreed end ────▶   sends until then, waits for what is in flight
//	POST /exit      ──────────────────▶   the Pod completes
package worker

import (
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
)

// Port is where workers listen.
const Port = 8090

// clockReading is the answer to GET /clock, as JSON.
type clockReading struct {
	UnixNano int64  `json:"unixNano"`
	Kernel   string `json:"kernel,omitempty"` // timeline.Kernel; empty if the clock isn't that kernel's own
}

// question and reply are POST /ask and its answer, as JSON.
type (
	question struct {
		URL string `json:"url"` // of the app
	}
	reply struct {
		Pod string `json:"pod"`
		Err string `json:"error,omitempty"`
	}
)

// order is what a worker is to send, as JSON.
type order struct {
	// Zero is the offset zero of the run, by the worker's own clock.
	Zero  int64          `json:"zeroUnixNano"`
	Lanes []traffic.Lane `json:"lanes"`
	Share traffic.Share  `json:"share"`
	Max   time.Duration  `json:"max"`
}

// ending is the agreed end of the load, as JSON: an offset.
type ending struct {
	Offset time.Duration `json:"offset"`
}

// batch is a part of the answer to GET /records, as gob: requests of one lane that have ended since the batch before.
type batch struct {
	Lane     int // index in the order, or noLane: then it only says that the worker is there
	Seqs     []uint32
	Requests []timeline.Request
	Pods     []string // that the requests index, all so far
	Last     *summary // in the last batch of all
}

// noLane is the lane of a batch without requests. gob leaves zeros out, so that it can't be 0.
const noLane = -1

// summary closes a worker's books.
type summary struct {
	Recorded []int // requests in its ledger, per lane
	Pressure *float64
	Err      string // what went wrong in sending; empty if nothing did
}
