package report

import (
	"bytes"
	"cmp"
	_ "embed" // the schema
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// SchemaVersion names the contract that report.json keeps. What it binds doesn't change under the
// same name; fields may be added.
const SchemaVersion = "zerodrop.report/v2"

// Schema is the JSON Schema of report.json, for who reads it with a program. It says what each
// field means.
//
//go:embed report.schema.json
var Schema []byte

// File is what report.json says: the same code writes and reads it.
type File struct {
	Schema         string               `json:"schema"`
	Outcome        verdict.Outcome      `json:"outcome"`
	Reasons        []string             `json:"reasons"`
	Profile        string               `json:"profile"`
	Rate           int                  `json:"rate"`    // requests/s per lane
	Started        *time.Time           `json:"started"` // null if unknown
	ElapsedSeconds float64              `json:"elapsedSeconds"`
	Replay         bool                 `json:"replay"`
	Cluster        timeline.Environment `json:"cluster"`
	Phases         []FilePhase          `json:"phases"`
	Runs           []FileRun            `json:"runs"`
	AA             []FileAA             `json:"aa,omitempty"` // only where a strategy ran under two names
	// Consumers are the runs put together consumer by consumer, where consumers were compared.
	Consumers []FileConsumer `json:"consumers,omitempty"`
	// Servers are the runs put together server by server, where servers were compared.
	Servers []FileServer `json:"servers,omitempty"`
	// Sequences are how Pods came and went, step by step, of each strategy under each disruption.
	Sequences []FileSequence `json:"sequences,omitempty"`
	// NotRun is what was selected and left out.
	NotRun []FileNotRun `json:"notRun,omitempty"`
	// App is the answer about an app of people's own; not there for the sample app.
	App *FileApp `json:"app,omitempty"`
}

// FileNotRun is a strategy under a disruption that was not run, and why.
type FileNotRun struct {
	Strategy   string `json:"strategy"`
	Disruption string `json:"disruption"`
	Why        string `json:"why"`
}

// FilePhase is a Phase of a File.
type FilePhase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// FileAA is one lane of a strategy that ran under two names.
type FileAA struct {
	Strategy   string            `json:"strategy"`
	SecondName string            `json:"secondName"`
	Disruption string            `json:"disruption"`
	Lane       string            `json:"lane"`
	Dropped    [2]verdict.Sample `json:"dropped"` // per rollout, under its own name and under the second
	Share      *FileTest         `json:"share"`   // null if it could not be made
	Amount     *FileTest         `json:"amount"`
}

// FileTest is a statistical test: its p by itself, and corrected for all that were made together.
type FileTest struct {
	P         float64 `json:"p"`
	Corrected float64 `json:"corrected"`
}

// FileRun is a run of a File.
type FileRun struct {
	Strategy        string          `json:"strategy"`
	Group           string          `json:"group,omitempty"` // preStop, in-app delay
	Disruption      string          `json:"disruption"`
	ConsumerGroup   string          `json:"consumerGroup,omitempty"` // empty for the consumers of every run
	Repeat          int             `json:"repeat"`
	Control         bool            `json:"control"`
	Outcome         verdict.Outcome `json:"outcome"`
	Conclusive      bool            `json:"conclusive"`
	Reasons         []string        `json:"reasons"`
	Retry           []string        `json:"retry,omitempty"`     // why it was made again, if it was
	Unseen          []string        `json:"unseen,omitempty"`    // what nobody told, as proxies' access logs
	Restarted       []string        `json:"restarted,omitempty"` // programs of the cluster itself, and when
	PodsReplaced    int             `json:"podsReplaced"`
	PodsDeleted     int             `json:"podsDeleted"`
	RolloutSeconds  float64         `json:"rolloutSeconds"`
	PeakPods        int             `json:"peakPods"`
	ExtraPodSeconds float64         `json:"extraPodSeconds"`
	OverheadSeconds float64         `json:"overheadSeconds"`
	// DeletionSeenMs is how long after it was asked for each deletion was seen; not there if the
	// disruption asked for none itself.
	DeletionSeenMs []float64 `json:"deletionSeenMs,omitempty"`
	// DeletionLateMs is how much later than it was asked for the watch told of each deletion, and
	// DeletionWidthMs how much later it was answered; not there where no audit log tells.
	DeletionLateMs  []float64 `json:"deletionLateMs,omitempty"`
	DeletionWidthMs []float64 `json:"deletionWidthMs,omitempty"`
	// Pods are those of the run over time; not there if none was counted
	Pods *FilePods `json:"pods,omitempty"`
	// Terminations are how Pods that were deleted with a grace period came to their ends.
	Terminations []FileTermination `json:"terminations,omitempty"`
	// Withdrawals are how Pods that nobody had deleted stopped being ready endpoints.
	Withdrawals []FileWithdrawal `json:"withdrawals,omitempty"`
	Controllers *FileControllers `json:"controllers,omitempty"`
	// Releases are those of a run that has several at the same time, of which ReleasesAtOnce at most.
	Releases       []FileRelease `json:"releases,omitempty"`
	ReleasesAtOnce int           `json:"releasesAtOnce,omitempty"`
	// Target is the app under test; not there for the sample app.
	Target *timeline.TargetSpec `json:"target,omitempty"`
	// Tasks are the long tasks that Pods took; not there where they take none.
	Tasks *FileTasks `json:"tasks,omitempty"`
	// only of a run that was measured elsewhere than the report says
	Cluster *timeline.Environment `json:"cluster,omitempty"`
	Lanes   []FileLane            `json:"lanes"`
}

// FileTermination is how a Pod that was deleted came to its end. Seconds count from the deletion; what
// nobody told is not there.
type FileTermination struct {
	Pod            string   `json:"pod"`
	GraceSeconds   float64  `json:"graceSeconds"`
	SIGTERMSeconds *float64 `json:"sigtermSeconds,omitempty"`
	ExitSeconds    *float64 `json:"exitSeconds,omitempty"`
	ExitCode       *int     `json:"exitCode,omitempty"`
	HookFailed     bool     `json:"hookFailed,omitempty"`
	PreStopCounted *bool    `json:"preStopCounted,omitempty"`
}

// FileWithdrawal is how a Pod of the node that was disrupted stopped being a ready endpoint while nobody had
// deleted it. What nobody told is not there.
type FileWithdrawal struct {
	Pod          string  `json:"pod"`
	By           string  `json:"by,omitempty"` // who wrote that it isn't ready
	AfterSeconds float64 `json:"afterSeconds"` // the start of the disruption
	// BeforeExitSeconds is below zero where the process had ended by then.
	BeforeExitSeconds *float64 `json:"beforeExitSeconds,omitempty"`
	Back              bool     `json:"back,omitempty"` // it was a ready endpoint again later
	PutBack           string   `json:"putBack,omitempty"`
}

// FileLane is a lane of a run.
type FileLane struct {
	Lane        string         `json:"lane"`
	Consumer    string         `json:"consumer"`
	From        timeline.Place `json:"from"`
	WorkSeconds float64        `json:"workSeconds,omitempty"` // that the server is asked for, for each request
	// masked is what http.Transport sent again
	Replayable   bool                           `json:"replayable,omitempty"`
	Outcome      verdict.Outcome                `json:"outcome"`
	Reasons      []string                       `json:"reasons"`
	Classes      []FileClass                    `json:"classes"`
	Planned      int                            `json:"planned"`
	Sent         int                            `json:"sent"`
	Unsent       int                            `json:"unsent"`
	OK           int                            `json:"ok"`
	Dropped      int                            `json:"dropped"`
	Masked       int                            `json:"masked"`
	ProxyMasked  int                            `json:"proxyMasked,omitempty"` // sent again by the consumer's own program
	Late         int                            `json:"late"`
	Lookups      int                            `json:"lookups,omitempty"`
	Causes       map[timeline.Cause]int         `json:"causes"`
	Phases       map[verdict.LifecyclePhase]int `json:"phases"`
	Unattributed map[string]int                 `json:"unattributed"` // by reason
	// since the start of the disruption; null if nothing was dropped
	FirstDroppedSeconds *float64     `json:"firstDroppedSeconds"`
	LastDroppedSeconds  *float64     `json:"lastDroppedSeconds"`
	OutageCount         int          `json:"outageCount"`
	Outages             []FileOutage `json:"outages"` // at most mostOutages
	// null if no Pod was deleted, or none got anything afterwards
	LastArrival           *FileArrival  `json:"lastArrival"`
	Arrivals              []FileArrival `json:"arrivals"`
	MinDetectableOutageMs float64       `json:"minDetectableOutageMs"`
	LagP50Ms              float64       `json:"lagP50Ms"`
	LagP99Ms              float64       `json:"lagP99Ms"`
	LagMaxMs              float64       `json:"lagMaxMs"`
	LatencyP50Ms          float64       `json:"latencyP50Ms"`
	LatencyP99Ms          float64       `json:"latencyP99Ms"`
	// Held is what became of connections that clients held; not there for a lane that holds none.
	Held *FileHeld `json:"held,omitempty"`
}

// FileClass is what became of a lane's requests of one class.
type FileClass struct {
	Class   timeline.Class  `json:"class"`
	Expect  timeline.Expect `json:"expect,omitempty"` // not there where nothing was declared
	Source  string          `json:"source,omitempty"`
	Dropped int             `json:"dropped"`
	Masked  int             `json:"masked"`
	Outcome verdict.Outcome `json:"outcome"`
}

// FileOutage is a time in which a lane dropped every request.
type FileOutage struct {
	// since the start of the disruption, as those of the lane
	FromSeconds float64                        `json:"fromSeconds"`
	ToSeconds   float64                        `json:"toSeconds"`
	Dropped     int                            `json:"dropped"`
	Causes      map[timeline.Cause]int         `json:"causes"`
	Phases      map[verdict.LifecyclePhase]int `json:"phases"`
	Pods        []string                       `json:"pods"`
}

// FileArrival is the last arrival at a Pod after its deletion.
type FileArrival struct {
	Pod      string  `json:"pod"`
	Seconds  float64 `json:"seconds"`
	Censored bool    `json:"censored"` // requests came until the Pod's own end, or would have come: a lower bound
}

// mostOutages is how many outages of a lane are told. Where one of three Pods drops what it gets, a
// run has a thousand of one request each, which tell no more than their count.
const mostOutages = 100

// JSON writes a report for programs, as Schema says.
func JSON(w io.Writer, r Report) error { return NewFile(r).Write(w) }

// Write writes what Read reads. A value that the schema has no word for is an error: nobody reads a
// contract that is broken now and then.
func (f File) Write(w io.Writer) error {
	if err := f.check(); err != nil {
		return fmt.Errorf("write JSON report: %w", err)
	}
	return writeJSON(w, "JSON report", f)
}

// Read reads a report.json, to compare with for instance. Another version of the schema is an
// error.
func Read(r io.Reader) (File, error) {
	var f File
	if err := readJSON(r, SchemaVersion, &f); err != nil {
		return f, fmt.Errorf("read JSON report: %w", err)
	}
	if err := f.check(); err != nil {
		return f, fmt.Errorf("read JSON report: %w", err)
	}
	return f, nil
}

func writeJSON(w io.Writer, what string, v any) error {
	var buffer bytes.Buffer
	enc := json.NewEncoder(&buffer)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	if _, err := w.Write(buffer.Bytes()); err != nil {
		return fmt.Errorf("write %s: %w", what, err)
	}
	return nil
}

// readJSON asks for the version first: the fields of another one may be of other types.
func readJSON(r io.Reader, version string, into any) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return err
	}
	if head.Schema != version {
		return fmt.Errorf("schema %q: want %q", head.Schema, version)
	}
	return json.Unmarshal(raw, into)
}

