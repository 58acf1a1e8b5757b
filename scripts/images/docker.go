package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// dockerCLI is Docker, through the client that kind uses, too.
type dockerCLI struct{ progress io.Writer } // of pulls

func (dockerCLI) has(ctx context.Context, ref string) (bool, error) {
	err := command{}.run(ctx, "docker", "image", "inspect", "--format={{.Id}}", ref)
	var failed commandError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &failed) && strings.Contains(strings.ToLower(failed.tail), "no such image"):
		return false, nil
	}
	return false, fmt.Errorf("ask Docker for the image %s (scripts/docker.sh starts one): %w", ref, err)
}

// errNoRegistry is a pull without an answer in time.
var errNoRegistry = errors.New("no registry answers")

// pull gets the image. If the registry's first answer takes longer than timeout, there is probably
// no registry in reach; after its first answer, the pull may take any time.
func (d dockerCLI) pull(ctx context.Context, ref string, timeout time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(timeout, func() { cancel(fmt.Errorf("%w within %s", errNoRegistry, timeout)) })
	defer timer.Stop()
	// Docker prints its first line when the registry has answered with the image's parts.
	watch := writerFunc(func(p []byte) (int, error) {
		timer.Stop()
		return d.progress.Write(p)
	})
	return command{watch: watch}.run(ctx, "docker", "pull", ref)
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// load gives the image to Docker without another copy of it on the disk.
func (dockerCLI) load(ctx context.Context, ref string, image v1.Image) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(tarball.Write(tag, image, writer)) }()
	defer reader.Close()
	if err := (command{stdin: reader}).run(ctx, "docker", "load"); err != nil {
		return fmt.Errorf("load the image into Docker: %w", err)
	}
	return nil
}

// removeOthers removes the images that have the label with another value than this, but for those
// that containers use.
func (dockerCLI) removeOthers(ctx context.Context, label, value string) error {
	return command{}.run(ctx, "docker", "image", "prune", "--all", "--force", "--filter=label="+label,
		"--filter=label!="+label+"="+value)
}

// folder is where Docker keeps its images, or "" if that isn't on this machine.
func (dockerCLI) folder(ctx context.Context) string {
	out, err := command{}.output(ctx, "docker", "info", "--format={{.DockerRootDir}}")
	dir := strings.TrimSpace(out)
	if _, statErr := os.Stat(dir); err != nil || statErr != nil {
		return ""
	}
	return dir
}
