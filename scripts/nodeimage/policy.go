package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// engine is what the choice of an image needs of Docker.
type engine interface {
	present(ctx context.Context, ref string) (bool, error)
	// pull fails with errNoRegistry if there is no answer within patience.
	pull(ctx context.Context, ref string, patience time.Duration) error
}

// choice is what the user asked for, and the images that there are to choose from.
type choice struct {
	image      string // what the user named, or ""
	fromSource bool   // the user wants the image built here
	rebuild    bool   // … anew
	official   string // kind's default
	ours       string // the name of the image that build makes
	// build makes ours.
	build func(context.Context) error
	say   func(format string, args ...any)
}

// Patience with a registry. A machine that reaches none must find out soon; one that the user points us to may be slow.
const (
	registryPatience = 5 * time.Second
	namedPatience    = 60 * time.Second
)

// choose returns the node image to use, after having made sure that Docker has it.
func choose(ctx context.Context, docker engine, c choice) (string, error) {
	if c.image != "" {
		return named(ctx, docker, c)
	}
	if !c.fromSource && !c.rebuild {
		// Kind's default is the better tested. Ours comes next: if it's there, this machine reached no registry before, and to try again
		// each time would cost seconds and, one day, change the cluster unasked.
		for _, ref := range []string{c.official, c.ours} {
			if found, err := docker.present(ctx, ref); err != nil || found {
				return ref, err
			}
		}
		c.say("pulling %s", c.official)
		err := docker.pull(ctx, c.official, registryPatience)
		if err == nil {
			return c.official, nil
		}
		if ctx.Err() != nil || diskFull(err) {
			return "", fmt.Errorf("pull kind's default image: %w", err)
		}
		c.say("%v", err)
		c.say("building a node image from source instead, as kind's default can't be pulled")
	} else if !c.rebuild {
		if found, err := docker.present(ctx, c.ours); err != nil || found {
			return c.ours, err
		}
	}
	if err := c.build(ctx); err != nil {
		return "", err
	}
	return c.ours, nil
}

// present is the first of the images that Docker has, or else the first: kind will pull that one.
func present(ctx context.Context, docker engine, refs ...string) (string, error) {
	for _, ref := range refs {
		if found, err := docker.present(ctx, ref); err != nil || found {
			return ref, err
		}
	}
	return refs[0], nil
}

// named is the image that the user named. It's never replaced by another.
func named(ctx context.Context, docker engine, c choice) (string, error) {
	if c.fromSource || c.rebuild {
		return "", errors.New("-image names an image that exists: -source and -rebuild don't go with it")
	}
	if found, err := docker.present(ctx, c.image); err != nil || found {
		return c.image, err
	}
	c.say("pulling %s", c.image)
	if err := docker.pull(ctx, c.image, namedPatience); err != nil {
		return "", fmt.Errorf("the node image %s is neither here nor to be pulled: %w", c.image, err)
	}
	return c.image, nil
}
