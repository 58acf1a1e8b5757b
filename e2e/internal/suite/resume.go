package suite

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// takeOver judges the stored timeline of a run again and puts the verdict on record; false if there
// is none that stands for the run.
func (s *Suite) takeOver(r Reporter, run scenarios.Run, i, n int) (verdict.Verdict, bool) {
	dir := s.dir(run)
	if !isStored(dir) {
		return verdict.Verdict{}, false
	}
	progress := s.progress.run(i, n, run)
	tl, err := timeline.Load(dir)
	var why string
	if err != nil {
		why = err.Error()
	} else {
		why = s.otherwise(run, tl)
	}
	if why != "" {
		progress.line("%s: made again: %s", progress.name, why)
		return verdict.Verdict{}, false
	}
	v := verdict.Judge(tl)
	if err := draw(v, tl, dir); err != nil {
		r.Errorf("%s", err) // the verdict stands without
	}
	if s.cluster == nil {
		s.environment = tl.Environment
	}
	progress.name += " (stored)"
	progress.done(v)
	s.record(r, v, dir)
	return v, true
}

// otherwise says why a stored timeline does not stand for a run; empty if it does. One that was
// measured does, whatever its verdict: a suite that goes on until it likes what it sees proves
// nothing.
func (s *Suite) otherwise(run scenarios.Run, tl timeline.Timeline) string {
	switch {
	case tl.Interrupted != "":
		return tl.Interrupted
	case len(tl.Errors) > 0:
		return "not measured: " + tl.Errors[0]
	case tl.Repeat != run.Repeat || !sameSpec(tl.Spec, harness.NewSpec(run.Scenario, tl.Environment)):
		return "what is stored was declared otherwise"
	case s.environment.Kubernetes != "" && tl.Environment.Kubernetes != s.environment.Kubernetes:
		return "what is stored was measured on Kubernetes " + tl.Environment.Kubernetes
	case !s.sameProxy(run, tl.Environment):
		return "what is stored was measured with another kube-proxy"
	}
	return ""
}

// sameSpec compares declarations as they are stored.
func sameSpec(a, b timeline.Spec) bool {
	rawA, errA := json.Marshal(a)
	rawB, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(rawA, rawB)
}

// sameProxy says whether kube-proxy was set up as it would be.
func (s *Suite) sameProxy(run scenarios.Run, e timeline.Environment) bool {
	c := s.Config.Cluster
	mode := cmp.Or(run.Needs().ProxyMode, c.ProxyMode, "iptables")
	return e.ProxyMode == mode && e.MinSyncPeriod == cmp.Or(c.ProxyMinSync, time.Second).String()
}

// isStored says whether a run has come to its end in a folder: its timeline's JSON is written last.
func isStored(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, timeline.JSONFile))
	return err == nil
}
