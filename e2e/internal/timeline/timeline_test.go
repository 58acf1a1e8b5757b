package timeline

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func example() Timeline {
	return Timeline{
		Schema: Schema, Spec: exampleSpec(), Repeat: 2, Replicas: 3, Start: time.Date(2026, 11, 22, 3, 4, 5, 678, time.UTC),
		Window: Window{
			DisruptStart: 2 * time.Second, DisruptEnd: 8 * time.Second, Settled: 23 * time.Second, LoadEnd: 29 * time.Second,
			Overhead: 12 * time.Millisecond,
		},
		Lanes: []LaneRecord{
			{
				Name: "nodeport/new", URL: "http://127.0.0.1:30080", Rate: 100, Planned: 3, Lookups: 7,
				Pods: []string{"app-1", "app-2"}, Addresses: []string{"10.244.1.2", "10.244.2.2"},
				Held: []Held{{
					Client: 3, Number: 2, Opened: time.Second, Ended: 3 * time.Second, End: HeldCut, Detail: "reset", Pod: "app-1", Conn: 9, Port: 4000,
					Sent: 4, Answered: 3, Wrong: 1, Last: 153, Back: 120 * time.Millisecond, Tried: 2, Failed: "refused",
				}},
				Requests: []Request{
					{
						Planned: 10 * time.Millisecond, Lag: 83 * time.Microsecond, Latency: 1234 * time.Microsecond, Leaving: NotLeaving,
						Conn: 7, ConnUse: 1, Pod: 2, Address: 2, Port: 65535, Code: 200, Cause: OK, Attempts: 1,
					},
					{Planned: 20 * time.Millisecond, Latency: 5 * time.Second, Leaving: NotLeaving, Cause: Timeout, Attempts: 255},
					{Planned: 30 * time.Millisecond, Leaving: NotLeaving},
				},
			},
			{
				Name: "nodeport/slow", Rate: 1, Planned: 1, Pods: []string{"app-1"},
				Requests: []Request{{Leaving: 14999999 * time.Microsecond, Pod: 1, Conn: 4294967295, ConnUse: 4294967295, Code: 503, Cause: HTTP5xx, Attempts: 2}},
			},
			{Name: "nodeport/reused", Requests: []Request{}},
		},
		Events: []Event{
			{At: time.Second, Kind: PodDeleted, Pod: "app-1", Node: "worker", IP: "10.244.1.2"},
			{At: 2 * time.Second, Kind: ContainerExit, Pod: "app-1", Code: 143, Detail: "Error"},
		},
		Served: []Served{{
			Pod: "app-1", Answered: map[string]int{"nodeport/new": 3}, Unanswered: []Unanswered{{Lane: "nodeport/slow", Seq: 4}},
		}},
		Held: []HeldByPod{{
			Pod: "app-1", UID: "u", Lane: "nodeport/new", Client: 3, Number: 2, Opened: time.Second, Ended: 3 * time.Second, By: HeldByAppsExit, Fault: "cut",
			Received: 4, Echoed: 3, Last: 153,
		}},
		TasksByPod: []TaskByPod{{
			Pod: "app-1", UID: "u", Task: 3, Attempt: 2, Taken: time.Second, Ended: 3 * time.Second, By: TaskByLost, Worked: time.Second, Error: "502",
		}},
		Scrapes:     []Scrape{{Consumer: "prometheus-endpoints", IP: "10.244.1.2", At: 3 * time.Second, OK: true}},
		Environment: Environment{Kubernetes: "v1.37.2", Nodes: 3, ProxyMode: "iptables", MinSyncPeriod: "1s", CPUs: 2},
		Errors:      []string{"the cluster went away"},
	}
}