// check says where the file has a word that the schema doesn't have.
func (f File) check() error {
	if err := checkWord("outcome", verdict.Outcomes(), f.Outcome); err != nil {
		return err
	}
	for _, run := range f.Runs {
		err := cmp.Or(checkWord("outcome", verdict.Outcomes(), run.Outcome), run.Tasks.check())
		for _, l := range run.Lanes {
			err = cmp.Or(err, l.check())
		}
		if err != nil {
			return fmt.Errorf("run %s/%s: %w", run.Strategy, run.Disruption, err)
		}
	}
	for _, s := range f.Servers {
		if err := s.check(); err != nil {
			return err
		}
	}
	for _, s := range f.Sequences {
		if err := s.check(); err != nil {
			return fmt.Errorf("sequence of %s/%s: %w", s.Strategy, s.Disruption, err)
		}
	}
	return nil
}

func (l FileLane) check() error {
	err := cmp.Or(checkWord("outcome", verdict.Outcomes(), l.Outcome), checkCounts(l.Causes, l.Phases))
	for _, c := range l.Classes {
		expects := []timeline.Expect{timeline.Clean, timeline.Drops, timeline.Measured, ""}
		err = cmp.Or(err, checkWord("class", timeline.Classes(), c.Class), checkWord("expectation", expects, c.Expect),
			checkWord("outcome", verdict.Outcomes(), c.Outcome))
	}
	for _, o := range l.Outages {
		err = cmp.Or(err, checkCounts(o.Causes, o.Phases))
	}
	if l.Held != nil {
		for _, e := range l.Held.Ends {
			err = cmp.Or(err, checkWord("phase of a Pod's life", verdict.LifecyclePhases(), e.Phase))
		}
		err = cmp.Or(err, l.Held.Over.check())
	}
	if err != nil {
		return fmt.Errorf("lane %s: %w", l.Lane, err)
	}
	return nil
}

