// Command results keeps what report.json says: it condenses each that is named into a file of
// scenarios/results, and writes the generated parts of scenarios/RESULTS.md and README.md anew, from
// all that is kept there. It runs in the repository's root.
//
//	go run ./e2e/results -commit $(git rev-parse --short HEAD) artifacts/consumers/report.json
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/zerodrop/zerodrop/e2e/internal/archive"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
)

func main() {
	commit := flag.String("commit", "", "the commit that measured")
	command := flag.String("command", "make consumers", "the command that measured")
	flag.Parse()
	if err := run(os.Stdout, ".", *commit, *command, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "results:", err)
		os.Exit(1)
	}
}

// run keeps reports in the repository at root, and says where measurements disagree. Without a
// report it only writes the documents anew.
func run(out io.Writer, root, commit, command string, reports []string) error {
	for _, path := range reports {
		name, err := archive.Keep(root, commit, command, path)
		if err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
		fmt.Fprintf(out, "%s: kept as %s\n", path, name)
	}
	files, err := archive.Read(root)
	if err != nil {
		return err
	}
	if err := archive.WriteDocuments(root, files); err != nil {
		return err
	}
	lines, twice := report.Disagreements(files)
	fmt.Fprintf(out, "%s: %d of %d consumers that were measured twice disagree on their safe delay "+
		"by more than 25 %% and half a second\n",
		report.Count(len(files), "measurement"), len(lines), twice)
	for _, line := range lines {
		fmt.Fprintln(out, " ", line)
	}
	return nil
}
