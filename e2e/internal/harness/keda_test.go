package harness

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

func (a *fakeApp) ChangeScaling(context.Context, string) error     { return nil }
func (a *fakeApp) WaitScaling(context.Context, string, bool) error { return nil }
func (a *fakeApp) WaitNone(context.Context) error                  { return nil }
func (a *fakeApp) ScaleBack(context.Context) error                 { return nil }

func (a *fakeApp) AddScaling(context.Context, string, string) error   { return nil }
func (a *fakeApp) ScaledToZero(context.Context, string) (bool, error) { return false, nil }

// scaledAway is an app of which somebody has scaled a colour to zero.
type scaledAway struct {
	App
	colour string
	err    error
}

func (a scaledAway) Work(context.Context, string) (map[string]int, error) {
	return map[string]int{"a": 1, "b": 2}, nil
}

func (a scaledAway) ScaledToZero(_ context.Context, colour string) (bool, error) {
	return colour == a.colour, a.err
}

// TestNotedScaling: when a colour is seen to be at zero is on record, with the work that it had when it was asked last.
func TestNotedScaling(t *testing.T) {
	noted := &notedApp{App: scaledAway{colour: "red"}, now: func() time.Duration { return 0 }}
	_, err := noted.Work(t.Context(), "red")
	require.NoError(t, err)
	zero, err := noted.ScaledToZero(t.Context(), "orange")
	require.NoError(t, err)
	assert.False(t, zero)
	assert.Empty(t, noted.events)
	zero, err = noted.ScaledToZero(t.Context(), "red")
	require.NoError(t, err)
	assert.True(t, zero)
	require.Len(t, noted.events, 1)
	assert.Equal(t, timeline.Event{Kind: timeline.ReleaseDrained, Release: "red", Left: 3}, noted.events[0])

	noted.App = scaledAway{err: errFake}
	_, err = noted.ScaledToZero(t.Context(), "red")
	require.ErrorIs(t, err, errFake)
}