func checkCounts(causes map[timeline.Cause]int, phases map[verdict.LifecyclePhase]int) (err error) {
	for cause := range causes {
		err = cmp.Or(err, checkWord("cause of a dropped request", timeline.Causes(), cause))
	}
	for phase := range phases {
		err = cmp.Or(err, checkWord("phase of a Pod's life", verdict.LifecyclePhases(), phase))
	}
	return err
}

func checkWord[T comparable](what string, words []T, word T) error {
	if !slices.Contains(words, word) {
		return fmt.Errorf("%v is no %s", word, what)
	}
	return nil
}

// NewFile is a report as report.json says it.
func NewFile(r Report) File {
	out := File{
		Schema: SchemaVersion, Outcome: r.Suite.Outcome, Reasons: Because(r.Suite.Outcome, r.Suite.Reasons),
		Profile: r.Profile, Rate: r.Rate, ElapsedSeconds: seconds(r.Elapsed), Replay: r.Replay,
		Cluster: r.Cluster, Phases: []FilePhase{}, Runs: []FileRun{},
	}
	if !r.Started.IsZero() {
		out.Started = new(r.Started.UTC().Truncate(time.Millisecond))
	}
	for _, p := range r.Phases {
		out.Phases = append(out.Phases, FilePhase{p.Name, seconds(p.Took)})
	}
	for _, v := range r.Suite.Runs {
		out.Runs = append(out.Runs, newFileRun(v, r.Cluster))
	}
	for _, n := range r.NotRun {
		out.NotRun = append(out.NotRun, FileNotRun(n))
	}
	out.Consumers, out.Servers = model{Report: r}.consumers(), newFileServers(r)
	out.Sequences, out.App = newModel(r).sequences(), newFileApp(newModel(r))
	for _, c := range r.Suite.AA {
		for _, l := range c.Rows {
			out.AA = append(out.AA, FileAA{
				c.Base, c.Now, c.Disruption, l.What,
				[2]verdict.Sample{l.Base, l.Now},
				newFileTest(l.Share), newFileTest(l.Amount),
			})
		}
	}
	return out
}

