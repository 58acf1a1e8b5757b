package verdict

import (
	"cmp"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat/combin"
	"gonum.org/v1/gonum/stat/distuv"
)

// MinDetectableOutage is the shortest outage that a stream of the given requests per second sees
// with 95 % probability in one run: 3/rate, the rule of three (Hanley & Lippman-Hand, JAMA 1983),
// as −ln 0.05 ≈ 3 requests are expected within it.
func MinDetectableOutage(rate int) time.Duration {
	if rate <= 0 {
		return 0
	}
	return 3 * time.Second / time.Duration(rate)
}

// ClopperPearson is the upper end of the one-sided 95 % confidence interval of the share of
// rollouts that drop something, when x of n did: the exact bound (Clopper & Pearson, Biometrika
// 1934), the 0.95 quantile of Beta(x+1, n−x). After none at all that is 1 − 0.05^(1/n). It is 1
// where nothing is known: for no rollout, and where all have dropped something.
func ClopperPearson(x, n int) float64 {
	if n <= 0 || x >= n {
		return 1
	}
	return distuv.Beta{Alpha: float64(x) + 1, Beta: float64(n - x)}.Quantile(1 - Significant)
}

// Significant is the level below which a difference counts as more than noise.
const Significant = 0.05

// Fisher is the two-sided p of Fisher's exact test: how likely it is that a of n and b of m
// rollouts, or something at least as uneven, come from one share. It is 1 where there is nothing to
// compare.
func Fisher(a, n, b, m int) float64 {
	// The chance of exactly k lossy rollouts among the n, given a+b among all.
	chance := func(k int) float64 { return math.Exp(lnChoose(n, k) + lnChoose(m, a+b-k) - lnChoose(n+m, a+b)) }
	seen, p := chance(a), 0.0
	for k := max(0, a+b-m); k <= min(n, a+b); k++ {
		if c := chance(k); c <= seen*(1+tie) {
			p += c
		}
	}
	return min(p, 1)
}

// tie is the relative difference below which two chances count as one.
const tie = 1e-9

// RankSum is the two-sided p of the rank test of Mann and Whitney (Annals of Mathematical
// Statistics 1947), also Wilcoxon's: how likely it is that two samples of one distribution are at
// least as far apart in rank as these. Equal values share their mean rank. It is exact, given the
// ties, for up to exactRanks values together, and beyond that the normal approximation with
// corrections for ties and for continuity (Lehmann, Nonparametrics, 1975, §1.2–1.4). It is 1 where
// there is nothing to compare.
func RankSum(a, b []float64) float64 {
	ranks, sum, ties := doubledRanks(a, b)
	n := len(ranks)
	away := math.Abs(float64(sum - len(a)*(n+1))) // twice the distance of the rank sum from the one to be expected
	if n <= exactRanks {
		return exactRankSum(ranks, len(a), away)
	}
	// Twice the rank sum has four times the variance of the rank sum,
	// n·m·(N+1−Σ(t³−t)/(N(N−1)))/12.
	size := float64(n)
	variance := float64(len(a)*len(b)) / 3 * (size + 1 - ties/(size*(size-1)))
	if variance <= 0 {
		return 1
	}
	return min(2*distuv.UnitNormal.Survival(max(0, away-1)/math.Sqrt(variance)), 1)
}

// exactRanks is the most values that RankSum counts the orders of: 40 are done in a millisecond,
// and from 20 on each side the approximation is good to the second digit of p.
const exactRanks = 40

// doubledRanks are the ranks of all values of two samples, twice as large so that those of ties are
// whole numbers; their sum over the first sample; and Σ(t³−t) over the groups of t equal values.
//
//	a: 1 3   b: 1 2   →   3 3 6 8, sum 3+8, ties 2³−2
func doubledRanks(a, b []float64) (ranks []int, sum int, ties float64) {
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	rank := map[float64]int{}
	for from := 0; from < len(all); {
		to := from
		for to < len(all) && all[to] == all[from] {
			ranks = append(ranks, 0)
			to++
		}
		rank[all[from]] = from + 1 + to // the first rank and the last, counted from 1
		for i := from; i < to; i++ {
			ranks[i] = rank[all[from]]
		}
		t := float64(to - from)
		ties += t*t*t - t
		from = to
	}
	for _, v := range a {
		sum += rank[v]
	}
	return ranks, sum, ties
}

// exactRankSum is the share of the ways to pick n of the doubled ranks whose sum is at least as far
// from the one to be expected. It counts the ways by the shift algorithm (Streitberg & Röhmel,
// Statistical Software Newsletter 1986): ways[k][s] to pick k ranks of sum s, with one rank after
// the other allowed.
func exactRankSum(ranks []int, n int, away float64) float64 {
	total := 0
	for _, r := range ranks {
		total += r
	}
	ways := make([][]float64, n+1)
	for k := range ways {
		ways[k] = make([]float64, total+1)
	}
	ways[0][0] = 1
	for _, r := range ranks {
		for k := n; k > 0; k-- {
			for s := range total - r + 1 {
				ways[k][s+r] += ways[k-1][s]
			}
		}
	}
	middle := float64(n * (len(ranks) + 1))
	all, far := 0.0, 0.0
	for s, w := range ways[n] {
		all += w
		if math.Abs(float64(s)-middle) >= away-0.5 { // whole numbers
			far += w
		}
	}
	return far / all
}

// Holm corrects the p values of several comparisons, so that the chance of even one false
// difference among all of them stays within the level that the corrected values are compared with
// (Holm, Scandinavian Journal of Statistics 1979). The smallest counts as often as there are
// comparisons, the next one time less, and none becomes smaller than one before it. The order is
// that of p.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(p[i], p[j]) })
	out := make([]float64, len(p))
	floor := 0.0
	for step, i := range order {
		floor = max(floor, min(1, p[i]*float64(len(p)-step)))
		out[i] = floor
	}
	return out
}

// FewestRuns is the least number of runs on each side that could show a difference at all, if there
// are that many comparisons to correct for: the runs of one side all have to lie beyond those of
// the other, and two of the (2n choose n) orders do.
func FewestRuns(comparisons int) int {
	n := 1
	for float64(max(comparisons, 1))*2*math.Exp(-lnChoose(2*n, n)) >= Significant {
		n++
	}
	return n
}

// lnChoose is the logarithm of the number of ways to take k of n, which itself is too large for a
// float64 where both are in the hundreds.
func lnChoose(n, k int) float64 { return combin.LogGeneralizedBinomial(float64(n), float64(k)) }

// Percentile is the nearest-rank percentile of sorted durations: the smallest value that at least
// the share p of them, from 0 to 1, don't exceed; 0 for none.
func Percentile[T any](sorted []T, p float64) (none T) {
	if len(sorted) == 0 {
		return none
	}
	rank := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[max(rank, 0)]
}
