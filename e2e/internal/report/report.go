package report

import (
	"io"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// Report is everything that the reports tell.
type Report struct {
	Suite     verdict.Suite        // runs, judged, in the order in which they were made
	Cluster   timeline.Environment // where they were made; a run that was made elsewhere is named
	Profile   string               // quick, full …
	Rate      int                  // requests per second per lane
	Started   time.Time            // of the suite; zero if unknown
	Elapsed   time.Duration        // of the suite, all phases together; zero if unknown
	Artifacts string               // folder of timelines, logs and reports, as the reader would type it
	Phases    []Phase              // where the time went, in order
	Replay    bool                 // judged again from stored timelines, without a cluster
	// ReferenceNotes say where the lane that every group of consumers has differs between groups
	// (verdict.ReferenceDrift).
	ReferenceNotes []string
	// NotRun are the cells that were selected and left out. They are neither clean nor anything else.
	NotRun []NotRun
	// Pictures are where the runs' pictures are, in the order of Suite.Runs: paths from the
	// artifacts' folder, with slashes; empty for a run that has none.
	Pictures []string
}

// Phase is a part of the work before, between or after runs, such as bringing the cluster up.
type Phase struct {
	Name string
	Took time.Duration
}

// NotRun is a strategy under a disruption that was not run, and why.
type NotRun struct{ Strategy, Disruption, Why string }

// Format is one way to write a Report.
type Format struct {
	File  string // name within the artifacts folder
	Write func(io.Writer, Report) error
}

// Formats lists every way to write a Report. A new one is a function and a row here.
func Formats() []Format {
	return []Format{
		{"report.txt", Text},
		{"report.md", Markdown},
		{"index.html", Index},
		{"report.json", JSON},
		{"junit.xml", JUnit},
	}
}
