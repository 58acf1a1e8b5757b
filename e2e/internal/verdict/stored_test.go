package verdict

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

var update = flag.Bool("update", false, "write the golden verdicts anew")

// TestStoredRuns judges runs that were recorded on a real cluster. A rule that is added or changed shows here what it does to them.
func TestStoredRuns(t *testing.T) {
	dirs, err := timeline.Find("testdata")
	require.NoError(t, err)
	require.Len(t, dirs, 5)
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) {
			tl, err := timeline.Load(dir)
			require.NoError(t, err)
			s := find(t, tl.Strategy, tl.Disruption, tl.Lanes[0].Rate)
			got, err := json.MarshalIndent(Judge(tl, s), "", " ")
			require.NoError(t, err)
			golden := filepath.Join(dir, "verdict.json")
			if *update {
				require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got)+"\n")
		})
	}
}
