// Package report puts verdicts into words: for a terminal, for a job summary, for programs and for
// CI. It is pure: it reads no clock, no environment and no file, so that the same Report gives the
// same bytes.
//
// A Report becomes a model (aggregate.go: runs of the same strategy and disruption in one row). Its
// Summary is what fits on a screen (summary.go), and its picture (chart.go) what the page opens on.
// All there is to tell is a document (document.go; sections.go, comparison.go, phases.go and
// arrivals.go), which the text, markdown and HTML writers only lay out. The JSON and JUnit writers
// start from the runs as they are; what JSON has is a File, which Read gives back.
//
// The page of a single run is drawn by package picture, in the words and with the tables of this
// package.
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
	// Pictures are where the runs' pictures are, in the order of Suite.Runs: paths from the
	// artifacts' folder, with slashes; empty for a run that has none.
	Pictures []string
}

// Phase is a part of the work before, between or after runs, such as bringing the cluster up.
type Phase struct {
	Name string
	Took time.Duration
}

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
