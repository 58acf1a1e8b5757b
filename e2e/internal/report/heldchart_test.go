package report

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// overTime is someHeld with connections that move from one Pod, which is deleted after a third of the time, to two others.
func overTime() verdict.Held {
	held := someHeld
	open := func(at func(n int) int) []int {
		out := make([]int, verdict.HeldInstants)
		for n := range out {
			out[n] = at(n)
		}
		return out
	}
	held.Counts = verdict.HeldCounts{Until: 30 * second, Pods: []verdict.HeldPod{
		{Pod: "app-1", Deleted: new(10 * second), Open: open(func(n int) int { return max(0, min(10, 40-n)) })},
		{Pod: "app-2", Open: open(func(n int) int { return min(10, max(0, n-30)) })},
		{Pod: "app-3", Open: open(func(int) int { return 10 })},
	}}
	return held
}

// TestHeldPictures: each Pod has a band, of the colour of those that leave from its deletion on; together they are as high as there are connections.
func TestHeldPictures(t *testing.T) {
	s := suite(withHeld("in-app-delay", overTime()), withHeld("prestop-sleep", noneLost))
	text := written(t, JSON, s)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, compiledSchema(t).Validate(doc))
	file, err := Read(strings.NewReader(text))
	require.NoError(t, err)
	picture, err := HeldPictures(file.Runs)
	require.NoError(t, err)
	golden(t, "held.html", string(picture)+"\n")
	assert.Contains(t, written(t, Index, s), string(picture))
	assert.NotContains(t, written(t, Index, suite(withHeld("prestop-sleep", noneLost))), "Held connections over time")

	file.Runs[0].Lanes[0].Held.Over.Pods[1].Open = []int{1}
	assert.ErrorContains(t, file.check(), "connections with Pod app-2 at 1 instants: want 60")
}

func TestHeldOutline(t *testing.T) {
	below, above := []int{0, 1, 1, 0}, []int{4, 4, 2, 0}
	assert.Equal(t, "M0 72V0H2V36H3V54H1V72H0z", heldOutline(below, above, 0, 3, 4))
}
