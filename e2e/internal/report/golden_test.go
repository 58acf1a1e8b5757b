package report_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before it is committed")

// goldenSuites are reports, each with the formats in which it shows something that the others
// don't. All formats of all of them are checked otherwise: by the schema, for their width, for
// being well-formed.
var goldenSuites = []struct {
	name    string
	report  report.Report
	formats []string
}{
	{"small", small(), []string{"report.txt", "report.md", "index.html", "report.json", "junit.xml"}},
	{"quick", quick(), []string{"report.txt", "report.md", "index.html"}},
	{"failing", failing(), []string{"report.txt", "junit.xml"}},
	{"inconclusive", inconclusive(), []string{"report.txt"}},
	{"repeats", repeats(), []string{"report.txt"}},
	{"many-repeats", manyRepeats(), []string{"report.txt"}},
	{"seven-lanes", sevenLanes(), []string{"report.txt"}},
	{"infrastructure", infrastructure(), []string{"report.txt", "junit.xml"}},
	{"aa", aa(false), []string{"report.txt"}},
	{"aa-differs", aa(true), []string{"report.txt", "junit.xml"}},
	{"empty", suite(), []string{"report.txt", "report.md", "index.html", "report.json", "junit.xml"}},
}

var style = regexp.MustCompile(`(?s)<style>.*?</style>`)

// unstyled is a page without its style sheet, which is in the same words in each, and which one
// looks at in a browser. Other files stay as they are.
func unstyled(page []byte) []byte { return style.ReplaceAll(page, []byte("<style></style>")) }

func TestGolden(t *testing.T) {
	for _, s := range goldenSuites {
		for _, f := range report.Formats() {
			if !slices.Contains(s.formats, f.File) {
				continue
			}
			t.Run(s.name+"/"+f.File, func(t *testing.T) {
				var got bytes.Buffer
				require.NoError(t, f.Write(&got, s.report))
				page := unstyled(got.Bytes())
				file := filepath.Join("testdata", s.name, f.File)
				if *update {
					require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
					require.NoError(t, os.WriteFile(file, page, 0o644))
				}
				want, err := os.ReadFile(file)
				require.NoError(t, err, "run go test -update")
				require.Equal(t, string(want), string(page))
			})
		}
	}
}
