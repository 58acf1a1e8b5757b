package traffic

import (
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Ledger keeps the records of a lane by the number of the request, and the order in which requests ended, so that what is done can be handed on while the
// load goes on. Several senders that share a lane may write into one.
type Ledger struct {
	mu       sync.Mutex
	requests []timeline.Request
	order    []uint32 // numbers, as the requests ended
	pods     []string
}

// NewLedger is an empty ledger.
func NewLedger() *Ledger { return &Ledger{} }

// Put writes a request that has ended into the ledger, as answered by a Pod; "" if none did. A number that is there already is not taken again,
// and Put returns false: whoever counts what was taken finds one missing.
func (l *Ledger) Put(seq int, r timeline.Request, pod string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if missing := seq + 1 - len(l.requests); missing > 0 {
		l.requests = append(l.requests, make([]timeline.Request, missing)...)
	}
	if l.requests[seq].Cause != timeline.Unsent {
		return false
	}
	r.Pod = l.index(pod)
	l.requests[seq] = r
	l.order = append(l.order, uint32(seq))
	return true
}

// index is 1 + the place of a Pod among those that have answered so far; 0 for none.
func (l *Ledger) index(pod string) uint16 {
	if pod == "" {
		return 0
	}
	i := slices.Index(l.pods, pod)
	if i < 0 {
		i, l.pods = len(l.pods), append(l.pods, pod)
	}
	return uint16(i + 1)
}

// Since gives the requests that have ended after the first n that did, in the order in which they ended, with their numbers and the Pods that they index.
func (l *Ledger) Since(n int) (seqs []uint32, requests []timeline.Request, pods []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seqs = slices.Clone(l.order[min(n, len(l.order)):])
	for _, seq := range seqs {
		requests = append(requests, l.requests[seq])
	}
	return seqs, requests, slices.Clone(l.pods)
}

// Record is the lane's record: one request for each that was due up to the end, those never sent included. What was sent beyond is there, too, so that
// nothing that went out is forgotten; then the ledger doesn't balance, and that is for others to say.
func (l *Ledger) Record(lane Lane, end time.Duration) timeline.LaneRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	record := lane.record()
	record.Planned = lane.Planned(end)
	record.Pods = slices.Clone(l.pods)
	record.Requests = make([]timeline.Request, max(record.Planned, len(l.requests)))
	copy(record.Requests, l.requests)
	for seq := range record.Requests {
		if r := &record.Requests[seq]; r.Cause == timeline.Unsent {
			*r = timeline.Request{Planned: lane.Due(seq).Round(time.Microsecond), Leaving: timeline.NotLeaving}
		}
	}
	return record
}

// Len is how many requests are on record.
func (l *Ledger) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.order)
}

// Size is how many bytes the records take, with the room that is kept for more.
func (l *Ledger) Size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cap(l.requests)*int(unsafe.Sizeof(timeline.Request{})) + cap(l.order)*int(unsafe.Sizeof(uint32(0)))
}
