package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jstemmer/go-junit-report/v2/junit"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// JUnit writes a report for CI: a testsuite per disruption and a testcase per run. What failed is a
// failure; what is not conclusive, or could not be measured, is an error; what was not run is skipped.
// The time of a testcase is that of its rollout.
func JUnit(w io.Writer, r Report) error {
	all := junit.Testsuites{Name: "zerodrop"}
	var total float64
	m := newModel(r)
	for _, part := range m.Parts {
		suite := junit.Testsuite{Name: Plain(part[0].Where), ID: len(all.Suites)}
		properties(&suite, r)
		var took float64
		for _, v := range r.Suite.Runs {
			if placeOf(v) == placeOf(part[0].Runs[0]) {
				suite.AddTestcase(testcase(m, v))
				took += v.Rollout.Seconds()
			}
		}
		suite.Time = xmlSeconds(took)
		total += took
		all.AddSuite(suite)
	}
	// A red suite must not look green, nor empty, nor better than it is, because no run says why.
	if !slices.ContainsFunc(r.Suite.Runs, func(v verdict.Verdict) bool { return v.Outcome == r.Suite.Outcome }) &&
		r.Suite.Outcome != verdict.Pass {
		suite := junit.Testsuite{Name: "suite", ID: len(all.Suites), Time: xmlSeconds(0)}
		properties(&suite, r)
		tc := junit.Testcase{Name: "suite", Classname: "zerodrop", Time: xmlSeconds(0)}
		tc.Failure, tc.Error = result(r.Suite.Outcome, r.Suite.Reasons)
		suite.AddTestcase(tc)
		all.AddSuite(suite)
	}
	if len(r.NotRun) > 0 {
		suite := junit.Testsuite{Name: "not run", ID: len(all.Suites), Time: xmlSeconds(0)}
		properties(&suite, r)
		for _, n := range r.NotRun {
			suite.AddTestcase(junit.Testcase{
				Name: Plain(n.Strategy + "/" + n.Disruption), Classname: "zerodrop." + Plain(n.Disruption), Time: xmlSeconds(0),
				Skipped: &junit.Result{Message: Plain(n.Why)},
			})
		}
		all.AddSuite(suite)
	}
	all.Time = xmlSeconds(total)
	var buffer bytes.Buffer
	buffer.WriteString(xml.Header)
	if err := all.WriteXML(&buffer); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	if _, err := w.Write(buffer.Bytes()); err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	return nil
}

func testcase(m model, v verdict.Verdict) junit.Testcase {
	tc := junit.Testcase{
		Name: Plain(m.name(v)), Classname: "zerodrop." + Plain(v.Spec.Disruption),
		Time: xmlSeconds(v.Rollout.Seconds()),
	}
	if v.Outcome != verdict.Pass {
		tc.Failure, tc.Error = result(v.Outcome, v.Reasons)
	}
	out := []string{fmt.Sprintf("%s: %s", ResultOf(v), ResultOf(v).Meaning())}
	if len(v.Retry) > 0 {
		out = append(out, "made again once: "+strings.Join(v.Retry, "; "))
	}
	for _, lane := range names(m.Lanes) {
		if a := (row{Runs: []verdict.Verdict{v}}).lane(lane); a.N > 0 {
			out = append(out, fmt.Sprintf("%s: dropped %d of %d (%s), %d late", lane, a.Dropped, a.Sent, a.causes(), a.Late))
		}
	}
	tc.SystemOut = &junit.Output{Data: plainLines(out)}
	return tc
}

// result is the failure or the error of what isn't a pass.
func result(o verdict.Outcome, reasons []string) (failure, problem *junit.Result) {
	reasons = Because(o, reasons)
	r := &junit.Result{Message: strings.Join(plains(reasons), "; "), Type: o.String(), Data: plainLines(reasons)}
	if o == verdict.Fail {
		return r, nil
	}
	return nil, r
}

// plainLines is lines without what XML can't hold.
func plainLines(lines []string) string { return strings.Join(plains(lines), "\n") }

func properties(s *junit.Testsuite, r Report) {
	if !r.Started.IsZero() {
		s.SetTimestamp(r.Started.UTC())
	}
	for _, p := range [][2]string{
		{"kubernetes", r.Cluster.Kubernetes},
		{"nodes", strconv.Itoa(r.Cluster.Nodes)},
		{"proxyMode", r.Cluster.ProxyMode},
		{"minSyncPeriod", r.Cluster.MinSyncPeriod},
		{"kernel", r.Cluster.Kernel},
		{"runtime", r.Cluster.Runtime},
		{"cpus", strconv.Itoa(r.Cluster.CPUs)},
		{"profile", r.Profile},
		{"ratePerLane", strconv.Itoa(r.Rate)},
		{"replay", strconv.FormatBool(r.Replay)},
	} {
		s.AddProperty(p[0], Plain(p[1]))
	}
}

// xmlSeconds is how JUnit writes a length: in seconds, with a point.
func xmlSeconds(s float64) string { return strconv.FormatFloat(s, 'f', 3, 64) }
