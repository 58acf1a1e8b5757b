package suite

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// Stored is a folder with a stored run.
type Stored struct {
	Name string // its path below the folder of -replay, with slashes
	dir  string
}

// Stored lists the runs below the folder of -replay. That there is none is an error. What the suite
// before has left is another suite's, and first attempts were made again: who means one names it,
// as in -replay artifacts/previous.
func (s *Suite) Stored() ([]Stored, error) {
	dirs, err := timeline.Find(s.Config.Replay)
	if err != nil {
		return nil, err
	}
	var out []Stored
	for _, dir := range dirs {
		name, err := filepath.Rel(s.Config.Replay, dir)
		if err != nil {
			return nil, fmt.Errorf("find timelines: %w", err)
		}
		if name == "." { // it is the one that was named
			name = filepath.Base(dir)
		} else if strings.HasSuffix(name, firstAttempt) {
			continue
		}
		if name = filepath.ToSlash(name); !strings.HasPrefix(name, previousDir+"/") {
			out = append(out, Stored{name, dir})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("find timelines: there are only those of the suite before: name %s/%s to judge them",
			s.Config.Replay, previousDir)
	}
	return out, nil
}

// Replay judges a stored run by what was declared when it was recorded, and puts the verdict on
// record. What is stored stays as it was: the picture goes where the reports go, by the run's name.
// A run that can't be read is lost, which is the infrastructure's fault; it has its place in the
// report, under the name of its folder: a run that is left out looks like one that passed.
func (s *Suite) Replay(r Reporter, run Stored) {
	tl, err := timeline.Load(run.dir)
	if err != nil {
		names := append(strings.Split(run.Name, "/"), "unknown")
		s.record(r, verdict.Verdict{
			Spec:    timeline.Spec{Strategy: names[0], Disruption: names[1]},
			Outcome: verdict.Infrastructure, Reasons: []string{err.Error()},
		}, "")
		return
	}
	v := verdict.Judge(tl)
	if s.environment = tl.Environment; s.measured.IsZero() || tl.Start.Before(s.measured) {
		s.measured = tl.Start
	}
	for i, l := range tl.Spec.Lanes { // what it was recorded at: -rate is for runs
		if i == 0 || l.Rate > s.Config.Rate {
			s.Config.Rate = l.Rate
		}
	}
	dir := filepath.Join(s.Config.Out, filepath.FromSlash(run.Name))
	if err := draw(v, tl, dir); err != nil {
		r.Errorf("%s", err)
	}
	s.record(r, v, dir)
}
