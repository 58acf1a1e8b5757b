package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Symbol tables and debug information aren't even made: nobody looks at them in a container, and
// without them compiling takes a tenth less.
const (
	stripped    = "-s -w"
	noDebugInfo = "-gcflags=all=-dwarf=false"
)

// goEnv makes static programs, whatever the user's own settings for Go are. The module and build
// caches stay the user's.
func goEnv() []string {
	return []string{"CGO_ENABLED=0", "GO111MODULE=on", "GOWORK=off", "GOFLAGS=-mod=mod -buildvcs=false", "GOOS=linux"}
}

// goBuild makes programs from main packages that the module in dir has or requires.
type goBuild struct {
	dir      string
	packages []string // import paths
	tags     string
	ldflags  string
	env      []string // after goEnv
}

// download gets the modules that the programs are made of: this is the part that waits for the
// network. `go mod download` and `go mod tidy` would get the modules of tests, too.
func (b goBuild) download(ctx context.Context) error {
	args := append([]string{"list", "-deps", "-tags=" + b.tags}, b.packages...)
	return command{dir: b.dir, env: append(goEnv(), b.env...), discard: true}.run(ctx, "go", args...)
}

// compile writes the programs to target, a file or, with a slash at its end, a folder. Temporary
// files are in dir, too: there the next run finds and removes those of a run that was killed.
func (b goBuild) compile(ctx context.Context, target string) error {
	flags := strings.TrimSpace(stripped + " " + b.ldflags)
	args := []string{"build", "-trimpath", noDebugInfo, "-tags=" + b.tags, "-ldflags=" + flags, "-o=" + target}
	env := slices.Concat(goEnv(), b.env, []string{"GOTMPDIR=" + b.dir})
	return command{dir: b.dir, env: env}.run(ctx, "go", append(args, b.packages...)...)
}

type moduleDownload struct{ Dir, GoMod, Error string }

// downloadModule downloads a module into Go's module cache: "path@version", or the version that the
// module in dir requires.
func downloadModule(ctx context.Context, dir, module string) (moduleDownload, error) {
	var download moduleDownload
	out, err := command{dir: dir, env: goEnv()}.output(ctx, "go", "mod", "download", "-json", module)
	jsonErr := json.Unmarshal([]byte(out), &download)
	switch {
	case download.Error != "": // the reason of a failure is in what it prints
		return download, fmt.Errorf("download %s: %s", module, download.Error)
	case err != nil:
		return download, err
	case jsonErr != nil:
		return download, fmt.Errorf("read what go mod download prints about %s: %w", module, jsonErr)
	}
	return download, nil
}
