package traffic

import (
	"fmt"
	"math"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestTimesAreStoredAsTheyAre: what is recorded has no more digits than what is stored.
func TestTimesAreStoredAsTheyAre(t *testing.T) {
	server := httptest.NewServer(&faulty{fault: status(500), seen: map[int]int{}})
	defer server.Close()
	end := &End{}
	end.Set(50 * time.Millisecond)
	record, err := Send(Lane{Name: "test/new", URL: server.URL, Start: 123456789 * time.Nanosecond / 100, Load: scenarios.New(300)}, // an interval of 3.333333 ms
		Plan{Clock: timeline.NewClock(time.Now()), End: end, Max: time.Minute})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, timeline.Save(dir, timeline.Timeline{Lanes: []timeline.LaneRecord{record}}))
	stored, err := timeline.Load(dir)
	require.NoError(t, err)
	assert.Equal(t, record.Requests, stored.Lanes[0].Requests)
}

// TestThousands: not one in a thousand is lost on the way to the ledger.
func TestThousands(t *testing.T) {
	app := &faulty{seen: map[int]int{}, fault: status(503)}
	server := httptest.NewServer(app)
	defer server.Close()
	const n = 2100
	load := scenarios.Reused(1000)
	load.Timeout = 30 * time.Second // a busy machine is no fault
	record := send(t, load, server.URL, n)
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: n * 9 / 10, timeline.HTTP5xx: n / 10}, count(record))
	for seq := range n {
		assert.Equal(t, 1, app.seen[seq], "request %d", seq)
	}
}

// TestNothingGoesUncounted: two senders of the same share have more results than the ledger takes.
func TestNothingGoesUncounted(t *testing.T) {
	server := httptest.NewServer(&faulty{seen: map[int]int{}, fault: status(503)})
	defer server.Close()
	lane, ledger, end := Lane{Name: "test/new", URL: server.URL, Load: scenarios.New(200)}, NewLedger(), &End{}
	end.Set(20 * time.Millisecond)
	plan := Plan{Clock: timeline.NewClock(time.Now()), End: end, Max: time.Minute}
	require.NoError(t, SendShard(lane, plan, ledger))
	require.ErrorIs(t, SendShard(lane, plan, ledger), errUncounted)
	assert.Equal(t, 5, ledger.Len())
}

func TestUnsentRequestsKeepTheirPlace(t *testing.T) {
	l := NewLedger()
	assert.True(t, l.Put(2, timeline.Request{Planned: 20 * time.Millisecond, Cause: timeline.OK}, "app-1", ""))
	assert.False(t, l.Put(2, timeline.Request{Planned: 20 * time.Millisecond, Cause: timeline.Reset}, "app-2", ""), "a second one doesn't replace it")
	record := l.Record(Lane{Load: scenarios.New(100)}, 35*time.Millisecond)
	assert.Equal(t, 4, record.Planned)
	require.Len(t, record.Requests, 4)
	for seq, r := range record.Requests {
		assert.Equal(t, seq == 2, r.Cause == timeline.OK)
		assert.Equal(t, time.Duration(10*seq)*time.Millisecond, r.Planned, "unsent requests, too, were due at some time")
	}
	assert.Equal(t, "app-1", record.PodOf(record.Requests[2]))
	assert.Len(t, l.Record(Lane{Load: scenarios.New(100)}, 5*time.Millisecond).Requests, 3, "what was sent beyond the plan is not forgotten")
}

func TestSince(t *testing.T) {
	l := NewLedger()
	for _, seq := range []int{1, 0, 5} {
		l.Put(seq, timeline.Request{Cause: timeline.OK, Port: uint16(seq)}, fmt.Sprint("app-", seq), "")
	}
	b := l.Since(1)
	requests := b.Requests
	assert.Equal(t, []uint32{0, 5}, b.Seqs, "in the order in which they ended")
	assert.Equal(t, []uint16{0, 5}, []uint16{requests[0].Port, requests[1].Port})
	assert.Equal(t, []string{"app-1", "app-0", "app-5"}, b.Pods)
	assert.EqualValues(t, 3, requests[1].Pod)
	b = l.Since(7)
	assert.Empty(t, b.Seqs)
	assert.Empty(t, b.Requests)
}

