package timeline

import (
	"os"
	"strings"
)

// Kernel identifies the kernel that this process runs on, from its boot to its end: two processes on the same one read the same wall clock, whatever containers
// they are in (Linux has no namespace for CLOCK_REALTIME, time_namespaces(7)). Empty where the system doesn't tell.
func Kernel() string {
	id, err := os.ReadFile(KernelFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// KernelFile is where Linux tells what Kernel returns (random(4)).
const KernelFile = "/proc/sys/kernel/random/boot_id"

// SameKernel says whether something that runs on the kernel of the given identity reads this process' wall clock. Who tells none isn't believed to.
func SameKernel(id string) bool { return id != "" && id == Kernel() }
