package report_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before it is committed")

var goldenSuites = []struct {
	name   string
	report report.Report
}{
	{"quick", quick()},
	{"failing", failing()},
	{"inconclusive", inconclusive()},
	{"repeats", repeats()},
	{"many-repeats", manyRepeats()},
	{"seven-lanes", sevenLanes()},
	{"infrastructure", infrastructure()},
	{"aa", aa(false)},
	{"aa-differs", aa(true)},
	{"empty", suite()},
}

var style = regexp.MustCompile(`(?s)<style>.*?</style>`)

// unstyled is a page without its style sheet, which is in the same words in each, and which one looks at in a browser. Other files stay as they are.
func unstyled(page []byte) []byte { return style.ReplaceAll(page, []byte("<style></style>")) }

func TestGolden(t *testing.T) {
	for _, s := range goldenSuites {
		for _, f := range report.Formats() {
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
