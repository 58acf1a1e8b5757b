package report

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// results is the made-up suite as it is kept.
func results(t *testing.T) ResultsFile {
	t.Helper()
	f, err := Condense(NewFile(everyConsumer()), "abc1234", "make consumers")
	require.NoError(t, err)
	return f
}

func TestResults(t *testing.T) {
	f := results(t)
	assert.Equal(t, "2026-10-01-073012.json", f.Name())
	assert.Equal(t, []int{47, 1, 11}, []int{f.Runs, f.Inconclusive, len(f.Consumers)})
	var out bytes.Buffer
	require.NoError(t, f.Write(&out))
	written := out.String()
	assert.LessOrEqual(t, strings.Count(written, "\n"), 45, "a consumer a line")
	again, err := ReadResults(strings.NewReader(written))
	require.NoError(t, err)
	assert.Equal(t, f, again)

	for name, tt := range map[string]struct{ old, new, want string }{
		"a number":             {`"safeSeconds":1.31`, `"safeSeconds":1.21`, "it was edited"},
		"a blank":              {`"commit": "abc1234"`, `"commit":  "abc1234"`, "it was edited"},
		"a consumer less":      {written[strings.Index(written, `    {"consumer":"dns-cached"`):strings.Index(written, `    {"consumer":"ingress"`)], "", "it was edited"},
		"the sum":              {`"sum": "sha256:`, `"sum": "sha256:0`, "it was edited"},
		"no sum":               {`"sum"`, `"total"`, "it was edited"},
		"something after it":   {"\"\n}\n", "\",\n  \"runs\": 9\n}\n", "it was edited"},
		"another schema":       {ResultsSchema, "zerodrop.results/v0", `schema "zerodrop.results/v0": want "zerodrop.results/v1"`},
		"a report by itself":   {ResultsSchema, SchemaVersion, "want"},
		"something unfinished": {"\n}\n", "", "unexpected end"},
	} {
		require.Contains(t, written, tt.old, name)
		_, err := ReadResults(strings.NewReader(strings.Replace(written, tt.old, tt.new, 1)))
		assert.ErrorContains(t, err, tt.want, name)
	}
	require.ErrorIs(t, f.Write(fullDisk{}), errFull)
}

func TestCondenseRefuses(t *testing.T) {
	undated := NewFile(everyConsumer())
	undated.Started = nil
	empty := NewFile(suite())
	for want, f := range map[string]File{"neither consumers nor a conclusive run": empty, "when it was measured": undated} {
		_, err := Condense(f, "abc1234", "make consumers")
		assert.ErrorContains(t, err, want)
	}
	_, err := Condense(NewFile(everyConsumer()), "", "make consumers")
	assert.ErrorContains(t, err, "commit and command have to be told")
}

// TestCondenseRuns: a disruption that is about consumers has the runs of its report kept all the same, and
// no row of a consumer that was measured for it alone.
func TestCondenseRuns(t *testing.T) {
	file := NewFile(everyConsumer())
	require.NotEmpty(t, file.Consumers)
	file.Profile = "disruptions"
	f, err := Condense(file, "abc1234", "make disruptions")
	require.NoError(t, err)
	assert.Empty(t, f.Consumers)
	assert.NotEmpty(t, f.Figures)
}

