// Package report puts verdicts into words: for a terminal, for a job summary, for programs and for
// CI. It is pure: it reads no clock, no environment and no file, so that the same Report gives the
// same bytes.
//
// # What is written
//
//	terminal     at most 40 lines: the outcome, one table, the findings in a line each, where the
//	             page is; the flag -verbose-report prints all of report.txt instead
//	index.html   opens on a picture: what each strategy dropped, the delay it needed and was given,
//	             the cost; the tables are below, folded, and so is how Pods come and go, step by step
//	report.txt   every table, for people
//	report.md    the same as Markdown, also for the summary of a GitHub job
//	report.json  for programs: a contract (File), with its JSON Schema in report.schema.json
//	junit.xml    for CI: a test case per run
//
// Where consumers of endpoints were compared, the terminal's table has a row for each of them, the
// page opens on how long each goes on sending. What report.json says of them, or of single runs
// where it compares none, is kept, condensed and with a checksum, in scenarios/results (results.go):
// RESULTS.md and README.md have their tables from there.
//
// What the article states stands in package scenarios. Whether it holds is decided by figures of
// reports, of this machine or kept (article.go): a kind of figure is a decider, which reads it from
// a measurement.
//
// # How it speaks
//
// "As expected" and "dropped nothing" are two things, and word, colour and shape tell them apart: a
// strategy that dropped requests wears no green pass, though its run may be one. Beside each zero
// stands what it is worth. Late answers are in a column beside the dropped requests. A run that was
// made again for the machine's sake says so.
//
// # How it is made
//
// A Report becomes a model (aggregate.go: runs of the same strategy and disruption in one row, apart
// by group of consumers and mode of kube-proxy). Consumers have a row each (consumers.go). What
// fits on a screen is its Summary (summary.go), what the page opens on its picture (chart.go), and
// all there is to tell a document (document.go; sections.go, comparison.go, phases.go, arrivals.go
// and terminations.go), which the text, markdown and HTML writers only lay out. The JSON and JUnit writers
// start from the runs as they are; what JSON has is a File, which Read gives back.
//
// SequencePictures, PodPictures and HeldPictures draw what a report.json says of Pods' ways, of their
// number and of the connections with them over time, for other pages.
//
// The page of a single run is drawn by package picture, in the words and with the tables of this
// package.
package report
