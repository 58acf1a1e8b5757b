package verdict

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestClopperPearson: textbook values (for n = 10 those of 90 % two-sided tables), and the closed
// form after no loss at all.
func TestClopperPearson(t *testing.T) {
	tests := []struct {
		name string
		x, n int
		want float64
	}{
		{"no rollout", 0, 0, 1},
		{"less than none", 0, -1, 1},
		{"the only one lost nothing", 0, 1, 0.95},
		{"0 of 3", 0, 3, 0.6316},
		{"0 of 10", 0, 10, 0.2589},
		{"1 of 10", 1, 10, 0.3942},
		{"5 of 10", 5, 10, 0.7776},
		{"9 of 10", 9, 10, 0.9949},
		{"all of 10", 10, 10, 1},
		{"more than all", 11, 10, 1},
		{"0 of 299", 0, 299, 0.00997},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.InDelta(t, tt.want, ClopperPearson(tt.x, tt.n), 5e-5) })
	}
	for n := 1; n <= 300; n++ {
		require.InDelta(t, 1-math.Pow(0.05, 1/float64(n)), ClopperPearson(0, n), 1e-9, "0 of %d", n)
	}
	// What defines it: if that were the share, x or fewer of n would be seen once in twenty times.
	p, below := ClopperPearson(3, 12), 0.0
	for k := range 4 {
		below += math.Exp(lnChoose(12, k)) * math.Pow(p, float64(k)) * math.Pow(1-p, float64(12-k))
	}
	assert.InDelta(t, 0.05, below, 1e-9)
}

// The closest pairs that the test separates at 5 %, and textbook values.
func TestFisher(t *testing.T) {
	assert.InDelta(t, 0.0325, Fisher(0, 10, 5, 10), 1e-4)
	assert.InDelta(t, 0.0867, Fisher(0, 10, 4, 10), 1e-4)
	assert.InDelta(t, 0.0286, Fisher(4, 4, 0, 4), 1e-4)
	assert.InDelta(t, 0.1, Fisher(0, 3, 3, 3), 1e-4)
	assert.InDelta(t, 0.4857, Fisher(1, 4, 3, 4), 1e-4) // the lady tasting tea, two-sided
	assert.InDelta(t, 1, Fisher(3, 3, 3, 3), 1e-9)
	assert.InDelta(t, 1, Fisher(0, 0, 3, 3), 1e-9)
	assert.InDelta(t, 1, Fisher(2, 3, 0, 0), 1e-9)
	assert.InDelta(t, 1, Fisher(0, 0, 0, 0), 1e-9)
	assert.InDelta(t, Fisher(2, 7, 9, 12), Fisher(9, 12, 2, 7), 1e-12)
	assert.InDelta(t, 1, Fisher(300, 600, 300, 600), 1e-9)
}

// TestRankSum: small ones are counted by hand, as the orders in which ranks can fall.
func TestRankSum(t *testing.T) {
	tests := []struct {
		name string
		a, b []float64
		want float64
	}{
		{"nothing", nil, nil, 1},
		{"nothing on one side", nil, []float64{1}, 1},
		{"nothing on the other", []float64{1, 2}, nil, 1},
		{"nothing on the other of many", make([]float64, exactRanks+1), nil, 1},
		{"apart, 3 and 3: 2 of 20", []float64{1, 2, 3}, []float64{4, 5, 6}, 2.0 / 20},
		{"the other way round", []float64{4, 5, 6}, []float64{1, 2, 3}, 2.0 / 20},
		{"one step closer: rank sum 7, 4 of 20", []float64{1, 2, 4}, []float64{3, 5, 6}, 4.0 / 20},
		{"apart, 4 and 4: 2 of 70", []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{"apart, 2 and 3: 2 of 10", []float64{1, 2}, []float64{3, 4, 5}, 2.0 / 10},
		{"alike", []float64{1, 4}, []float64{2, 3}, 1},
		{"all the same", []float64{0, 0, 0}, []float64{0, 0, 0}, 1},
		{"tied, 0 0 0 and 0 1 1: both ones on one side, 8 of 20", []float64{0, 0, 0}, []float64{0, 1, 1}, 8.0 / 20},
		{"tied, 0 0 0 0 and 1 1 1 1: as Fisher's", []float64{0, 0, 0, 0}, []float64{1, 1, 1, 1}, 2.0 / 70},
		{"tied, of different sizes", []float64{0}, []float64{0, 0, 2}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.InDelta(t, tt.want, RankSum(tt.a, tt.b), 1e-9) })
	}
}