// TestDisagreements: 25 % of the smaller, or half a second, whichever is more.
func TestDisagreements(t *testing.T) {
	at := func(day int, consumer string, safe float64, loads ...string) ResultsFile {
		c := FileConsumer{Consumer: consumer, ProxyMode: "iptables", SafeSeconds: &safe, SafeAtLeast: safe < 0}
		if safe == 0 {
			c.SafeSeconds = nil
		}
		c.Strategies = []FileConsumerStrategy{{}}
		for _, load := range loads {
			c.Strategies[0].Loads = append(c.Strategies[0].Loads, FileConsumerLoad{Load: load})
		}
		return ResultsFile{Measured: time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC), Consumers: []FileConsumer{c}}
	}
	tests := []struct {
		name  string
		files []ResultsFile
		twice int
		want  []string
	}{
		{"once", []ResultsFile{at(1, "a", 1)}, 0, nil},
		{"half a second", []ResultsFile{at(1, "a", 1), at(2, "a", 1.5)}, 1, nil},
		{"more", []ResultsFile{at(1, "a", 1), at(2, "a", 1.51)}, 1, []string{"a (kube-proxy iptables): safe delay 1.51s, and 1.00s before"}},
		{"a quarter", []ResultsFile{at(2, "a", 20), at(1, "a", 25)}, 1, nil},
		{"more than a quarter", []ResultsFile{at(2, "a", 20), at(1, "a", 25.1)}, 1, []string{"a (kube-proxy iptables): safe delay 20.00s, and 25.10s before"}},
		{"the last two", []ResultsFile{at(1, "a", 9), at(2, "a", 1), at(3, "a", 1)}, 1, nil},
		{"none and one", []ResultsFile{at(1, "a", 0), at(2, "a", 1)}, 0, nil},
		{"none at all", []ResultsFile{at(1, "a", 0), at(2, "a", 0)}, 0, nil},
		{"a lower bound", []ResultsFile{at(1, "a", 9), at(2, "a", -1)}, 0, nil},
		{"others", []ResultsFile{at(1, "a", 1), at(2, "b", 9)}, 0, nil},
		{"as a reference", []ResultsFile{at(1, "a", 1, "new", "reused"), at(2, "a", 9, "new")}, 0, nil},
		{"first as a reference", []ResultsFile{at(1, "a", 9, "new"), at(2, "a", 1, "new", "reused")}, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, twice := Disagreements(tt.files)
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.twice, twice)
		})
	}
}

// TestDocuments: RESULTS.md and README.md say what is kept in scenarios/results, and what is kept is
// as it was written.
func TestDocuments(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	paths, err := filepath.Glob(filepath.Join(root, "scenarios", "results", "*.json"))
	require.NoError(t, err)
	var files []ResultsFile
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		f, err := ReadResults(bytes.NewReader(raw))
		require.NoError(t, err, path)
		assert.Equal(t, f.Name(), filepath.Base(path))
		files = append(files, f)
	}
	for _, text := range GeneratedTexts(files) {
		path := filepath.Join(root, filepath.FromSlash(text.Document))
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		want, err := SetMarked(string(raw), text.Mark, text.Text)
		require.NoError(t, err, text.Document)
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
			continue
		}
		assert.Equal(t, want, string(raw), "%s: make results writes it", text.Document)
	}
	_, err = SetMarked("no marks", "consumers", "")
	assert.ErrorContains(t, err, `has no "<!-- consumers -->" with an end`)
}

// TestResultsTables: what the made-up suite looks like in the documents.
func TestResultsTables(t *testing.T) {
	f, earlier := results(t), results(t)
	earlier.Measured, earlier.Commit = f.Measured.Add(-24*time.Hour), "0123456"
	earlier.Consumers = append([]FileConsumer{}, earlier.Consumers...)
	earlier.Consumers[0].SafeSeconds, earlier.Consumers[2].SafeSeconds = new(1.5), new(3.5)
	golden(t, "results.md", ResultsTables([]ResultsFile{earlier, f})+"\n"+ShortResults([]ResultsFile{earlier, f}))
	later := f
	later.Measured, later.Command, later.Consumers = f.Measured.Add(24*time.Hour), "make ingress", f.Consumers[2:3]
	short := ShortResults([]ResultsFile{f, later})
	assert.Contains(t, short, "(`make consumers`, `make ingress`, 2026-10-01 to 2026-10-02; kube-proxy with iptables)")
	assert.Regexp(t, `(?m)^\| ingress \|.*\| 2026-10-02 \|$`, short)
	assert.LessOrEqual(t, len(shortResults), 12)
	assert.Empty(t, ShortResults(nil))
}
