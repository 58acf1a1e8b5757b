package traffic

import (
	"os"
	"regexp"
	"strconv"
	"time"
)

// pressureFile is where Linux tells how long tasks had to wait for a CPU
// (Documentation/accounting/psi.rst). In a container it is that of the machine.
const pressureFile = "/proc/pressure/cpu"

// somePressure finds the microseconds, since boot, in which at least one task waited.
var somePressure = regexp.MustCompile(`(?m)^some .*\btotal=(\d+)$`)

// Pressure begins to measure how long tasks of this machine have to wait for a CPU. The function it
// returns gives the share of the time since then, from 0 to 1, in which at least one had to; nil if
// the kernel doesn't tell.
func Pressure() func() *float64 {
	began, before := time.Now(), waited(pressureFile)
	return func() *float64 {
		took, after := time.Since(began), waited(pressureFile)
		if before == nil || after == nil || took <= 0 {
			return nil
		}
		share := min(1, max(0, float64(*after-*before)/float64(took)))
		return &share
	}
}

// waited is nil if the file is not there or not as it should be.
func waited(file string) *time.Duration {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	match := somePressure.FindSubmatch(raw)
	if match == nil {
		return nil
	}
	micros, err := strconv.ParseInt(string(match[1]), 10, 64)
	if err != nil {
		return nil
	}
	d := time.Duration(micros) * time.Microsecond
	return &d
}