// exampleSpec is a declaration in which no field is zero.
func exampleSpec() Spec {
	return Spec{
		Strategy: "prestop-sleep+again", Summary: "waits", Group: "preStop", SameAs: "prestop-sleep",
		Delay: 15 * time.Second, PreStop: 20 * time.Second,
		Disruption: "rolling-update", Scope: ScopeAll, Gone: 2, TakesNode: true, Control: true, ConsumerGroup: "local", ProxyMode: "nftables",
		Watched: []string{"prometheus-endpoints"},
		Tasks:   &TaskSpec{Length: time.Minute, Lease: 5 * time.Second, First: 3, Every: 2 * time.Minute},
		Change:  "--- a/shop.yaml",
		Target: &TargetSpec{
			Name: "shop", Request: "GET /", SlowRequest: "GET /report", ExpectStatus: 200, StatusLearnt: true, ExpectBody: "^page", PodHeader: "X-Served-By",
			Live: true, Signal: "SIGQUIT",
		},
		Lanes: []LaneSpec{{
			Name: "nodeport/slow", Consumer: "nodeport", From: FromOutside, Routing: PerConnection, Evidence: []string{EvidenceAccessLog},
			Component: "traefik", Local: true, Load: "slow", Driver: "http", Class: ClassInFlight, Rate: 100, Connections: Reused, Replayable: true,
			Work: 2 * time.Second, Timeout: 5 * time.Second,
			Clients: 50, Reconnect: "backoff", StaysMin: 5 * time.Second, StaysMax: time.Minute, Seed: 1,
			Held: map[Class]Promise{ClassKeptAlive: {Measured, "consumer nodeport"}, ClassInFlight: {Drops, "strategy prestop-sleep"}},
		}},
	}
}

// TestSpecIsWhole: a field that is added to a declaration is in the example, which makes the round
// trip.
func TestSpecIsWhole(t *testing.T) {
	for _, of := range []any{exampleSpec(), exampleSpec().Lanes[0], *exampleSpec().Target} {
		v := reflect.ValueOf(of)
		for i := range v.NumField() {
			assert.False(t, v.Field(i).IsZero(), v.Type().Field(i).Name)
		}
	}
}

func TestSpec(t *testing.T) {
	s := exampleSpec()
	assert.Equal(t, "local-nftables/prestop-sleep+again/rolling-update", s.Name())
	other := s
	assert.True(t, s.Together(other))
	other.ConsumerGroup = ""
	assert.False(t, s.Together(other))
	assert.Equal(t, "nftables/prestop-sleep+again/rolling-update", other.Name())
	other.ProxyMode = ""
	assert.Equal(t, "prestop-sleep+again/rolling-update", other.Name())
	l, ok := s.Lane("nodeport/slow")
	assert.True(t, ok)
	assert.Equal(t, s.Lanes[0], l)
	l, ok = s.Lane("nodeport/new")
	assert.False(t, ok)
	assert.Equal(t, LaneSpec{Name: "nodeport/new"}, l, "of which nothing was declared")
	tests := []struct {
		name string
		lane LaneSpec
		want Class
	}{
		{"new", LaneSpec{Connections: "new", Class: ClassNew}, ClassNew},
		{"with work", LaneSpec{Connections: "new", Class: ClassInFlight}, ClassNew},
		{"reused", LaneSpec{Connections: Reused, Class: ClassKeptAlive}, ClassKeptAlive},
		{"reused, with work", LaneSpec{Connections: Reused, Class: ClassInFlight}, ClassKeptAlive},
		{"held", LaneSpec{Connections: Reused, Class: ClassHeld}, ClassHeld},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.lane.ConnectionClass())
			assert.Contains(t, Classes(), tt.want)
		})
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	want := example()
	require.NoError(t, Save(dir, want))
	got, err := Load(dir)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "no temporary file is left")

	want.Spec.Strategy = "another"
	require.NoError(t, Save(dir, want), "a second time, over the first")
	got, err = Load(dir)
	require.NoError(t, err)
	assert.Equal(t, "another", got.Spec.Strategy)
}

