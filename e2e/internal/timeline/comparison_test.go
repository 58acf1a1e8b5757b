package timeline

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCompare(t *testing.T) {
	const ms = time.Millisecond
	errAway := errors.New("the node is away")
	tests := []struct {
		name      string
		n         int
		exchanges []Exchange // after the last one it fails
		err       string
		want      Comparison
	}{
		{"ahead", 1, []Exchange{{10 * ms, 14 * ms, 1012 * ms}}, "", Comparison{Offset: time.Second, Uncertainty: 2 * ms}},
		{"behind", 1, []Exchange{{10 * ms, 14 * ms, -988 * ms}}, "", Comparison{Offset: -time.Second, Uncertainty: 2 * ms}},
		{"equal, and all of the time on the way there", 1, []Exchange{{10 * ms, 14 * ms, 14 * ms}}, "", Comparison{Offset: 2 * ms, Uncertainty: 2 * ms}},
		{"equal, and all of the time on the way back", 1, []Exchange{{10 * ms, 14 * ms, 10 * ms}}, "", Comparison{Offset: -2 * ms, Uncertainty: 2 * ms}},
		{
			"the shortest, and not the mean", 3,
			[]Exchange{{0, 40 * ms, 1040 * ms}, {50 * ms, 52 * ms, 1051 * ms}, {60 * ms, 90 * ms, 1060 * ms}},
			"",
			Comparison{Offset: time.Second, Uncertainty: ms},
		},
		{"the first of equals", 2, []Exchange{{0, 4 * ms, 1002 * ms}, {10 * ms, 14 * ms, 1013 * ms}}, "", Comparison{Offset: time.Second, Uncertainty: 2 * ms}},
		{"no more than asked for", 1, []Exchange{{0, 4 * ms, 2 * ms}, {5 * ms, 5 * ms, 0}}, "", Comparison{Uncertainty: 2 * ms}},
		{"the second fails", 3, []Exchange{{0, 4 * ms, 1002 * ms}}, "the node is away", Comparison{Offset: time.Second, Uncertainty: 2 * ms}},
		{"the first fails", 3, nil, "the node is away", Comparison{}},
		{"none", 0, []Exchange{{0, 4 * ms, 1002 * ms}}, "at least one", Comparison{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Compare(tt.n, func() (Exchange, error) {
				if len(tt.exchanges) == 0 {
					return Exchange{}, errAway
				}
				e := tt.exchanges[0]
				tt.exchanges = tt.exchanges[1:]
				return e, nil
			})
			if tt.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.err)
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestCorrection(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name string
		of   Comparison
		want time.Duration
	}{
		{"within what it can tell", Comparison{Offset: ms, Uncertainty: 2 * ms}, 0},
		{"behind, within what it can tell", Comparison{Offset: -ms, Uncertainty: 2 * ms}, 0},
		{"as much as it can tell", Comparison{Offset: 2 * ms, Uncertainty: 2 * ms}, 0},
		{"ahead", Comparison{Offset: time.Second, Uncertainty: 2 * ms}, time.Second},
		{"behind", Comparison{Offset: -time.Second, Uncertainty: 2 * ms}, -time.Second},
		{"one clock, however it was measured", Comparison{Offset: 3 * ms, Uncertainty: 2 * ms, SameClock: true}, 0},
		{"never compared", Comparison{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, tt.of.Correction())
		})
	}
}

// TestComparisonAsStored: in a timeline it has no name of its own, as stored timelines have it.
func TestComparisonAsStored(t *testing.T) {
	of := Comparison{Offset: -3, Uncertainty: 2, SameClock: true}
	for want, what := range map[string]any{
		`{"kind":"app","offset":-3,"uncertainty":2,"sameClock":true}`:                      Source{Kind: SourceApp, Comparison: of},
		`{"name":"w","lanes":null,"offset":-3,"uncertainty":2,"sameClock":true,"drift":0}`: Sender{Name: "w", Comparison: of},
	} {
		raw, err := json.Marshal(what)
		require.NoError(t, err)
		assert.Equal(t, want, string(raw))
	}
}
