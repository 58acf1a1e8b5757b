package suite

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/picture"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// Reporter is a test that can fail: a *testing.T, as far as the suite needs it.
type Reporter interface {
	Errorf(format string, args ...any)
}

// record keeps a verdict, writes the reports so far, and fails the test if the run did not pass.
// The reports lead to the picture that is in dir; empty for a run without a folder.
func (s *Suite) record(r Reporter, v verdict.Verdict, dir string) {
	s.verdicts, s.folders = append(s.verdicts, v), append(s.folders, dir)
	if err := s.write(); err != nil {
		r.Errorf("%s", err)
	}
	if v.Outcome == verdict.Pass {
		return
	}
	s.failed = true
	if len(v.Reasons) == 0 {
		r.Errorf("%s, for no reason that is known", v.Outcome)
	}
	for _, reason := range v.Reasons {
		r.Errorf("%s: %s", v.Outcome, reason)
	}
}

// draw writes what there is to see of a run into its folder, which is made if need be: its picture,
// its dropped requests one by one, and what it changes in people's own app. A run that dropped nothing
// has an empty list, as none is an answer.
func draw(v verdict.Verdict, tl timeline.Timeline, dir string) error {
	var changed error
	if v.Spec.Change != "" {
		changed = writeFile(dir, report.ChangeFile, func(w io.Writer) error {
			_, err := io.WriteString(w, v.Spec.Change)
			return err
		})
	}
	return errors.Join(
		changed,
		writeFile(dir, picture.File, func(w io.Writer) error { return picture.Write(w, v, tl) }),
		writeFile(dir, report.DroppedFile, func(w io.Writer) error { return report.WriteDropped(w, v) }),
	)
}

// writeFile writes a file into a folder, which is made if need be.
func writeFile(dir, file string, write func(io.Writer) error) error {
	var out bytes.Buffer
	err := write(&out)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), out.Bytes(), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// pictures are where the runs' pictures are, from the artifacts' folder and with slashes, as in a
// link; empty where there is none.
func (s *Suite) pictures() []string {
	out := make([]string, len(s.folders))
	for i, dir := range s.folders {
		file := filepath.Join(dir, picture.File)
		if _, err := os.Stat(file); dir == "" || err != nil {
			continue
		}
		if path, err := filepath.Rel(s.Config.Out, file); err == nil {
			out[i] = filepath.ToSlash(path)
		}
	}
	return out
}

func (s *Suite) report() report.Report {
	artifacts, err := filepath.Abs(s.Config.Out)
	if err != nil {
		artifacts = s.Config.Out
	}
	started, elapsed := s.started, time.Since(s.started)
	if !s.measured.IsZero() {
		started = s.measured // when that is judged again is of no interest
	}
	var notRun []report.NotRun
	for _, cell := range s.notRun {
		notRun = append(notRun, report.NotRun(cell))
	}
	return report.Report{
		Suite: verdict.JudgeSuite(s.verdicts), Cluster: s.environment, Profile: s.Config.Profile, Rate: s.Config.Rate,
		Started: started, Elapsed: elapsed, Artifacts: artifacts,
		Replay: s.Config.Replay != "", Pictures: s.pictures(),
		ReferenceNotes: verdict.ReferenceDrift(s.verdicts, s.catalogue.Reference()), NotRun: notRun,
		Phases: []report.Phase{{Name: "cluster", Took: s.clusterTook}, {Name: "runs", Took: elapsed - s.clusterTook}},
	}
}

// write writes every report format into the artifacts' folder.
func (s *Suite) write() error {
	r := s.report()
	for _, format := range report.Formats() {
		err := writeFile(s.Config.Out, format.File, func(w io.Writer) error { return format.Write(w, r) })
		if err != nil {
			return err
		}
	}
	return nil
}

// recommend puts a safe delay on record: it is written into the artifacts' folder, and shown below
// the report at the end.
func (s *Suite) recommend(d report.SafeDelay) error {
	s.safeDelays = append(s.safeDelays, d)
	for _, format := range report.SafeDelayFormats() {
		err := writeFile(s.Config.Out, format.File, func(w io.Writer) error { return format.Write(w, d) })
		if err != nil {
			return err
		}
	}
	return nil
}

// print shows the report on the terminal: what fits on a screen, or all of it.
func (s *Suite) print() error {
	out, r := s.progress.out, s.report()
	if !s.Config.Verbose {
		return report.Summary(out, r, s.safeDelays, s.progress.live && os.Getenv("NO_COLOR") == "")
	}
	err := report.Text(out, r)
	for _, d := range s.safeDelays {
		err = errors.Join(err, report.WriteSafeDelay(out, d))
	}
	return err
}

// publish shows the report: as text here, and as markdown in the summary of a GitHub job.
func (s *Suite) publish() error {
	s.progress.clear()
	if err := s.print(); err != nil {
		return err
	}
	path := os.Getenv("GITHUB_STEP_SUMMARY")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write job summary: %w", err)
	}
	err = report.Markdown(f, s.report())
	for _, d := range s.safeDelays {
		var text bytes.Buffer
		err = errors.Join(err, report.WriteSafeDelay(&text, d))
		_, wrote := fmt.Fprintf(f, "\n```text%s```\n", text.String())
		err = errors.Join(err, wrote)
	}
	return errors.Join(err, f.Close())
}