func newFileTest(t verdict.Test) *FileTest {
	if !t.Made {
		return nil
	}
	return &FileTest{t.P, t.Corrected}
}

func newFileRun(v verdict.Verdict, cluster timeline.Environment) FileRun {
	out := FileRun{
		Strategy: v.Spec.Strategy, Group: v.Spec.Group, Disruption: v.Spec.Disruption,
		ConsumerGroup: v.Spec.ConsumerGroup, Repeat: v.Repeat,
		Control: v.Spec.Control, Outcome: v.Outcome, Conclusive: v.Conclusive(), Reasons: Because(v.Outcome, v.Reasons),
		Retry: v.Retry, Unseen: v.Unseen, Restarted: v.Restarted, Target: v.Spec.Target,
		PodsReplaced: v.PodsReplaced, PodsDeleted: v.Deleted(), PeakPods: v.PeakPods,
		RolloutSeconds: seconds(v.Rollout), ExtraPodSeconds: thousandths(v.ExtraPodSeconds),
		OverheadSeconds: seconds(v.Overhead), Lanes: []FileLane{},
		DeletionSeenMs: millisecondsOf(v.DeletionSeen), DeletionLateMs: millisecondsOf(v.DeletionLate),
		DeletionWidthMs: millisecondsOf(v.DeletionWidth), Pods: newFilePods(v),
		Controllers: newFileControllers(v.Controllers), Tasks: newFileTasks(v.Tasks),
		Releases: newFileReleases(v.Releases), ReleasesAtOnce: v.ReleasesAtOnce,
	}
	if v.Environment != cluster && v.Environment != (timeline.Environment{}) {
		out.Cluster = &v.Environment
	}
	for _, t := range v.Terminations {
		out.Terminations = append(out.Terminations, FileTermination{
			t.Pod, seconds(t.Grace), secondsOf(t.SIGTERM), secondsOf(t.Exit), t.Code, t.HookFailed, t.PreStopCounted,
		})
	}
	for _, w := range v.Withdrawals {
		out.Withdrawals = append(out.Withdrawals, FileWithdrawal{
			w.Pod, w.By, seconds(w.After), secondsOf(w.BeforeExit), w.Back, w.PutBack,
		})
	}
	for _, l := range v.Lanes {
		out.Lanes = append(out.Lanes, newFileLane(v, l))
	}
	return out
}