// TestCutOffAnywhere cuts each file at every length: a timeline is read whole or not at all.
func TestCutOffAnywhere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Save(dir, example()))
	for _, name := range []string{JSONFile, CSVFile} {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		for n := range len(whole) - 1 { // the last byte of the JSON is a line feed, which nobody misses
			require.NoError(t, os.WriteFile(path, whole[:n], 0o644))
			_, err := Load(dir)
			require.ErrorIs(t, err, ErrDamaged, "%s cut to %d of %d bytes", name, n, len(whole))
			require.ErrorContains(t, err, name)
		}
		require.NoError(t, os.WriteFile(path, whole, 0o644))
	}
}

func TestDamage(t *testing.T) {
	edit := func(change func(*stored)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, JSONFile)
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			var s stored
			require.NoError(t, json.Unmarshal(raw, &s))
			change(&s)
			raw, err = json.Marshal(s)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, raw, 0o644))
		}
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string
	}{
		{"no JSON", func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, JSONFile))) }, "no such file"},
		{"no CSV", func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, CSVFile))) }, "no such file"},
		{"not gzip", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, CSVFile), []byte("lane,seq"), 0o644))
		}, "damaged"},
		{
			"an older schema", edit(func(s *stored) { s.Schema = "zerodrop.timeline/v1" }),
			`has schema "zerodrop.timeline/v1": this program reads "zerodrop.timeline/v2"`,
		},
		{"more counted than stored", edit(func(s *stored) { s.Counts[0]++ }), "damaged"},
		{"fewer counted than stored", edit(func(s *stored) { s.Counts[1] = 0 }), "more requests than counted"},
		{"lanes in another order", edit(func(s *stored) { s.Lanes[0].Name = "nodeport/slow" }), "found nodeport/new 0 in its place"},
		{"no counts", edit(func(s *stored) { s.Counts = nil }), "3 lanes, 0 counts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, Save(dir, example()))
			tt.damage(t, dir)
			_, err := Load(dir)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, dir)
		})
	}
}

func TestBadRows(t *testing.T) {
	good := func() []string {
		return []string{"a/b", "0", "1", "2", "3", "ok", "200", "1", "1", "-1", "1", "1", "1", "1"}
	}
	_, err := parse(good(), "a/b", 0)
	require.NoError(t, err)
	for i, column := range columns {
		row := good()
		row[i] = "x"
		_, err := parse(row, "a/b", 0)
		require.Error(t, err, column)
	}
}

func TestSaveSaysWhatWentWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.ErrorContains(t, Save(filepath.Join(file, "sub"), example()), "save timeline")
	tl := example()
	tl.Lanes[0].Name = "a,b"
	dir := t.TempDir()
	require.ErrorContains(t, Save(dir, tl), "can't stand in a CSV")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "a failed save leaves nothing behind")
	require.ErrorIs(t, replace(filepath.Join(dir, "x"), func(io.Writer) error { return io.ErrShortWrite }), io.ErrShortWrite, "as a full disk does")
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	_, err := Find(dir)
	require.ErrorContains(t, err, "no timeline.json")
	_, err = Find(filepath.Join(dir, "nowhere"))
	require.Error(t, err)
	for _, name := range []string{"b/rolling-update", "a/pod-deletion"} {
		require.NoError(t, Save(filepath.Join(dir, name), example()))
	}
	got, err := Find(dir)
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(dir, "a/pod-deletion"), filepath.Join(dir, "b/rolling-update")}, got)
}

func TestRequestIsSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Request{}), uintptr(56))
}

func TestZeroRequestIsUnsent(t *testing.T) {
	var r Request
	assert.Equal(t, Unsent, r.Cause)
	assert.False(t, r.Dropped())
	assert.False(t, r.Masked())
}

