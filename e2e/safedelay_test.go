package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// TestSafeDelay measures how long requests go on arriving at a Pod that is to go, recommends the
// delay that this asks for, and proves it by running it.
func TestSafeDelay(t *testing.T) {
	long(t, suite.LongSafeDelay)
	result, err := shared.SafeDelay(testContext(t), t)
	require.NoError(t, err)
	assert.Equal(t, verdict.Pass, result.Outcome, result.Why)
}

// TestSafeDelaySync: where kube-proxy may let a change of endpoints wait for ten seconds, the
// recommendation rises accordingly, or it follows something else.
func TestSafeDelaySync(t *testing.T) {
	long(t, suite.LongSafeDelaySync)
	recommended := map[time.Duration]time.Duration{}
	for _, period := range syncPeriods() {
		result, err := withSyncPeriod(t, period).ProxyDelay(testContext(t), t)
		require.NoError(t, err)
		require.NotNil(t, result.Estimate.Delay, "minSyncPeriod %s: %s", period, result.Why)
		recommended[period] = *result.Estimate.Delay
		t.Logf("minSyncPeriod %s: a delay of %s is recommended", period, recommended[period])
	}
	assert.NoError(t, rises(recommended[syncPeriods()[0]], recommended[syncPeriods()[1]]))
}

// rises says what is wrong with the recommendations under a short and under a long sync period of
// kube-proxy. The long one is ten times the short one; what the delay is made of beside it, and the
// luck of where in a period a Pod is deleted, must not pass for a rise.
func rises(short, long time.Duration) error {
	const least, factor = 2 * time.Second, 2
	if long-short < least || long <= factor*short {
		return fmt.Errorf("the recommended delay went from %s to %s with kube-proxy's sync period: "+
			"want %s more and over %d times as much", short, long, least, factor)
	}
	return nil
}

func TestRises(t *testing.T) {
	const ms, sec = time.Millisecond, time.Second
	tests := []struct {
		name        string
		short, long time.Duration
		want        bool
	}{
		{"tenfold", 1500 * ms, 12 * sec, true},
		{"just over twofold, and two seconds", 1500 * ms, 3600 * ms, true},
		{"twofold", 2 * sec, 4 * sec, false},
		{"twofold, and less than two seconds", 500 * ms, 2 * sec, false},
		{"the same", 1500 * ms, 1500 * ms, false},
		{"the other way round", 12 * sec, 1500 * ms, false},
		{"none", 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, rises(tt.short, tt.long) == nil) })
	}
}
