package report

import (
	"bytes"
	"cmp"
	_ "embed" // the schema
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// SchemaVersion names the contract that report.json keeps. What it binds doesn't change under the same name; fields may be added.
const SchemaVersion = "zerodrop.report/v1"

// Schema is the JSON Schema of report.json, for who reads it with a program.
//
//go:embed report.schema.json
var Schema []byte

type jsonReport struct {
	Schema         string      `json:"schema"`
	Outcome        string      `json:"outcome"`
	Reasons        []string    `json:"reasons"`
	Profile        string      `json:"profile"`
	Rate           int         `json:"rate"`    // requests/s per lane
	Started        *time.Time  `json:"started"` // null if unknown
	ElapsedSeconds float64     `json:"elapsedSeconds"`
	Replay         bool        `json:"replay"`
	Cluster        jsonCluster `json:"cluster"`
	Phases         []jsonPhase `json:"phases"`
	Runs           []jsonRun   `json:"runs"`
	Twins          []jsonTwin  `json:"twins,omitempty"` // only where a strategy ran under two names
}

type jsonTwin struct {
	Strategy   string    `json:"strategy"`
	Disruption string    `json:"disruption"`
	Lane       string    `json:"lane"`
	Losses     [2][]int  `json:"losses"` // per rollout, of the strategy and of its twin
	Share      *jsonTest `json:"share"`  // null if it could not be made
	Amount     *jsonTest `json:"amount"`
}

type jsonTest struct {
	P         float64 `json:"p"`
	Corrected float64 `json:"corrected"`
}

type jsonCluster struct {
	Kubernetes    string `json:"kubernetes"`
	Nodes         int    `json:"nodes"`
	ProxyMode     string `json:"proxyMode"`
	MinSyncPeriod string `json:"minSyncPeriod"`
	Kernel        string `json:"kernel"`
	Runtime       string `json:"runtime"`
	CPUs          int    `json:"cpus"`
}

type jsonPhase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

type jsonRun struct {
	Strategy        string   `json:"strategy"`
	Disruption      string   `json:"disruption"`
	Repeat          int      `json:"repeat"`
	Control         bool     `json:"control"`
	Outcome         string   `json:"outcome"`
	Reasons         []string `json:"reasons"`
	PodsReplaced    int      `json:"podsReplaced"`
	PodsDeleted     int      `json:"podsDeleted"`
	RolloutSeconds  float64  `json:"rolloutSeconds"`
	PeakPods        int      `json:"peakPods"`
	ExtraPodSeconds float64  `json:"extraPodSeconds"`
	OverheadSeconds float64  `json:"overheadSeconds"`
	// DeletionSeenMs is how long after it was asked for each deletion was seen; not there if the disruption asked for none itself.
	DeletionSeenMs []float64 `json:"deletionSeenMs,omitempty"`
	// DeletionLateMs is how much later than it happened the watch told of each deletion; not there where etcd doesn't tell when that was.
	DeletionLateMs []float64    `json:"deletionLateMs,omitempty"`
	Cluster        *jsonCluster `json:"cluster,omitempty"` // only of a run that was measured elsewhere than the report says
	Lanes          []jsonLane   `json:"lanes"`
}

type jsonLane struct {
	Lane                string         `json:"lane"`
	From                string         `json:"from,omitempty"`       // host, cluster; not there if the timeline doesn't say
	Replayable          bool           `json:"replayable,omitempty"` // masked is what http.Transport sent again
	Expect              string         `json:"expect"`
	Outcome             string         `json:"outcome"`
	Reasons             []string       `json:"reasons"`
	Planned             int            `json:"planned"`
	Sent                int            `json:"sent"`
	Unsent              int            `json:"unsent"`
	OK                  int            `json:"ok"`
	Dropped             int            `json:"dropped"`
	Masked              int            `json:"masked"`
	Causes              map[string]int `json:"causes"`
	Moments             map[string]int `json:"moments"`
	Unattributed        map[string]int `json:"unattributed"`        // by reason
	FirstDroppedSeconds *float64       `json:"firstDroppedSeconds"` // since the start of the disruption; null without losses
	LastDroppedSeconds  *float64       `json:"lastDroppedSeconds"`
	OutageCount         int            `json:"outageCount"`
	Outages             []jsonOutage   `json:"outages"`            // at most mostOutages
	LastArrivalSeconds  *float64       `json:"lastArrivalSeconds"` // null if no Pod was deleted, or none got anything afterwards
	Arrivals            []jsonArrival  `json:"arrivals"`
	WindowMs            float64        `json:"windowMs"`
	LagP50Ms            float64        `json:"lagP50Ms"`
	LagP99Ms            float64        `json:"lagP99Ms"`
	LagMaxMs            float64        `json:"lagMaxMs"`
	LatencyP50Ms        float64        `json:"latencyP50Ms"`
	LatencyP99Ms        float64        `json:"latencyP99Ms"`
}

type jsonOutage struct {
	FromSeconds float64        `json:"fromSeconds"` // since the start of the disruption, as those of the lane
	ToSeconds   float64        `json:"toSeconds"`
	Lost        int            `json:"lost"`
	Causes      map[string]int `json:"causes"`
	Moments     map[string]int `json:"moments"`
	Pods        []string       `json:"pods"`
}

type jsonArrival struct {
	Pod     string  `json:"pod"`
	Seconds float64 `json:"seconds"`
}

// mostOutages is how many outages of a lane are told. Where one of three Pods loses what it gets, a run has a thousand of one request each, which tell no more
// than their count.
const mostOutages = 100

// JSON writes a report for programs, as Schema says. A value that the schema has no word for is an error: nobody reads a contract that is broken now and
// then.
func JSON(w io.Writer, r Report) error {
	out, err := newJSONReport(r)
	if err != nil {
		return fmt.Errorf("write JSON report: %w", err)
	}
	var buffer bytes.Buffer
	enc := json.NewEncoder(&buffer)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("write JSON report: %w", err)
	}
	if _, err := w.Write(buffer.Bytes()); err != nil {
		return fmt.Errorf("write JSON report: %w", err)
	}
	return nil
}

