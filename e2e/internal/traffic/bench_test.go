package traffic

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// The benchmarks set Send beside the vegeta library as it is ordinarily used, in one run and by turns, so that both meet the same machine:
//
//	go test ./e2e/internal/traffic -run '^$' -bench . -benchtime 3x

// stretch is how long each of the two sends at a time.
const stretch = 2 * time.Second

// sent is what one stretch of load came to.
type sent struct {
	planned, count, ok int
	lags               []time.Duration
	bytes              int64 // that are held for what is known of the requests
}

func BenchmarkBesideVegeta(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(whole))
	defer server.Close()
	for _, connections := range []func(int) scenarios.Load{scenarios.New, scenarios.Reused} {
		for _, rate := range []int{100, 500, 1000} {
			load := connections(rate)
			b.Run(fmt.Sprintf("%s/rate=%d", load.Name, rate), func(b *testing.B) {
				var ours, theirs sent
				for b.Loop() {
					ours.add(b, sendOurs(b, load, server.URL))
					theirs.add(b, sendTheirs(b, load, server.URL))
				}
				ours.report(b, "send")
				theirs.report(b, "vegeta")
			})
		}
	}
}

// BenchmarkMostRequests looks for the highest rate at which as many requests are sent as were planned, and no more than one in a hundred leaves later than
// the verdict lets pass. It goes beyond the rate that a load may ask for.
func BenchmarkMostRequests(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(whole))
	defer server.Close()
	senders := []struct {
		name string
		send func(testing.TB, scenarios.Load, string) sent
	}{
		{"send", sendOurs},
		{"vegeta", sendTheirs},
	}
	const latest = 10 * time.Millisecond // leastLag of the verdict
	for b.Loop() {
		for _, s := range senders {
			var sentAll, onTime int
			for rate := 500; rate <= 8000; rate *= 2 {
				got := s.send(b, scenarios.Reused(rate), server.URL)
				late := quantile(got.lags, 0.99)
				if got.count == got.planned && got.ok == got.count {
					sentAll = rate
				}
				if late <= latest {
					onTime = rate
				}
				if sentAll < rate || late > stretch/2 {
					break // a load that is this late is no load any more, and it only gets worse
				}
			}
			b.ReportMetric(float64(sentAll), s.name+"-all-req/s")
			b.ReportMetric(float64(onTime), s.name+"-on-time-req/s")
		}
	}
}

// whole answers as the app does.
func whole(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	h := w.Header()
	h.Set(protocol.HeaderPod, "app-5d4f8c7b9-x2x4z")
	h.Set(protocol.HeaderLeaving, "-1")
	h.Set(protocol.HeaderConn, "3")
	h.Set(protocol.HeaderConnRequest, "4")
	_, _ = io.WriteString(w, protocol.Body)
}

// sendOurs sends as Send does, but for the check of the load.
func sendOurs(tb testing.TB, load scenarios.Load, url string) (s sent) {
	const lead = 10 * time.Millisecond
	lane := Lane{Name: "bench/" + load.Name, URL: url, Start: lead, Load: load}
	end, ledger := &End{}, NewLedger()
	end.Set(lead + stretch - lane.Interval())
	require.NoError(tb, sendShard(lane, Plan{Clock: timeline.NewClock(time.Now()), End: end, Max: time.Minute}, ledger))
	record := ledger.Record(lane, lead+stretch-lane.Interval())
	s.planned = record.Planned
	for _, r := range record.Requests {
		if r.Cause == timeline.Unsent {
			continue
		}
		s.count++
		s.lags = append(s.lags, r.Lag)
		if r.Cause == timeline.OK {
			s.ok++
		}
	}
	with := heap()
	runtime.KeepAlive(ledger)
	s.bytes = with - heap()
	return s
}

// sendTheirs sends as vegeta's README does, by connections such as the load asks for.
func sendTheirs(_ testing.TB, load scenarios.Load, url string) (s sent) {
	rate := vegeta.Rate{Freq: load.Rate, Per: time.Second}
	target := vegeta.NewStaticTargeter(vegeta.Target{Method: load.Method, URL: url + "/work"})
	attacker := vegeta.NewAttacker(vegeta.KeepAlive(load.Connections == scenarios.ReusedConnections))
	var results []*vegeta.Result
	began := time.Now()
	for result := range attacker.Attack(target, rate, stretch, "bench") {
		results = append(results, result)
	}
	interval := time.Second / time.Duration(load.Rate)
	s.planned = int(stretch / interval)
	for _, r := range results {
		s.count++
		// vegeta's first request is due after one interval (ConstantPacer.Pace).
		s.lags = append(s.lags, max(0, r.Timestamp.Sub(began)-time.Duration(r.Seq+1)*interval))
		if r.Error == "" && string(r.Body) == protocol.Body {
			s.ok++
		}
	}
	with := heap()
	runtime.KeepAlive(results)
	s.bytes = with - heap()
	return s
}

func (s *sent) add(tb testing.TB, more sent) {
	require.Equal(tb, more.count, more.ok, "all is well in a benchmark")
	s.planned += more.planned
	s.count += more.count
	s.ok += more.ok
	s.lags = append(s.lags, more.lags...)
	s.bytes += more.bytes
}

func (s *sent) report(b *testing.B, who string) {
	b.ReportMetric(float64(s.bytes)/float64(s.count), who+"-B/req")
	b.ReportMetric(float64(s.planned-s.count), who+"-unsent")
	b.ReportMetric(millisOf(quantile(s.lags, 0.5)), who+"-lag-p50-ms")
	b.ReportMetric(millisOf(quantile(s.lags, 0.99)), who+"-lag-p99-ms")
}

func millisOf(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile is the value that a share q of all values doesn't exceed.
func quantile(values []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(q*float64(len(sorted)-1))]
}
