package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestRollout runs every scenario of the profile, or with -replay judges every stored one. Each is a subtest of its name, as in
// TestRollout/prestop-sleep/rolling-update.
func TestRollout(t *testing.T) {
	if the.settings.replay != "" {
		replay(t)
		return
	}
	if testing.Short() {
		t.Skip("needs a cluster")
	}
	require.NoError(t, the.broken)
	list, err := the.catalogue.Profile(the.settings.profile, the.settings.rate)
	require.NoError(t, err)
	for _, name := range delaysNamed(flag.Lookup("test.run").Value.String()) {
		for _, d := range scenarios.Disruptions() {
			if d.Replaces {
				s, err := the.catalogue.Find(name, d.Name, the.settings.rate)
				require.NoError(t, err)
				list = append(list, s)
			}
		}
	}
	if lanes := the.settings.lanes; lanes != "" {
		for i := range list {
			list[i], err = list[i].Only(strings.Split(lanes, ","))
			require.NoError(t, err)
		}
	}
	runs := scenarios.Interleave(list, the.settings.repeat)
	for i, run := range runs {
		t.Run(run.Name(), func(t *testing.T) {
			require.NoError(t, the.makeRoom())
			the.measure(t, run, i+1, len(runs))
		})
	}
	require.NotEmpty(t, the.verdicts, "no scenario of profile %s matches -run: other strategies are in -profile full", the.settings.profile)
}

// delaysNamed are the strategies at another delay that -run names, as in TestRollout/in-app-delay-close@1.5s. They are in no profile, as there is no end to them.
func delaysNamed(run string) []string {
	_, rest, _ := strings.Cut(run, "/")
	pattern, _, _ := strings.Cut(rest, "/")
	var names []string
	for name := range strings.SplitSeq(strings.NewReplacer("^", "", "$", "", "\\", "", "(", "", ")", "").Replace(pattern), "|") {
		if strings.Contains(name, fixtures.DelaySign) {
			names = append(names, name)
		}
	}
	return names
}

// measure records a run, saves it, judges it, and puts the verdict on record.
func (s *suite) measure(t *testing.T, run scenarios.Run, i, n int) verdict.Verdict {
	t.Helper()
	v, dir := s.attempt(t, run, i, n)
	s.conclude(t, v, dir)
	return v
}

// attempt records a run, saves it in a folder, judges it and draws it.
func (s *suite) attempt(t *testing.T, run scenarios.Run, i, n int) (v verdict.Verdict, dir string) {
	t.Helper()
	progress := s.progress.run(i, n, run)
	dir = s.dir(run)
	tl := record(t, run, dir, progress)
	if err := timeline.Save(dir, tl); err != nil { // a full disk, say: the run is told of, and not believed
		tl.Faults = append(tl.Faults, err.Error())
	}
	v = verdict.Judge(tl, run.Scenario)
	if err := picture(v, tl, dir); err != nil {
		t.Error(err) // the verdict stands without
	}
	progress.done(v)
	return v, dir
}

// record deploys the app and runs the scenario against it. A run that can't even begin is on record, too: as a fault, or as interrupted if somebody wanted it
// to end. No verdict passes over either.
func record(t *testing.T, run scenarios.Run, dir string, progress runProgress) timeline.Timeline {
	t.Helper()
	began := time.Now()
	ctx, err := the.context(t)
	if err != nil {
		return interrupted(harness.Failed(run, began, err), err)
	}
	c, err := the.openCluster(ctx)
	if err != nil {
		return interrupted(harness.Failed(run, began, err), context.Cause(ctx))
	}
	began = time.Now()
	progress.phase("deploy")
	app, err := c.Deploy(ctx, run.Scenario, dir)
	if err != nil {
		return interrupted(harness.Failed(run, began, err), context.Cause(ctx))
	}
	deployed := time.Since(began)
	options := harness.Defaults
	options.Phase = progress.phase
	tl := harness.Run(ctx, app, run, options)
	if err := app.Close(context.WithoutCancel(ctx)); err != nil {
		progress.line("%s", err) // the load is over, by its own bound at the latest
	}
	tl.Window.Overhead += deployed
	return interrupted(tl, context.Cause(ctx))
}

// interrupted is the timeline of a run that was to end before its time because of why: by a signal, or as the time of go test was over. What failed then
// failed because of it: nothing broke down, and the faults are dropped. A run without any was complete by then, and is left as it is.
func interrupted(tl timeline.Timeline, why error) timeline.Timeline {
	if len(tl.Faults) > 0 && (errors.Is(why, errStopped) || errors.Is(why, errTime)) {
		tl.Interrupted, tl.Faults = why.Error(), nil
	}
	return tl
}

func replay(t *testing.T) {
	dirs, err := timeline.Find(the.settings.replay)
	require.NoError(t, err)
	judged := 0
	for _, dir := range dirs {
		name, err := filepath.Rel(the.settings.replay, dir)
		require.NoError(t, err)
		if name == "." { // it is the one that was named
			name = filepath.Base(dir)
		}
		name = filepath.ToSlash(name)
		if strings.HasPrefix(name, previousDir+"/") {
			continue // of the suite before; who means it names it: -replay artifacts/previous
		}
		judged++
		t.Run(name, func(t *testing.T) {
			v, tl := judgeAgain(name, dir)
			out := ""
			if tl != nil { // what is stored stays as it was: the picture and today's verdict go where the reports go, by the run's name
				out = filepath.Join(the.settings.artifacts, filepath.FromSlash(name))
				if err := picture(v, *tl, out); err != nil {
					t.Error(err)
				}
			}
			the.conclude(t, v, out)
		})
	}
	require.NotZero(t, judged, "there are only timelines of the suite before: name %s/%s to judge those", the.settings.replay, previousDir)
}

// judgeAgain judges the timeline in dir. One that can't be read is lost, which is the infrastructure's fault; one of a scenario that is unknown today can't be
// judged. Either has its place in the report, under the names of its folder: a run that is left out looks like one that passed. The
// timeline is nil if it was not judged.
func judgeAgain(name, dir string) (verdict.Verdict, *timeline.Timeline) {
	tl, err := timeline.Load(dir)
	if err != nil {
		return unjudged(name, verdict.Infrastructure, err), nil
	}
	rate := the.settings.rate
	if len(tl.Lanes) > 0 {
		rate = tl.Lanes[0].Rate // what it was recorded at: -rate is for runs
	}
	s, err := the.catalogue.Find(tl.Strategy, tl.Disruption, rate)
	if err != nil {
		return unjudged(name, verdict.Inconclusive, fmt.Errorf("timeline in %s: %w", dir, err)), nil
	}
	// One that could not begin has none, and in one without places the lanes are fewer than today's for its age.
	if len(tl.Lanes) > 0 && !slices.ContainsFunc(tl.Lanes, func(l timeline.LaneRecord) bool { return l.From == "" }) {
		var recorded []string
		for _, l := range tl.Lanes {
			recorded = append(recorded, l.Name)
		}
		if s, err = s.Only(recorded); err != nil { // -lanes may have chosen
			return unjudged(name, verdict.Inconclusive, fmt.Errorf("timeline in %s: %w", dir, err)), nil
		}
	}
	the.facts, the.settings.rate = tl.Environment, rate
	return verdict.Judge(tl, s), &tl
}

// unjudged is the verdict on a timeline that can't be judged.
func unjudged(folder string, o verdict.Outcome, why error) verdict.Verdict {
	names := append(strings.Split(folder, "/"), "unknown")
	return verdict.Verdict{Strategy: names[0], Disruption: names[1], Outcome: o, Reasons: []string{why.Error()}}
}
