// Command results keeps what report.json says of consumers: it condenses each that is named into a
// file of scenarios/results, and writes the tables of scenarios/RESULTS.md and README.md anew, from
// all that is kept there. It runs in the repository's root.
//
//	go run ./e2e/results -commit $(git rev-parse --short HEAD) artifacts/consumers/report.json
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
	dir := filepath.Join(root, "scenarios", "results")
	for _, path := range reports {
		name, err := keep(dir, commit, command, path)
		if err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
		fmt.Fprintf(out, "%s: kept as %s\n", path, name)
	}
	files, err := readAll(dir)
	if err != nil {
		return err
	}
	if err := write(root, files); err != nil {
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

func keep(dir, commit, command, path string) (string, error) {
	in, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	f, err := report.Read(in)
	if err != nil {
		return "", err
	}
	results, err := report.Condense(f, commit, command)
	if err != nil {
		return "", err
	}
	var buffer bytes.Buffer
	if err := results.Write(&buffer); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(dir, results.Name())
	return name, os.WriteFile(name, buffer.Bytes(), 0o644)
}

// readAll reads what is kept, in the order of its time. A file that was edited is an error.
func readAll(dir string) ([]report.ResultsFile, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []report.ResultsFile
	for _, path := range paths { // their names begin with their time
		in, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		f, err := report.ReadResults(in)
		in.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, f)
	}
	return out, nil
}

// write puts the tables into the documents. The README keeps its table until there is another.
func write(root string, files []report.ResultsFile) error {
	texts := map[string]string{filepath.Join("scenarios", "RESULTS.md"): report.ResultsTables(files)}
	if short := report.ShortResults(files); short != "" {
		texts["README.md"] = short
	}
	for name, text := range texts {
		path := filepath.Join(root, name)
		document, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		changed, err := report.SetMarked(string(document), "consumers", text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
			return err
		}
	}
	return nil
}