func TestRequest(t *testing.T) {
	l := example().Lanes[0]
	r := l.Requests[0]
	assert.Equal(t, 10083*time.Microsecond, r.Sent())
	assert.Equal(t, 11234*time.Microsecond, r.Done())
	assert.Equal(t, "app-2", l.PodOf(r))
	assert.Empty(t, l.PodOf(Request{Pod: 3}))
	assert.Empty(t, l.PodOf(Request{}))
	assert.Equal(t, "10.244.2.2", l.AddressOf(r))
	assert.Empty(t, l.AddressOf(Request{Address: 3}))
	assert.Empty(t, l.AddressOf(Request{}))
	assert.True(t, Request{Cause: OK, Attempts: 2}.Masked())
	assert.False(t, Request{Cause: Reset, Attempts: 2}.Masked(), "a dropped request that is told of is not masked")
	assert.True(t, Request{Cause: Reset}.Dropped())
}

func TestCauses(t *testing.T) {
	seen := map[string]bool{}
	for c := range numCauses {
		name := c.String()
		require.NotEmpty(t, name)
		require.False(t, seen[name], name)
		seen[name] = true
		text, err := c.MarshalText()
		require.NoError(t, err)
		var back Cause
		require.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, c, back)
	}
	assert.Len(t, Causes(), int(numCauses)-2)
	assert.NotContains(t, Causes(), OK)
	assert.Equal(t, "cause(200)", Cause(200).String())
	_, err := Cause(200).MarshalText()
	require.Error(t, err)
	_, err = ParseCause("lost")
	require.ErrorContains(t, err, `unknown cause "lost"`)
}

func TestClock(t *testing.T) {
	start := time.Now()
	c := NewClock(start)
	assert.Equal(t, start, c.Start())
	assert.Equal(t, time.Second, c.Offset(start.Add(time.Second)))
	assert.Equal(t, time.Second, c.Offset(start.Add(time.Second).Round(0)), "an instant that another process wrote down")
}

// large is a timeline of n requests, each on a new connection, with a route of its own. What varies
// on a real cluster varies here, in the same width.
func large(n int) Timeline {
	tl := example()
	tl.Routes.Names = []string{"zerodrop-worker", "10.244.1.9", "10.244.1.2", "10.244.2.2", "10.244.2.3"}
	l := &tl.Lanes[0]
	l.Requests = make([]Request, n)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range l.Requests {
		pod := random.IntN(3)
		l.Requests[i] = Request{
			Planned: time.Duration(i) * time.Millisecond, Lag: time.Duration(50+random.IntN(97)) * time.Microsecond,
			Latency: time.Duration(600+random.IntN(1009)) * time.Microsecond, Leaving: NotLeaving, Conn: uint32(i / 3), ConnUse: 1,
			Pod: uint16(1 + pod), Port: uint16(32768 + i%28232), Code: 200, Cause: OK, Attempts: 1,
		}
		tl.Routes.List = append(tl.Routes.List, Route{
			At: l.Requests[i].Sent() + time.Duration(90+random.IntN(200))*time.Microsecond, Source: 1, Target: uint16(2 + pod), Port: l.Requests[i].Port,
		})
	}
	return tl
}

// perRequest is what a stored timeline of n requests takes on disk, in bytes for each.
func perRequest(t testing.TB, dir string, n int) float64 {
	t.Helper()
	size := int64(0)
	for _, name := range []string{CSVFile, RoutesFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		size += info.Size()
	}
	return float64(size) / float64(n)
}

// TestSizeOnDisk: 20 bytes for each request, with its route.
func TestSizeOnDisk(t *testing.T) {
	const n = 50_000
	dir := t.TempDir()
	require.NoError(t, Save(dir, large(n)))
	size := perRequest(t, dir, n)
	t.Logf("%.1f B/request", size)
	assert.LessOrEqual(t, size, 20.0)
}

// BenchmarkLoad shows the time and the bytes on disk per request of a million-request timeline,
// with a route for each.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			require.NoError(b, Save(dir, large(n)))
			for b.Loop() {
				_, err := Load(dir)
				require.NoError(b, err)
			}
			b.ReportMetric(perRequest(b, dir, n), "B/request") // not before the loop, which forgets it
		})
	}
}
