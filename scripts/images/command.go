package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// command is one call of another program.
type command struct {
	dir   string
	env   []string // added to the environment of this process
	stdin io.Reader
	// discard drops stdout: an error then has the last lines of stderr alone.
	discard bool
	// watch, if set, gets stdout while the program runs.
	watch io.Writer
}

// run waits for the program to end. If it fails, the error has its last lines of output.
func (c command) run(ctx context.Context, name string, args ...string) error {
	var both bytes.Buffer
	switch {
	case c.discard:
		return c.start(ctx, nil, &both, name, args)
	case c.watch != nil:
		return c.start(ctx, c.watch, &both, name, args)
	}
	return c.start(ctx, &both, &both, name, args)
}

// output is run, and returns what the program wrote to stdout, also if the program failed.
func (c command) output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	err := c.start(ctx, &stdout, &stderr, name, args)
	return stdout.String(), err
}

func (c command) start(ctx context.Context, stdout io.Writer, stderr *bytes.Buffer, name string, args []string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.dir, c.stdin, stdout, stderr
	cmd.Env = append(os.Environ(), c.env...)
	// A group of its own, so that the program's children stop with it. Pdeathsig, so that it ends
	// when this process is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() == nil:
		return commandError{name: name, args: args, tail: lastLines(stderr.String(), tailLines), cause: err}
	case cmd.Process != nil:
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // children that ignored SIGTERM; mostly there are none
	}
	return fmt.Errorf("%s: %w", name, context.Cause(ctx))
}

// tailLines is how much of a failing program's output goes into the error: enough for a compiler's
// or apt's message.
const tailLines = 15

// lastLines is the end of a program's output, without empty lines.
func lastLines(output string, most int) string {
	lines := strings.FieldsFunc(output, func(r rune) bool { return r == '\n' || r == '\r' })
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.TrimSpace(line) == "" })
	return strings.Join(lines[max(len(lines)-most, 0):], "\n")
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
	shown := append([]string{e.name}, e.args...)
	if len(e.args) > most {
		shown = append(shown[:most+1], "…")
	}
	text := fmt.Sprintf("%s: %v", strings.Join(shown, " "), e.cause)
	if e.tail != "" {
		text += "\n    " + strings.ReplaceAll(e.tail, "\n", "\n    ")
	}
	return text
}

func (e commandError) Unwrap() error { return e.cause }

// Is makes errors.Is(err, syscall.ENOSPC) true when another program hit the full disk, too: only
// its words say so.
func (e commandError) Is(target error) bool {
	return target == syscall.ENOSPC && strings.Contains(strings.ToLower(e.tail), syscall.ENOSPC.Error())
}

// diskFull reports whether err comes from a full disk, met by this or another program.
func diskFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