// TestRankSumOfMany: the approximation goes on where the count ends.
func TestRankSumOfMany(t *testing.T) {
	// Mann & Whitney's own approximation by hand: n = m = 25, the rank sum 80 from the 637.5 to be
	// expected, variance 25·25·51/12.
	a, b := make([]float64, 25), make([]float64, 25)
	for i := range a {
		a[i], b[i] = float64(2*i), float64(2*i+1)
	}
	z := (12.5 - 0.5) / math.Sqrt(25*25*51/12.0) // each b is one rank above its a
	assert.InDelta(t, math.Erfc(z/math.Sqrt2), RankSum(a, b), 1e-9)
	assert.InDelta(t, 1, RankSum(make([]float64, 30), make([]float64, 30)), 1e-9, "all the same")

	// With ties: 40 zeros share rank 20.5 and 10 ones rank 45.5, so 25 zeros have the rank sum
	// 512.5, 125 from the 637.5 to be expected.
	a, b = make([]float64, 25), make([]float64, 25)
	for i := range 10 {
		b[i] = 1
	}
	z = (125 - 0.5) / math.Sqrt(25*25/12.0*(51-(63960+990)/(50*49.0)))
	assert.InDelta(t, math.Erfc(z/math.Sqrt2), RankSum(a, b), 1e-9)

	random := rand.New(rand.NewPCG(7, 7))
	for range 20 {
		a, b := make([]float64, 20), make([]float64, 20)
		for i := range a {
			a[i], b[i] = float64(random.IntN(12)), float64(random.IntN(12))+random.Float64()
		}
		exact := RankSum(a, b)
		ranks, sum, ties := doubledRanks(a, b)
		away := math.Abs(float64(sum - 20*41))
		z := (away - 1) / 2 / math.Sqrt(20*20/12.0*(41-ties/(40*39)))
		require.InDelta(t, math.Erfc(max(z, 0)/math.Sqrt2), exact, 0.01, "%d ranks", len(ranks))
	}
}

func TestHolm(t *testing.T) {
	tests := []struct {
		name string
		p    []float64
		want []float64
	}{
		{"none", nil, []float64{}},
		{"one", []float64{0.04}, []float64{0.04}},
		{"Holm's steps", []float64{0.01, 0.04, 0.03, 0.005}, []float64{0.03, 0.06, 0.06, 0.02}},
		{"none becomes smaller than one before it", []float64{0.011, 0.012, 0.9}, []float64{0.033, 0.033, 0.9}},
		{"at most one", []float64{0.6, 0.7}, []float64{1, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.InDeltaSlice(t, tt.want, Holm(tt.p), 1e-12) })
	}
}

func TestFewestRuns(t *testing.T) {
	tests := []struct {
		comparisons int
		want        int
	}{{0, 4}, {1, 4}, {2, 5}, {5, 5}, {6, 5}, {7, 6}, {17, 6}}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.comparisons), func(t *testing.T) {
			assert.Equal(t, tt.want, FewestRuns(tt.comparisons))
			apart := make([]float64, tt.want)
			beyond := make([]float64, tt.want)
			for i := range apart {
				apart[i], beyond[i] = float64(i), float64(100+i)
			}
			n := float64(max(tt.comparisons, 1))
			assert.Less(t, n*RankSum(apart, beyond), Significant)
			assert.GreaterOrEqual(t, n*RankSum(apart[1:], beyond[1:]), Significant)
		})
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 0, 100)
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1)*ms)
	}
	tests := []struct {
		name string
		of   []time.Duration
		p    float64
		want time.Duration
	}{
		{"of none", nil, 0.99, 0},
		{"of one", hundred[:1], 0.5, ms},
		{"the lower one of two", hundred[:2], 0.5, ms},
		{"the least", hundred, 0, ms},
		{"the median", hundred, 0.5, 50 * ms},
		{"all but one", hundred, 0.99, 99 * ms},
		{"all", hundred, 1, 100 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, Percentile(tt.of, tt.p)) })
	}
}
