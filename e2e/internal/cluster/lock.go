package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// errBusy is the guarantee that no run takes the cluster from under another.
var errBusy = errors.New("another run on this machine is using the kind cluster of this name: wait for it, or give " +
	"-cluster another name and -out another folder")

// errCleanup is the guarantee that no run makes a cluster that a reaper would take away.
var errCleanup = errors.New("what another run has left is still being taken away")

// Who may hold the lock: a run, or what takes its cluster away: the run itself at its end, or its
// reaper.
const (
	roleRun     = "run"
	roleCleanup = "cleanup"
)

// holder is whose the lock is, as its file says.
type holder struct {
	Role  string    `json:"role"`
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

// newHolder is this process, from now on.
func newHolder(role string) holder { return holder{role, os.Getpid(), time.Now()} }

func (h holder) String() string {
	return fmt.Sprintf("process %d, since %s", h.PID, h.Since.Format(time.TimeOnly))
}

// write leaves what is longer than h behind h: readers read the first value alone.
func (h holder) write(f *os.File) error {
	line, err := json.Marshal(h)
	if err == nil {
		_, err = f.WriteAt(append(line, '\n'), 0)
	}
	if err != nil {
		return fmt.Errorf("write down whose the lock is: %w", err)
	}
	return nil
}

// announceEnd writes down that this process cleans up, once ending is over. At best: who doesn't hear
// of it doesn't wait.
func announceEnd(ending context.Context, lock *os.File) {
	context.AfterFunc(ending, func() { _ = newHolder(roleCleanup).write(lock) })
}

// readHolder gives a run that nobody knows for a file that doesn't say.
func readHolder(f *os.File) holder {
	h := holder{}
	_ = json.NewDecoder(io.NewSectionReader(f, 0, 1<<10)).Decode(&h)
	return h
}

// lives says whether a run holds the lock, and not what cleans up after it.
func (h holder) lives() bool {
	return h.Role != roleCleanup && !errors.Is(syscall.Kill(h.PID, 0), syscall.ESRCH)
}

// How long to wait for the lock.
const (
	cleanupWithin = time.Minute
	// notice is how soon a run that is to end, or a reaper, has written down what it is about.
	notice = time.Second
)

// lockCluster takes the lock on the kind cluster. It ends with this process, however it ends, and
// with the reaper that has inherited it. Beside a run that lives it fails, and waits for a reaper.
func lockCluster(ctx context.Context, path string, step func(string)) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the kind cluster: %w", err)
	}
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	waits := false
	for began := time.Now(); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			if err = newHolder(roleRun).write(f); err == nil {
				return f, nil
			}
		} else if errors.Is(err, syscall.EWOULDBLOCK) {
			h := readHolder(f)
			switch waited := time.Since(began); {
			case h.lives() && waited < notice:
				err = nil
			case h.lives():
				err = fmt.Errorf("%w (%s)", errBusy, h)
			case waited < cleanupWithin:
				if err = nil; !waits {
					step(fmt.Sprintf("wait for what cleans up after another run (%s)", h))
				}
				waits = true
			default:
				err = fmt.Errorf("%w (%s)", errCleanup, h)
			}
		}
		if err == nil {
			select {
			case <-ticker.C:
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		return nil, errors.Join(err, f.Close())
	}
}
