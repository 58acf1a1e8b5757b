package timeline

import (
	"fmt"
	"time"
)

// Comparison is what is known of another wall clock, as that of a worker or of a node, against the
// run's. Its durations are lengths.
type Comparison struct {
	// Offset is how far the other clock was ahead of the run's; negative if it was behind.
	Offset time.Duration `json:"offset"`
	// Uncertainty is how far off Offset may be, to either side (see Compare).
	Uncertainty time.Duration `json:"uncertainty"`
	// SameClock says that the other clock is read on the kernel that the harness runs on: there is
	// one clock, and whatever Offset and Uncertainty say is only that of measuring.
	SameClock bool `json:"sameClock,omitempty"`
}

// Correction is what has to be taken from an instant of the other clock to have it on the run's:
// the offset, or 0 where that is no greater than its uncertainty, or there is only one clock.
func (c Comparison) Correction() time.Duration {
	if c.SameClock || c.Offset.Abs() <= c.Uncertainty {
		return 0
	}
	return c.Offset
}

// Exchange is one reading of another wall clock. Sent and Received are by the run's own.
type Exchange struct {
	Sent     time.Duration // when it was asked for
	Received time.Duration // when it was there
	Reading  time.Duration // what the other clock said in between (see Clock.Wall)
}

// Compare reads another wall clock n times and takes the exchange that took the shortest time. The
// reading was taken within it: the result is off by half of its time, at most (Cristian,
// Probabilistic clock synchronization, Distributed Computing 3, 1989):
//
//	sent 10 ms · received 14 ms · reading 1012 ms   →   offset 1000 ms, uncertainty 2 ms
//
// The first exchange that fails ends it. The result is then that of those before, or the zero
// value: no exchange takes no time, so an uncertainty of zero was not measured.
func Compare(n int, exchange func() (Exchange, error)) (Comparison, error) {
	if n < 1 {
		return Comparison{}, fmt.Errorf("compare clocks by %d exchanges: at least one is needed", n)
	}
	var best Comparison
	for i := range n {
		e, err := exchange()
		if err != nil {
			return best, err
		}
		if half := (e.Received - e.Sent) / 2; i == 0 || half < best.Uncertainty {
			best = Comparison{Offset: e.Reading - (e.Sent + half), Uncertainty: half}
		}
	}
	return best, nil
}
