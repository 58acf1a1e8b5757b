package report

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// colourful is a run of three releases, of which the first was ended with two connections.
func colourful() verdict.Verdict {
	v := run("shutdown-at-once", "rainbow", 20*second, 90)
	v.PeakPods, v.ReleasesAtOnce = 6, 2
	v.Releases = []verdict.Release{
		{
			Name: "first", Away: new(5 * second), Drained: new(65 * second), Gone: new(66 * second), Left: 2, Pods: 3, PodSeconds: 198,
			Connections: 100, Announced: 1, Cut: 2,
		},
		{Name: "red", Ready: new(4 * second), Switched: new(5 * second), Away: new(25 * second), Pods: 3, PodSeconds: 240.25, Connections: 70},
		{Name: "orange", Ready: new(24 * second), Switched: new(25 * second), Pods: 3, PodSeconds: 180, Connections: 50},
	}
	return v
}

// TestReleases: when each came and went, run by run, and what is worth a line.
func TestReleases(t *testing.T) {
	assert.Empty(t, releasesOf(newModel(quick())).Blocks)
	r := suite(colourful(), repeat(2, doubt(colourful(), "no CPU")))
	s := releasesOf(newModel(r))
	require.Len(t, s.Blocks, 1)
	assert.Equal(t, [][]string{
		{"rainbow", "shutdown-at-once", "1", "first", "–", "–", "5.0s", "65.0s", "66.0s", "61.0s", "3", "198.0", "100", "1", "2", "2"},
		{"rainbow", "shutdown-at-once", "1", "red", "4.0s", "5.0s", "25.0s", "–", "–", "–", "3", "240.2", "70", "0", "0", "0"},
		{"rainbow", "shutdown-at-once", "1", "orange", "24.0s", "25.0s", "–", "–", "–", "–", "3", "180.0", "50", "0", "0", "0"},
	}, rowsOfTable(s.Blocks[0].Table))
	assert.Subset(t, findings(newModel(suite(colourful()))), []string{
		"shutdown-at-once/rainbow: 3 releases, at most 2 of them at the same time, with 6 Pods",
		"shutdown-at-once/rainbow: the time of release first to drain was over: it was ended with 2 of its connections, tasks and requests",
	})
	assert.Contains(t, written(t, Markdown, suite(colourful())), "Release by release")
}

// TestReleasesInJSON: what the file says keeps the schema, and is read as it was written.
func TestReleasesInJSON(t *testing.T) {
	assert.NotContains(t, written(t, JSON, small()), `"releases`)
	text := written(t, JSON, suite(colourful()))
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, compiledSchema(t).Validate(doc))
	f, err := Read(strings.NewReader(text))
	require.NoError(t, err)
	assert.Equal(t, 2, f.Runs[0].ReleasesAtOnce)
	require.Len(t, f.Runs[0].Releases, 3)
	assert.Equal(t, FileRelease{
		Release: "first", AwaySeconds: new(5.0), EndedSeconds: new(65.0), GoneSeconds: new(66.0), Left: 2, Pods: 3, PodSeconds: 198,
		Connections: 100, Announced: 1, Cut: 2,
	}, f.Runs[0].Releases[0])
	without := strings.Replace(text, `"podSeconds": 198,`, "", 1)
	doc, err = jsonschema.UnmarshalJSON(strings.NewReader(without))
	require.NoError(t, err)
	require.Error(t, compiledSchema(t).Validate(doc))
}
