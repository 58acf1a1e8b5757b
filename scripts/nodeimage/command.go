package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// command is one call of another program.
type command struct {
	dir   string
	env   []string // on top of our own
	stdin io.Reader
	// discard drops stdout: what is in the error is stderr alone.
	discard bool
	// watch, if set, gets stdout while the program runs.
	watch io.Writer
}

// tailLines is how much of a failing program's output goes into the error: enough for a compiler's or apt's message.
const tailLines = 15

// run waits for the program to end. Its output is in the error if it fails, else dropped.
func (c command) run(ctx context.Context, name string, args ...string) error {
	_, err := c.start(ctx, false, name, args...)
	return err
}

// output is run, and returns what the program wrote to stdout, also if it failed.
func (c command) output(ctx context.Context, name string, args ...string) (string, error) {
	return c.start(ctx, true, name, args...)
}

func (c command) start(ctx context.Context, wantOutput bool, name string, args ...string) (string, error) {
	var last tail
	var stdout bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdin = c.dir, c.stdin
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = &last, &last
	switch {
	case wantOutput:
		cmd.Stdout = &stdout
	case c.discard:
		cmd.Stdout = nil
	case c.watch != nil:
		cmd.Stdout = io.MultiWriter(&last, c.watch)
	}
	// A group of its own, so that what the program started stops with it. Pdeathsig, so that it doesn't go on when we were killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			if cmd.Process != nil {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // who ignored the first; mostly nobody is left
			}
			return "", fmt.Errorf("%s: %w", name, context.Cause(ctx))
		}
		return stdout.String(), commandError{name: name, args: args, tail: last.String(), cause: err}
	}
	return stdout.String(), nil
}

// commandError is a program that failed. Its text ends with the program's last lines.
type commandError struct {
	name  string
	args  []string
	tail  string
	cause error
}

func (e commandError) Error() string {
	const most = 3 // arguments shown: the verb, not a list of packages
	shown := e.args
	if len(shown) > most {
		shown = append(append([]string{}, shown[:most]...), "…")
	}
	text := fmt.Sprintf("%s: %v", strings.Join(append([]string{e.name}, shown...), " "), e.cause)
	if e.tail != "" {
		text += "\n    " + strings.ReplaceAll(e.tail, "\n", "\n    ")
	}
	return text
}

func (e commandError) Unwrap() error { return e.cause }

// Is lets errors.Is(err, syscall.ENOSPC) hold also when it was another program that hit the full disk: only its words say so.
func (e commandError) Is(target error) bool {
	return target == syscall.ENOSPC && strings.Contains(strings.ToLower(e.tail), syscall.ENOSPC.Error())
}

// diskFull reports whether err comes from a full disk, our own writing or another program's.
func diskFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// tail keeps the last lines written to it.
type tail struct {
	mu    sync.Mutex // stdout and stderr may be copied by two goroutines
	lines []string
	rest  string
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rest += strings.ReplaceAll(string(p), "\r", "\n")
	for {
		line, rest, found := strings.Cut(t.rest, "\n")
		if !found {
			return len(p), nil
		}
		t.rest = rest
		t.add(line)
	}
}

func (t *tail) add(line string) {
	if strings.TrimSpace(line) == "" {
		return
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > tailLines {
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := t.lines
	if strings.TrimSpace(t.rest) != "" {
		lines = append(append([]string{}, lines...), t.rest)
	}
	return strings.Join(lines, "\n")
}
