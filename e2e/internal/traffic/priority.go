package traffic

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// senderNice is the nice value that the sender asks for. On a small machine the nodes' own work,
// when Pods start and stop, would else make requests late at the very instants that matter.
const senderNice = -10

// autogroup is where Linux keeps the nice value of a terminal session as a whole (sched(7), the
// autogroup feature). Where it is on, the nice value of a process counts only against others of its
// session, and the nodes are in none of ours.
const autogroup = "/proc/self/autogroup"

// Prioritize puts the threads of this process before others in the scheduler's queue, so that
// requests leave on time though the cluster runs on the same machine. It takes root or
// CAP_SYS_NICE; without, or on a system other than Linux, it returns an error and all goes on as it
// was. Call it early: threads and child processes inherit it. The function it returns gives the
// session back the value it had; the process keeps its own.
func Prioritize() (restore func(), err error) {
	restore = func() {}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return restore, fmt.Errorf("raise the sender's priority: %w", err)
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			continue
		}
		// A thread that is gone by now needs none.
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, senderNice); err != nil &&
			!errors.Is(err, syscall.ESRCH) {
			return restore, fmt.Errorf("raise the sender's priority: %w", err)
		}
	}
	// As in "/autogroup-25 nice 0". Without the feature there is no such file, or an empty one.
	before, err := os.ReadFile(autogroup)
	_, nice, found := strings.Cut(strings.TrimSpace(string(before)), " nice ")
	if err != nil || !found {
		return restore, nil //nolint:nilerr // then the values of the threads are all that counts
	}
	if err := os.WriteFile(autogroup, []byte(strconv.Itoa(senderNice)), 0); err != nil {
		return restore, fmt.Errorf("raise the session's priority: %w", err)
	}
	return func() { _ = os.WriteFile(autogroup, []byte(nice), 0) }, nil
}