func newJSONReport(r Report) (jsonReport, error) {
	out := jsonReport{
		Schema:         SchemaVersion,
		Reasons:        because(r.Suite.Outcome, r.Suite.Reasons),
		Profile:        r.Profile,
		Rate:           r.Rate,
		ElapsedSeconds: seconds(r.Elapsed),
		Replay:         r.Replay,
		Cluster:        newJSONCluster(r.Cluster),
		Phases:         []jsonPhase{},
		Runs:           []jsonRun{},
	}
	var err error
	if out.Outcome, err = outcomeWord(r.Suite.Outcome); err != nil {
		return out, err
	}
	if !r.Started.IsZero() {
		started := r.Started.UTC().Truncate(time.Millisecond)
		out.Started = &started
	}
	for _, p := range r.Phases {
		out.Phases = append(out.Phases, jsonPhase{p.Name, seconds(p.Took)})
	}
	for _, v := range r.Suite.Runs {
		run, err := newJSONRun(v, r.Cluster)
		if err != nil {
			return out, fmt.Errorf("run %s: %w", v.Name(), err)
		}
		out.Runs = append(out.Runs, run)
	}
	for _, t := range r.Suite.Twins {
		out.Twins = append(out.Twins, jsonTwin{
			t.Strategy, t.Disruption, t.Lane, [2][]int{t.Arms[0].Losses, t.Arms[1].Losses}, newJSONTest(t.Share), newJSONTest(t.Amount),
		})
	}
	return out, nil
}

func newJSONTest(t verdict.Test) *jsonTest {
	if !t.Made {
		return nil
	}
	return &jsonTest{t.P, t.Corrected}
}

func newJSONCluster(e timeline.Environment) jsonCluster { return jsonCluster(e) }

func newJSONRun(v verdict.Verdict, cluster timeline.Environment) (jsonRun, error) {
	out := jsonRun{
		Strategy:        v.Strategy,
		Disruption:      v.Disruption,
		Repeat:          v.Repeat,
		Control:         v.Control,
		Reasons:         because(v.Outcome, v.Reasons),
		PodsReplaced:    v.PodsReplaced,
		PodsDeleted:     deleted(v),
		RolloutSeconds:  seconds(v.Rollout),
		PeakPods:        v.PeakPods,
		ExtraPodSeconds: thousandths(v.ExtraPodSeconds),
		OverheadSeconds: seconds(v.Overhead),
		DeletionSeenMs:  millisecondsOf(v.DeletionSeen),
		DeletionLateMs:  millisecondsOf(v.DeletionLate),
		Lanes:           []jsonLane{},
	}
	if v.Environment != cluster && v.Environment != (timeline.Environment{}) {
		elsewhere := newJSONCluster(v.Environment)
		out.Cluster = &elsewhere
	}
	var err error
	if out.Outcome, err = outcomeWord(v.Outcome); err != nil {
		return out, err
	}
	for _, l := range v.Lanes {
		lane, err := newJSONLane(v, l)
		if err != nil {
			return out, fmt.Errorf("lane %s: %w", l.Name, err)
		}
		out.Lanes = append(out.Lanes, lane)
	}
	return out, nil
}

