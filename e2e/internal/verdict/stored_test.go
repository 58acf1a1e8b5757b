package verdict

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

var update = flag.Bool("update", false, "write the golden verdicts anew")

// TestStoredRuns judges runs that were recorded on a real cluster, to the last byte: the verdict, and a line for each lost request. A rule that is added or
// changed shows here what it does to them. Together they have every moment of a Pod's life, and outages of one request and of many.
func TestStoredRuns(t *testing.T) {
	dirs, err := timeline.Find("testdata")
	require.NoError(t, err)
	require.Len(t, dirs, 10)
	moments, lengths := map[Moment]bool{}, map[bool]bool{}
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) {
			tl, err := timeline.Load(dir)
			require.NoError(t, err)
			s := find(t, tl.Strategy, tl.Disruption, tl.Lanes[0].Rate)
			if tl.Lanes[0].From != "" {
				var names []string
				for _, l := range tl.Lanes {
					names = append(names, l.Name)
				}
				s, err = s.Only(names)
				require.NoError(t, err)
			}
			v := Judge(tl, s)
			got, err := json.MarshalIndent(v, "", " ")
			require.NoError(t, err)
			equal(t, filepath.Join(dir, "verdict.json"), append(got, '\n'))
			var losses []byte
			for _, loss := range v.Losses {
				line, err := json.Marshal(loss)
				require.NoError(t, err)
				losses = append(append(losses, line...), '\n')
				moments[loss.Moment] = true
			}
			equal(t, filepath.Join(dir, "losses.jsonl"), losses)
			for _, l := range v.Lanes {
				for _, o := range l.Outages {
					lengths[o.Lost > 1] = true
				}
			}
		})
	}
	for _, m := range Moments() {
		assert.True(t, moments[m], "no stored run has a loss of moment %s", m)
	}
	assert.Len(t, lengths, 2)
}

// equal compares with a golden file, or writes it.
func equal(t *testing.T, golden string, got []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.True(t, slices.Equal(want, got), "%s differs:\n%s", golden, got)
}
