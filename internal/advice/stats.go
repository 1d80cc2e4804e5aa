package advice

import (
	"cmp"
	"math"
	"slices"
)

// wilson returns Wilson's interval for k of n, at 95 %. Without any n it is from 0 to 1.
func wilson(k, n int) (low, high float64) {
	if n <= 0 {
		return 0, 1
	}
	const z = 1.959964
	p, m := float64(k)/float64(n), float64(n)
	centre := p + z*z/(2*m)
	half := z * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	low, high = (centre-half)/(1+z*z/m), (centre+half)/(1+z*z/m)
	if k == 0 {
		low = 0 // not the rounding error
	}
	if k == n {
		high = 1
	}
	return max(low, 0), min(high, 1)
}

// atLeast returns the probability that k or more of n happen, if each does with probability p.
func atLeast(k, n int, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	case float64(k) <= float64(n)*p:
		return 1 - tail(k-1, -1, n, p) // the larger part: the other one is summed
	}
	return tail(k, +1, n, p)
}

// atMost returns the probability that k or fewer of n happen, if each does with probability p.
func atMost(k, n int, p float64) float64 {
	switch {
	case k >= n:
		return 1
	case k < 0 || p >= 1:
		return 0
	case p <= 0:
		return 1
	case float64(k) >= float64(n)*p:
		return 1 - tail(k+1, +1, n, p)
	}
	return tail(k, -1, n, p)
}

// tail sums the binomial probabilities from k outward, away from the mean, so that each is
// smaller than the one before. It stops where the rest no longer counts.
func tail(k, step, n int, p float64) float64 {
	if k < 0 || k > n {
		return 0
	}
	term := math.Exp(logChoose(n, k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	sum, odds := 0.0, p/(1-p)
	for ; k >= 0 && k <= n && term > sum*1e-17; k += step {
		sum += term
		if step > 0 {
			term *= float64(n-k) / float64(k+1) * odds
		} else {
			term *= float64(k) / float64(n-k+1) / odds
		}
	}
	return min(sum, 1)
}

func logChoose(n, k int) float64 {
	log := func(x int) float64 {
		v, _ := math.Lgamma(float64(x) + 1)
		return v
	}
	return log(n) - log(k) - log(n-k)
}

// upperRate returns an upper limit, at 97.5 %, of a rate by which k events were seen: of
// events in the time in which they were seen. (Byar's approximation of Poisson's limit.)
func upperRate(k int) float64 {
	m := float64(k) + 1
	x := 1 - 1/(9*m) + 1.959964/(3*math.Sqrt(m))
	return m * x * x * x
}

// discoveries returns which hypotheses are rejected, given the probability of what was seen
// under each, so that at most the share q of those is expected to be wrong (Benjamini and
// Hochberg 1995). That holds for hypotheses that are independent, or that depend on each other
// as a model and its versions do.
func discoveries(ps []float64, q float64) []bool {
	order := make([]int, len(ps))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(ps[a], ps[b]) })
	last := -1
	for rank, i := range order {
		if ps[i] <= q*float64(rank+1)/float64(len(ps)) {
			last = rank
		}
	}
	found := make([]bool, len(ps))
	for _, i := range order[:last+1] {
		found[i] = true
	}
	return found
}
