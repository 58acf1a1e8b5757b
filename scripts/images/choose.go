package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// engine is what the choice of an image needs of Docker.
type engine interface {
	has(ctx context.Context, ref string) (bool, error)
	// pull fails with errNoRegistry if there is no answer within timeout.
	pull(ctx context.Context, ref string, timeout time.Duration) error
}

// How long a registry may take for its first answer. A machine that reaches none must find out
// soon; a registry that the user names may be slow.
const (
	registryTimeout      = 5 * time.Second
	namedRegistryTimeout = 60 * time.Second
)

// choose returns the image to use, which Docker then has. build makes i.ours. An image that the
// user names is never replaced by another one.
func choose(ctx context.Context, docker engine, o options, i image, build func(context.Context) error) (string, error) {
	// The official image is the better tested. Ours comes next: where it exists, this machine
	// reached no registry before, and to try again each time would cost seconds and, one day,
	// change what is tested unasked.
	candidates, timeout := []string{i.official, i.ours}, registryTimeout
	switch {
	case o.image != "" && (o.source || o.rebuild):
		return "", errors.New("-image names an image that exists: -source and -rebuild don't go with it")
	case o.image != "":
		i.official, candidates, timeout = o.image, []string{o.image}, namedRegistryTimeout
	case o.rebuild:
		candidates = nil
	case o.source:
		candidates = []string{i.ours}
	}
	if ref, err := firstOf(ctx, docker, candidates...); err != nil || ref != "" {
		return ref, err
	}
	if !o.source && !o.rebuild {
		say("pulling %s", i.official)
		err := docker.pull(ctx, i.official, timeout)
		switch {
		case err == nil:
			return i.official, nil
		case o.image != "":
			return "", fmt.Errorf("the image %s is neither here nor to be pulled: %w", o.image, err)
		case ctx.Err() != nil || diskFull(err):
			return "", fmt.Errorf("pull %s: %w", i.official, err)
		}
		say("%v", err)
		say("building the image from source instead, as %s can't be pulled", i.official)
	}
	if err := build(ctx); err != nil {
		return "", err
	}
	return i.ours, nil
}

// firstOf is the first of the images that Docker has, or "".
func firstOf(ctx context.Context, docker engine, refs ...string) (string, error) {
	for _, ref := range refs {
		if found, err := docker.has(ctx, ref); err != nil {
			return "", err
		} else if found {
			return ref, nil
		}
	}
	return "", nil
}
