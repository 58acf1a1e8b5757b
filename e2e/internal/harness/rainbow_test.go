package harness

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// colourful is an app whose colours have a Pod each, of the same name.
type colourful struct {
	App
	now  string
	work map[string]int
}

func (a *colourful) Pods(context.Context) ([]string, error) { return []string{"app-" + a.now}, nil }

func (a *colourful) SwitchTo(_ context.Context, colour string) error {
	if colour == "black" {
		return errFake
	}
	a.now = colour
	return nil
}

func (a *colourful) Work(context.Context, string) (map[string]int, error) { return a.work, nil }
func (a *colourful) ScaleColour(context.Context, string, int) error       { return nil }

// TestReleasesNoted: what is done to releases is on record, and how much work one had that was ended. Pods
// that Services come back to haven't left.
func TestReleasesNoted(t *testing.T) {
	app := &colourful{now: "first", work: map[string]int{"a": 2, "b": 1}}
	began := time.Now()
	noted := &notedApp{App: app, now: func() time.Duration { return time.Since(began) }}
	ctx := t.Context()
	require.NoError(t, noted.SwitchTo(ctx, "red"))
	require.NoError(t, noted.SwitchTo(ctx, "first"))
	_, err := noted.Work(ctx, "red")
	require.NoError(t, err)
	require.NoError(t, noted.ScaleColour(ctx, "red", 2))
	require.NoError(t, noted.ScaleColour(ctx, "red", 0))
	require.NoError(t, noted.ScaleColour(ctx, "blue", 0))
	require.ErrorIs(t, noted.SwitchTo(ctx, "black"), errFake)
	var out []string
	for _, e := range noted.events {
		out = append(out, fmt.Sprint(e.Kind, " ", e.Release, e.Pod, " ", e.Left))
	}
	assert.Equal(t, []string{
		"release-switched red 0", "release-switched first 0", "leave-asked app-red 0",
		"release-drained red 3", "release-drained blue 0", "release-switched black 0", "leave-asked app-first 0",
	}, out)
	assert.Equal(t, timeline.FirstRelease, scenarios.FirstColour, "both have the same words")
}

// TestLimitOfRainbow: a run has as long as its drains may take.
func TestLimitOfRainbow(t *testing.T) {
	run := rollingUpdate(t)
	before := LimitFor(run, 3)
	run.Disruption.MayTake = 3 * time.Minute
	assert.Equal(t, before+3*time.Minute, LimitFor(run, 3))
}
