package suite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Names in the artifacts' folder, beside those of the reports and of the runs' own folders.
const (
	kindLogFile    = "kind.log"
	clusterLogsDir = "cluster-logs"
	// previousDir keeps what the suite before has left, so that a new run neither mixes with it nor
	// destroys it at once.
	previousDir = "previous"
)

// PrepareArtifacts makes the artifacts' folder and opens the log of kind in it, once. What an
// earlier suite has left there is moved aside, one generation deep; with -resume it stays.
func (s *Suite) PrepareArtifacts() (err error) {
	if s.kindLog != nil {
		return nil
	}
	logFlags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if !s.Config.Resume {
		if err := rotateArtifacts(s.Config.Out); err != nil {
			return fmt.Errorf("make room in the artifacts' folder: %w", err)
		}
		logFlags |= os.O_TRUNC
	} else if err := os.MkdirAll(s.Config.Out, 0o755); err != nil {
		return fmt.Errorf("make the artifacts' folder: %w", err)
	}
	if s.kindLog, err = os.OpenFile(filepath.Join(s.Config.Out, kindLogFile), logFlags, 0o644); err != nil {
		return fmt.Errorf("make the log of kind: %w", err)
	}
	return nil
}

// setAside moves what there is of a run that doesn't stand for the one to be made: it may be measured,
// if not as it would be now. The first attempt of a run whose second one was cut off stays.
func (s *Suite) setAside(run scenarios.Run) error {
	dir := s.dir(run)
	from := []string{dir}
	if tl, err := timeline.Load(dir + firstAttempt); isStored(dir) || err != nil || s.otherwise(run, tl) != "" {
		from = append(from, dir+firstAttempt)
	}
	for _, dir := range from {
		name, err := filepath.Rel(s.Config.Out, dir)
		if err != nil {
			return err
		}
		to := filepath.Join(s.Config.Out, previousDir, name)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
			return err
		}
		if err := os.Rename(dir, to); err != nil {
			return err
		}
	}
	return nil
}

// rotateArtifacts moves what a suite before has left into a folder beside it: its reports, its
// logs, and the folders of its runs. Whatever else there is stays, in case somebody uses a folder
// that they need for something else; and without a report nothing is touched.
func rotateArtifacts(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "report.json")); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	previous := filepath.Join(dir, previousDir)
	if err := os.RemoveAll(previous); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(previous, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		if !ours(dir, entry.Name()) {
			continue
		}
		if err := os.Rename(filepath.Join(dir, entry.Name()), filepath.Join(previous, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// ours says whether a name in the artifacts' folder is of something that a suite has made there:
// one of its own names, or a folder with a stored run where a suite puts it: strategy/disruption,
// repeat, and at most two folders above them. Deeper ones are not looked for: whoever has the
// artifacts written into a checkout keeps its stored test data.
func ours(dir, name string) bool {
	names := []string{kindLogFile}
	for _, format := range report.Formats() {
		names = append(names, format.File)
	}
	for _, format := range report.SafeDelayFormats() {
		names = append(names, format.File)
	}
	if slices.Contains(names, name) || strings.HasPrefix(name, clusterLogsDir) {
		return true
	}
	for _, depth := range []string{"*/", "*/*/", "*/*/*/", "*/*/*/*/"} {
		found, err := fs.Glob(os.DirFS(filepath.Join(dir, name)), depth+timeline.JSONFile)
		if err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

// dir is where a run's artifacts go.
func (s *Suite) dir(run scenarios.Run) string {
	dir := filepath.Join(s.Config.Out, filepath.FromSlash(run.Path()))
	if run.Series {
		dir = filepath.Join(dir, strconv.Itoa(run.Repeat))
	}
	return dir
}
