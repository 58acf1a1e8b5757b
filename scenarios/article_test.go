package scenarios

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestArticle: each statement stands there once, in a sentence, without an answer; what it names is
// there; and its command shows it.
func TestArticle(t *testing.T) {
	c, known := catalogue(t), []string(nil)
	for _, d := range Disruptions() {
		known = append(known, d.Name)
	}
	for name := range c.strategies {
		known = append(known, name)
	}
	var seen []string
	for _, part := range Article() {
		assert.NotEmpty(t, part.Statements, part.Title)
		for _, s := range part.Statements {
			assert.NotContains(t, seen, s.Says)
			seen = append(seen, s.Says)
			assert.Regexp(t, `^[A-Zp].*[a-z0-9]\.$`, s.Says)
			assert.LessOrEqual(t, utf8.RuneCountInString(s.Says), 100, s.Says)
			assert.NotEmpty(t, s.DecidedBy, s.Says)
			assert.NotEmpty(t, s.Figure, s.Says)
			assert.NotEmpty(t, s.Along, s.Says)
			for _, word := range []string{"hold", "depends", "measured", "out of date"} {
				assert.NotContains(t, strings.ToLower(s.Says+s.DecidedBy), word, "figures decide")
			}
			assert.Subset(t, known, s.Strategies, s.Says)
			assert.Subset(t, known, s.Disruptions, s.Says)
			for _, name := range s.Consumers {
				assert.Contains(t, c.consumers, name, s.Says)
			}
			if s.Beside != "" {
				assert.Contains(t, c.consumers, s.Beside, s.Says)
			}
			assert.NotEmpty(t, s.Command(), s.Says)
			assert.NotEmpty(t, s.Disruptions, "%s: of any disruption", s.Says)
		}
	}
	assert.GreaterOrEqual(t, len(seen), 30)
	assert.LessOrEqual(t, len(seen), 50)
}

func TestCommands(t *testing.T) {
	_, err := ProfileNamed(consumersProfile)
	require.NoError(t, err)
	tests := []struct {
		name string
		s    Statement
		want string
	}{
		{"one run", Statement{Strategies: oneStrategy, Disruptions: oneRollout}, "make e2e GO_TEST_FLAGS='-strategies prestop-sleep -disruptions rolling-update'"},
		{"the disruptions of every profile", Statement{Strategies: []string{"a", "b"}, Disruptions: usual()}, "make e2e GO_TEST_FLAGS='-strategies a,b'"},
		{"every consumer", Statement{Profile: consumersProfile, Disruptions: usual()}, "make consumers"},
		{"some", Statement{Profile: consumersProfile, Consumers: []string{"a", "b"}}, "make consumers CONSUMERS=a,b"},
		{"a controller", Statement{Strategies: oneStrategy, Disruptions: []string{"argo-blue-green"}}, "make argo"},
		{"a component", Statement{Strategies: oneStrategy, Disruptions: []string{"ingress-rolled"}}, "make disruptions"},
		{"an autoscaler", Statement{Strategies: oneStrategy, Disruptions: []string{"rainbow-keda"}}, "make keda"},
		{"long work", Statement{Strategies: []string{"a"}, Disruptions: oneRollout, Profile: longWork}, "make long GO_TEST_FLAGS='-strategies a -disruptions rolling-update'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, tt.s.Command()) })
	}
}

func TestGuesses(t *testing.T) {
	all := Guesses()
	assert.True(t, slices.IsSortedFunc(all, func(a, b Guess) int { return int(a.Delay - b.Delay) }))
	for _, g := range all {
		assert.NotEmpty(t, g.Who, g.Delay)
	}
}
