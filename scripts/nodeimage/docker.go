package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// dockerCLI is Docker, through the client that kind uses, too.
type dockerCLI struct{ progress io.Writer } // of pulls

func (dockerCLI) present(ctx context.Context, ref string) (bool, error) {
	err := command{}.run(ctx, "docker", "image", "inspect", "--format={{.Id}}", ref)
	var failed commandError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &failed) && strings.Contains(strings.ToLower(failed.tail), "no such image"):
		return false, nil
	}
	return false, fmt.Errorf("ask Docker for the image %s (scripts/docker.sh sees to it that a Docker works): %w", ref, err)
}

// errNoRegistry is a pull that got no answer in time.
var errNoRegistry = errors.New("no registry answers")

// pull gets the image. If the registry's first answer takes longer than patience, there is probably none to reach; once it has answered,
// the pull may take as long as it takes.
func (d dockerCLI) pull(ctx context.Context, ref string, patience time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(patience, func() { cancel(fmt.Errorf("%w within %s", errNoRegistry, patience)) })
	defer timer.Stop()
	// Docker's first line says what it pulls, and comes when the registry has told it the image's parts.
	first := &firstWrite{call: func() { timer.Stop() }}
	return command{watch: io.MultiWriter(first, d.progress)}.run(ctx, "docker", "pull", ref)
}

// firstWrite calls call at the first write.
type firstWrite struct {
	once sync.Once
	call func()
}

func (f *firstWrite) Write(p []byte) (int, error) {
	f.once.Do(f.call)
	return len(p), nil
}

// load makes an image of Docker's from one of ours, of which nothing but the layer is on the disk.
func (dockerCLI) load(ctx context.Context, i image) error {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(writeArchive(writer, []image{i})) }()
	defer reader.Close()
	return command{stdin: reader}.run(ctx, "docker", "load")
}

// removeOthers removes the images with the label, but for the one named and those that containers use.
func (dockerCLI) removeOthers(ctx context.Context, ref, label string) error {
	out, err := command{}.output(ctx, "docker", "image", "ls", "--filter=label="+label, "--format={{.Repository}}:{{.Tag}}")
	if err != nil {
		return err
	}
	for other := range strings.FieldsSeq(out) {
		if other == ref {
			continue
		}
		err := command{}.run(ctx, "docker", "image", "rm", other)
		var failed commandError
		if errors.As(err, &failed) && strings.Contains(failed.tail, "is using its referenced image") {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// folder is where Docker keeps its images, or "" if that isn't on this machine.
func (dockerCLI) folder(ctx context.Context) string {
	out, err := command{}.output(ctx, "docker", "info", "--format={{.DockerRootDir}}")
	if err != nil {
		return ""
	}
	dir := strings.TrimSpace(out)
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}