// TestShards: several senders of one lane send each of its requests once, whatever the number of requests and of senders.
func TestShards(t *testing.T) {
	for of := range 6 {
		for planned := range 25 {
			var seqs []int
			for index := range max(1, of) {
				share := Shard{Index: index, Count: of}
				for n := range share.size(planned) {
					seqs = append(seqs, share.seq(n))
				}
			}
			slices.Sort(seqs)
			want := make([]int, 0, planned)
			for seq := range planned {
				want = append(want, seq)
			}
			require.Equal(t, want, append([]int{}, seqs...), "%d requests, %d senders", planned, of)
		}
	}
}

// TestSendersShareALane: four senders, one ledger, one end that is set while they send.
func TestSendersShareALane(t *testing.T) {
	for _, load := range []scenarios.Load{scenarios.New(200), scenarios.Reused(200), scenarios.Replayable(200)} {
		t.Run(load.Name, func(t *testing.T) {
			app := &faulty{seen: map[int]int{}, fault: status(503)}
			server := httptest.NewServer(app)
			defer server.Close()
			lane := Lane{Name: "test/" + load.Name, URL: server.URL, Start: 50 * time.Millisecond, Load: load}
			ledger, end, clock := NewLedger(), &End{}, timeline.NewClock(time.Now())
			var senders errgroup.Group
			for i := range 4 {
				senders.Go(func() error {
					return SendShard(lane, Plan{Clock: clock, End: end, Max: time.Minute, Shard: Shard{Index: i, Count: 4}}, ledger)
				})
			}
			end.Set(550 * time.Millisecond)
			<-end.Known()
			require.NoError(t, senders.Wait())
			record := ledger.Record(lane, 550*time.Millisecond)
			assert.Equal(t, 101, record.Planned)
			assert.Equal(t, map[timeline.Cause]int{timeline.OK: 91, timeline.HTTP5xx: 10}, count(record))
			for seq, r := range record.Requests {
				assert.Equal(t, lane.Due(seq), r.Planned)
				assert.Equal(t, 1, app.seen[seq], "request %d", seq)
			}
		})
	}
}

// TestMillionInMemory: a run of a million requests fits into 64 MiB, and what the ledger holds beyond the records is little.
func TestMillionInMemory(t *testing.T) {
	const n = 1_000_000
	before := heap()
	l := NewLedger()
	for seq := range n {
		l.Put(seq, timeline.Request{Cause: timeline.OK}, "app-1", "")
	}
	held := heap() - before
	assert.Equal(t, n, l.Len())
	assert.GreaterOrEqual(t, held, int64(n*(56+4)), "a record and its place in the order")
	assert.LessOrEqual(t, held, int64(64<<20))
	t.Logf("%.1f bytes a request", float64(held)/n)
	runtime.KeepAlive(l)
}

// TestLedgerOfManyPages: pages are filled in any order, and handed on and recorded as one.
func TestLedgerOfManyPages(t *testing.T) {
	const n = 3*pageSize + 7
	l := NewLedger()
	for i := range n {
		seq := i * 2 % n // n is odd: each number once
		assert.True(t, l.Put(seq, timeline.Request{Cause: timeline.OK, Conn: uint32(seq)}, "", ""))
	}
	b := l.Since(pageSize - 1)
	seqs, requests := b.Seqs, b.Requests
	require.Len(t, seqs, n-pageSize+1)
	for i, seq := range seqs {
		assert.EqualValues(t, (i+pageSize-1)*2%n, seq)
		assert.Equal(t, seq, requests[i].Conn)
	}
	lane := Lane{Load: scenarios.New(1000)}
	for _, planned := range []int{1, pageSize, n, n + pageSize} {
		record := l.Record(lane, lane.Due(planned-1))
		require.Equal(t, planned, record.Planned)
		require.Len(t, record.Requests, max(planned, n))
		for seq, r := range record.Requests {
			if seq < n {
				assert.EqualValues(t, seq, r.Conn)
			} else {
				assert.Equal(t, timeline.Unsent, r.Cause)
			}
		}
	}
}

// heap is how many bytes are in use that nobody could collect, once it falls no more: pools let go by and by, and so do the goroutines of connections that
// were closed.
func heap() int64 {
	for last := int64(math.MaxInt64); ; <-time.After(10 * time.Millisecond) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if int64(m.HeapAlloc) >= last {
			return last
		}
		last = int64(m.HeapAlloc)
	}
}
