package traffic

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Ledger keeps the records of a lane by the number of the request, and the order in which requests
// ended, so that what is done can be handed on while the load goes on. Several senders that share a
// lane may write into one.
//
// It grows by pages of a fixed size: a slice that grows as a whole keeps up to a quarter more than
// it needs, and twice as much while it is copied.
type Ledger struct {
	mu    sync.Mutex
	pages []*page
	len   int // one more than the highest number
	ended int // how many requests are on record
	// pods and addresses are what records index, from 1.
	pods, addresses []string
	lookups         int
	held            []timeline.Held
}

// page is a part of a ledger: the requests of these numbers, and as many lines of the order in
// which requests ended.
type page struct {
	requests [pageSize]timeline.Request
	order    [pageSize]uint32 // numbers, as the requests ended
}

// pageSize makes pages just smaller than 32 KiB: small enough for a lane of a few hundred requests,
// and of a size that the memory allocator rounds up by eight bytes.
const pageSize = 546

// NewLedger is an empty ledger.
func NewLedger() *Ledger { return &Ledger{} }

// Batch is some of a lane's requests, with their numbers and the Pods and addresses that they
// index.
type Batch struct {
	Seqs            []uint32
	Requests        []timeline.Request
	Pods, Addresses []string
}

// ErrTwice is the guarantee that no request is counted twice.
var ErrTwice = errors.New("it is on record already")

// Put writes a request that has ended into the ledger, as answered by a Pod and sent to an address;
// "" if there was none. A number that is there already is not taken again, and Put returns false:
// whoever counts what was taken finds one missing.
func (l *Ledger) Put(seq int, r timeline.Request, pod, address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Pod, r.Address = index(&l.pods, pod), index(&l.addresses, address)
	return l.put(seq, r)
}

// PutBatch writes what another ledger's Since has given, one request after the other, up to one
// that is there already: that wraps ErrTwice. The two tables are mapped once for the whole batch.
func (l *Ledger) PutBatch(b Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	pods, addresses := mapping(&l.pods, b.Pods), mapping(&l.addresses, b.Addresses)
	for i, r := range b.Requests {
		if int(r.Pod) >= len(pods) || int(r.Address) >= len(addresses) {
			return fmt.Errorf(
				"request %d names Pod %d of %d and address %d of %d",
				b.Seqs[i],
				r.Pod,
				len(b.Pods),
				r.Address,
				len(b.Addresses),
			)
		}
		r.Pod, r.Address = pods[r.Pod], addresses[r.Address]
		if !l.put(int(b.Seqs[i]), r) {
			return fmt.Errorf("request %d: %w", b.Seqs[i], ErrTwice)
		}
	}
	return nil
}

// put is Put of a record whose indices are the ledger's own. The lock must be held.
func (l *Ledger) put(seq int, r timeline.Request) bool {
	for seq >= len(l.pages)*pageSize {
		l.pages = append(l.pages, new(page))
	}
	place := l.request(seq)
	if place.Cause != timeline.Unsent {
		return false
	}
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

// line is the place of the number of the request that ended as the n-th. There are never more of
// them than there are places for requests.
func (l *Ledger) line(n int) *uint32 { return &l.pages[n/pageSize].order[n%pageSize] }

// index is 1 + the place of a name in a table, where it is put if need be; 0 for no name.
func index(table *[]string, name string) uint16 {
	if name == "" {
		return 0
	}
	i := slices.Index(*table, name)
	if i < 0 {
		i, *table = len(*table), append(*table, name)
	}
	return uint16(i + 1)
}

// mapping says, for each index into names, which one it is into a table.
func mapping(table *[]string, names []string) []uint16 {
	to := make([]uint16, 1, len(names)+1)
	for _, name := range names {
		to = append(to, index(table, name))
	}
	return to
}

// Since gives the requests that have ended after the first n that did, in the order in which they
// ended.
func (l *Ledger) Since(n int) Batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := Batch{Pods: slices.Clone(l.pods), Addresses: slices.Clone(l.addresses)}
	for ; n < l.ended; n++ {
		seq := *l.line(n)
		b.Seqs, b.Requests = append(b.Seqs, seq), append(b.Requests, *l.request(int(seq)))
	}
	return b
}

// AddLookups counts DNS queries that were made for the lane.
func (l *Ledger) AddLookups(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lookups += n
}

// Lookups is how many DNS queries were counted.
func (l *Ledger) Lookups() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lookups
}

// AddHeld puts connections on record that clients held and that have ended.
func (l *Ledger) AddHeld(held ...timeline.Held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, held...)
}

// Held are the connections on record, client by client.
func (l *Ledger) Held() []timeline.Held {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.SortedFunc(slices.Values(l.held), func(a, b timeline.Held) int {
		return cmp.Or(cmp.Compare(a.Client, b.Client), cmp.Compare(a.Number, b.Number))
	})
}

// Record is the lane's record: one request for each that was due up to the end, those never sent
// included. What was sent beyond is there, too, so that nothing that went out is forgotten; then
// the ledger doesn't balance, and that is for others to say.
func (l *Ledger) Record(lane Lane, end time.Duration) timeline.LaneRecord {
	record := lane.record()
	record.Held = l.Held()
	l.mu.Lock()
	defer l.mu.Unlock()
	record.Planned = lane.Planned(end)
	record.Pods, record.Addresses, record.Lookups = slices.Clone(l.pods), slices.Clone(l.addresses), l.lookups
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