func newFileLane(v verdict.Verdict, l verdict.Lane) FileLane {
	out := FileLane{
		Lane: l.Name, Consumer: l.Consumer, From: l.From, WorkSeconds: seconds(l.Work), Replayable: l.Replayable,
		Outcome: l.Outcome,
		Reasons: Because(l.Outcome, l.Reasons), Classes: []FileClass{}, Planned: l.Planned, Sent: l.Sent,
		Unsent: l.Unsent, OK: l.OK, Dropped: l.Dropped, Masked: l.Masked, ProxyMasked: l.ProxyMasked, Late: l.Late,
		Lookups: l.Lookups,
		Causes:  above0(l.Causes), Phases: above0(l.Phases), Unattributed: above0(l.Unattributed),
		OutageCount: len(l.Outages), Outages: newFileOutages(l, v.DisruptStart), Arrivals: []FileArrival{},
		MinDetectableOutageMs: milliseconds(l.MinDetectableOutage),
		LagP50Ms:              milliseconds(l.LagP50),
		LagP99Ms:              milliseconds(l.LagP99),
		LagMaxMs:              milliseconds(l.LagMax),
		LatencyP50Ms:          milliseconds(l.LatencyP50),
		LatencyP99Ms:          milliseconds(l.LatencyP99),
		Held:                  newFileHeld(l),
	}
	for _, c := range l.Classes {
		p := c.Promise
		out.Classes = append(out.Classes, FileClass{c.Class, p.Expect, p.Source, c.Dropped, c.Masked, c.Outcome})
	}
	for _, a := range l.Arrivals {
		out.Arrivals = append(out.Arrivals, newFileArrival(a))
	}
	if l.LastArrival != nil {
		out.LastArrival = new(newFileArrival(*l.LastArrival))
	}
	if l.Dropped > 0 {
		out.FirstDroppedSeconds, out.LastDroppedSeconds = new(seconds(l.FirstDropped)), new(seconds(l.DroppedEnd))
	}
	return out
}

func newFileArrival(a verdict.Arrival) FileArrival {
	return FileArrival{a.Pod, seconds(a.After), a.Censored}
}

// newFileOutages is the longest outages of a lane by the requests that they dropped, in the order
// of their time.
func newFileOutages(l verdict.Lane, disruptStart time.Duration) []FileOutage {
	out := []FileOutage{}
	kept := slices.Clone(l.Outages)
	slices.SortStableFunc(kept, func(a, b verdict.Outage) int { return cmp.Compare(b.Dropped, a.Dropped) })
	kept = kept[:min(len(kept), mostOutages)]
	slices.SortStableFunc(kept, func(a, b verdict.Outage) int { return cmp.Compare(a.From, b.From) })
	for _, o := range kept {
		out = append(out, FileOutage{
			seconds(o.From - disruptStart), seconds(o.To - disruptStart), o.Dropped,
			above0(o.Causes), above0(o.Phases), append([]string{}, o.Pods...),
		})
	}
	return out
}

// above0 is the counts of what occurred.
func above0[K comparable](counts map[K]int) map[K]int {
	out := map[K]int{}
	for k, n := range counts {
		if n != 0 {
			out[k] = n
		}
	}
	return out
}

// seconds and milliseconds are rounded to a thousandth: the clock is finer, what it measures isn't.
func seconds(d time.Duration) float64 { return thousandths(d.Seconds()) }

// secondsOf is nil for what nobody told.
func secondsOf(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	return new(seconds(*d))
}

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
