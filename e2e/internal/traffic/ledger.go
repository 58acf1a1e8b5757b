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
//
// It grows by pages of a fixed size: a slice that grows as a whole keeps up to a quarter more than it needs, and twice as much while it is copied.
type Ledger struct {
	mu    sync.Mutex
	pages []*page
	len   int // one more than the highest number
	ended int // how many requests are on record
	pods  []string
}

// page is a part of a ledger: the requests of these numbers, and as many lines of the order in which requests ended.
type page struct {
	requests [pageSize]timeline.Request
	order    [pageSize]uint32 // numbers, as the requests ended
}

// pageSize makes pages just smaller than 32 KiB: small enough for a lane of a few hundred requests, and of a size that the memory allocator rounds up by eight
// bytes.
const pageSize = 630

// NewLedger is an empty ledger.
func NewLedger() *Ledger { return &Ledger{} }

// Put writes a request that has ended into the ledger, as answered by a Pod; "" if none did. A number that is there already is not taken again,
// and Put returns false: whoever counts what was taken finds one missing.
func (l *Ledger) Put(seq int, r timeline.Request, pod string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for seq >= len(l.pages)*pageSize {
		l.pages = append(l.pages, new(page))
	}
	place := l.request(seq)
	if place.Cause != timeline.Unsent {
		return false
	}
	r.Pod = l.index(pod)
	*place = r
	*l.line(l.ended) = uint32(seq)
	l.ended++
	l.len = max(l.len, seq+1)
	return true
}

// request is the place of a request's record.
func (l *Ledger) request(seq int) *timeline.Request {
	return &l.pages[seq/pageSize].requests[seq%pageSize]
}

// line is the place of the number of the request that ended as the n-th. There are never more of them than there are places for requests.
func (l *Ledger) line(n int) *uint32 { return &l.pages[n/pageSize].order[n%pageSize] }

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
	for ; n < l.ended; n++ {
		seq := *l.line(n)
		seqs, requests = append(seqs, seq), append(requests, *l.request(int(seq)))
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
	record.Requests = make([]timeline.Request, max(record.Planned, l.len))
	for i, p := range l.pages {
		copy(record.Requests[min(i*pageSize, len(record.Requests)):], p.requests[:])
	}
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
	return l.ended
}

// Size is how many bytes the records take, with the room for more in the last page.
func (l *Ledger) Size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pages) * int(unsafe.Sizeof(page{}))
}
