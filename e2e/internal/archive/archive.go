// Package archive keeps what was measured in the repository: condensed reports in scenarios/results,
// and the parts of documents that are made of all of them.
package archive

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
)

// Report reads a report.json.
func Report(path string) (report.File, error) {
	in, err := os.Open(path)
	if err != nil {
		return report.File{}, err
	}
	defer in.Close()
	return report.Read(in)
}

func folder(root string) string { return filepath.Join(root, "scenarios", "results") }

// Keep condenses a report.json into the repository at root, and names the file that it made.
func Keep(root, commit, command, path string) (string, error) {
	f, err := Report(path)
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
	if err := os.MkdirAll(folder(root), 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(folder(root), results.Name())
	return name, os.WriteFile(name, buffer.Bytes(), 0o644)
}

// Read reads all that is kept, in the order of its time. A file that was edited is an error.
func Read(root string) ([]report.ResultsFile, error) {
	paths, err := filepath.Glob(filepath.Join(folder(root), "*.json"))
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

// WriteDocuments puts what is made of all that is kept into the documents.
func WriteDocuments(root string, files []report.ResultsFile) error {
	for _, text := range report.GeneratedTexts(files) {
		path := filepath.Join(root, filepath.FromSlash(text.Document))
		document, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		changed, err := report.SetMarked(string(document), text.Mark, text.Text)
		if err != nil {
			return fmt.Errorf("%s: %w", text.Document, err)
		}
		if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
			return err
		}
	}
	image, err := report.HeldImage(files)
	if err != nil || image == "" {
		return err
	}
	return os.WriteFile(filepath.Join(root, filepath.FromSlash(report.HeldImagePath)), []byte(image), 0o644)
}
