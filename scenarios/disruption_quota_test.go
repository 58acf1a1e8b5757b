package scenarios

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/fixtures"
)

func TestQuotas(t *testing.T) {
	require.Len(t, quotas(), 1)
	d := quotas()[0]
	require.NoError(t, d.validate())
	require.NoError(t, d.Allowed(false), "a quota is of the namespace")
	app := &fakeApp{pods: []string{"a", "b"}}
	require.NoError(t, d.Run(t.Context(), app))
	assert.Equal(t, []string{"change"}, app.did)
	require.ErrorIs(t, d.Run(t.Context(), &fakeApp{fail: "change"}), errFake)

	objects, err := fixtures.Objects([]byte(d.Objects))
	require.NoError(t, err)
	require.Len(t, objects, 1)
	assert.Equal(t, "ResourceQuota", objects[0].GetKind())
	assert.Contains(t, d.Objects, "scopes: [NotTerminating]")
	job, err := fixtures.LoadJob()
	require.NoError(t, err)
	assert.NotNil(t, job.Spec.Template.Spec.ActiveDeadlineSeconds, "else its Pods count, too")
	c := catalogue(t)
	for _, name := range d.Strategies {
		replicas := c.strategies[name].Replicas()
		assert.Greater(t, quotaPods, replicas, "a rollout that may not make one Pod more never ends")
		assert.Less(t, quotaPods, 2*replicas, "the double is forbidden")
	}
}