func newJSONLane(v verdict.Verdict, l verdict.Lane) (jsonLane, error) {
	out := jsonLane{
		Lane:         l.Name,
		From:         l.From,
		Replayable:   l.Replayable,
		Expect:       l.Expect.String(),
		Reasons:      because(l.Outcome, l.Reasons),
		Planned:      l.Planned,
		Sent:         l.Sent,
		Unsent:       l.Unsent,
		OK:           l.OK,
		Dropped:      l.Dropped,
		Masked:       l.Masked,
		Unattributed: map[string]int{},
		OutageCount:  len(l.Outages),
		Arrivals:     []jsonArrival{},
		WindowMs:     milliseconds(l.Window),
		LagP50Ms:     milliseconds(l.LagP50),
		LagP99Ms:     milliseconds(l.LagP99),
		LagMaxMs:     milliseconds(l.LagMax),
		LatencyP50Ms: milliseconds(l.LatencyP50),
		LatencyP99Ms: milliseconds(l.LatencyP99),
	}
	var err error
	if out.Outcome, err = outcomeWord(l.Outcome); err != nil {
		return out, err
	}
	if _, err := scenarios.ParseExpect(out.Expect); err != nil {
		return out, err
	}
	if out.Causes, out.Moments, err = jsonCounts(l.Causes, l.Moments); err != nil {
		return out, err
	}
	maps.Copy(out.Unattributed, l.Unattributed)
	if out.Outages, err = jsonOutages(l, v.DisruptStart); err != nil {
		return out, err
	}
	for _, a := range l.Arrivals {
		out.Arrivals = append(out.Arrivals, jsonArrival{a.Pod, seconds(a.After)})
	}
	if l.Dropped > 0 {
		first, last := seconds(l.FirstDropped), seconds(l.DroppedEnd)
		out.FirstDroppedSeconds, out.LastDroppedSeconds = &first, &last
	}
	if l.LastArrival != nil {
		last := seconds(*l.LastArrival)
		out.LastArrivalSeconds = &last
	}
	return out, nil
}

// jsonCounts is dropped requests by cause and by moment, in the words of the schema.
func jsonCounts(byCause map[timeline.Cause]int, byMoment map[verdict.Moment]int) (causes, moments map[string]int, err error) {
	causes, moments = map[string]int{}, map[string]int{}
	for cause, n := range byCause {
		if !slices.Contains(timeline.Causes(), cause) {
			return nil, nil, fmt.Errorf("%s is not a cause of a dropped request", cause)
		}
		if n != 0 {
			causes[cause.String()] = n
		}
	}
	for moment, n := range byMoment {
		if !slices.Contains(verdict.Moments(), moment) {
			return nil, nil, fmt.Errorf("%s is not a moment of a Pod's life", moment)
		}
		if n != 0 {
			moments[moment.String()] = n
		}
	}
	return causes, moments, nil
}

// jsonOutages is the longest outages of a lane by the requests that they lost, in the order of their time.
func jsonOutages(l verdict.Lane, disruptStart time.Duration) ([]jsonOutage, error) {
	out := []jsonOutage{}
	kept := slices.Clone(l.Outages)
	slices.SortStableFunc(kept, func(a, b verdict.Outage) int { return cmp.Compare(b.Lost, a.Lost) })
	kept = kept[:min(len(kept), mostOutages)]
	slices.SortStableFunc(kept, func(a, b verdict.Outage) int { return cmp.Compare(a.From, b.From) })
	for _, o := range kept {
		causes, moments, err := jsonCounts(o.Causes, o.Moments)
		if err != nil {
			return nil, err
		}
		out = append(out, jsonOutage{seconds(o.From - disruptStart), seconds(o.To - disruptStart), o.Lost, causes, moments, append([]string{}, o.Pods...)})
	}
	return out, nil
}

func outcomeWord(o verdict.Outcome) (string, error) {
	var known verdict.Outcome
	if err := known.UnmarshalText([]byte(o.String())); err != nil {
		return "", err
	}
	return known.String(), nil
}

// seconds and milliseconds are rounded to a thousandth: the clock is finer, what it measures isn't.
func seconds(d time.Duration) float64 { return thousandths(d.Seconds()) }

func milliseconds(d time.Duration) float64 {
	return thousandths(float64(d) / float64(time.Millisecond))
}

func millisecondsOf(list []time.Duration) []float64 {
	var out []float64
	for _, d := range list {
		out = append(out, milliseconds(d))
	}
	return out
}

func thousandths(v float64) float64 { return math.Round(v*1000) / 1000 }
