package report

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRestarted: which programs of the cluster a run has restarted is in its summary and in its JSON, and nothing is there of
// a run that has restarted none.
func TestRestarted(t *testing.T) {
	r := small()
	assert.NotContains(t, written(t, JSON, r), `"restarted"`)
	v := &r.Suite.Runs[len(r.Suite.Runs)-1]
	v.Restarted = []string{"kubelet of node a was restarted 0s after the start", "kubelet of node b was restarted 9s after the start"}
	assert.Contains(t, strings.Join(strings.Fields(summarized(t, r)), " "), v.Name()+": "+strings.Join(v.Restarted, "; "))
	text := written(t, JSON, r)
	assert.Contains(t, text, `"restarted": [`)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, compiledSchema(t).Validate(doc))
}
