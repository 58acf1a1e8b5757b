package timeline

import (
	"os"
	"strings"
)

// Kernel identifies the kernel that this process runs on, from its boot to its end; empty where the
// system doesn't tell. Processes on one kernel read the same wall clock, whatever containers they
// are in (Linux has no namespace for CLOCK_REALTIME, time_namespaces(7)).
func Kernel() string {
	id, err := os.ReadFile(KernelFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// KernelFile is where Linux tells what Kernel returns (random(4)).
const KernelFile = "/proc/sys/kernel/random/boot_id"

// SameKernel says whether the kernel of the given identity is this process' own, and so its wall
// clock. It isn't if the identity is empty.
func SameKernel(id string) bool { return id != "" && id == Kernel() }
