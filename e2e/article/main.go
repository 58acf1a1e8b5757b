// Command article says what holds of the article's statements. It runs nothing: it reads reports of
// this machine, and those that are kept in scenarios/results, prints a list, and writes it as a page
// and, as far as what is kept decides it, into scenarios/RESULTS.md. It runs in the repository's
// root.
//
//	go run ./e2e/article                              by all reports in artifacts
//	go run ./e2e/article artifacts/full/report.json   by this one
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/zerodrop/zerodrop/e2e/internal/archive"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/scenarios"
)

func main() {
	page := flag.String("out", filepath.Join("artifacts", "article"), "`folder` for the page")
	flag.Parse()
	if err := run(os.Stdout, ".", *page, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "article:", err)
		os.Exit(1)
	}
}

// run decides the statements for the repository at root, by the reports that are named or, if none
// is, by those in its artifacts.
func run(out io.Writer, root, page string, reports []string) error {
	if len(reports) == 0 {
		for _, folder := range []string{"", "*"} { // of make e2e, and those that other targets give
			found, err := filepath.Glob(filepath.Join(root, "artifacts", folder, "report.json"))
			if err != nil {
				return err
			}
			reports = append(reports, found...)
		}
	}
	kept, err := archive.Read(root)
	if err != nil {
		return err
	}
	all := report.Stored(kept)
	for _, path := range reports {
		here, err := read(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, here)
	}
	article := report.NewArticle(scenarios.Article(), all)
	if err := report.ArticleText(out, article); err != nil {
		return err
	}
	var buffer bytes.Buffer
	if err := report.ArticlePage(&buffer, article); err != nil {
		return err
	}
	if err := os.MkdirAll(page, 0o755); err != nil {
		return err
	}
	file := filepath.Join(page, "index.html")
	if err := os.WriteFile(file, buffer.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s of this machine, %d kept. Page: %s\n", report.Count(len(reports), "report"), len(kept), file)
	return archive.WriteDocuments(root, kept)
}

func read(path string) (report.Measurement, error) {
	f, err := archive.Report(path)
	if err != nil {
		return report.Measurement{}, err
	}
	return report.Here(f)
}
