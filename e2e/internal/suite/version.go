package suite

import (
	"regexp"
	"runtime/debug"
)

const (
	modulePath = "github.com/zerodrop/zerodrop"
	// loadRepository is where .github/workflows/release.yml pushes the images of the load generator.
	loadRepository = "ghcr.io/zerodrop/zerodrop/loadgen"
)

var (
	releaseVersion = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	// pseudoVersion ends the version of a commit that has no tag.
	pseudoVersion = regexp.MustCompile(`\d{14}-[0-9a-f]{12}$`)
)

// releasedLoadImage is the image of the load generator that was released with a program; empty for a program of
// no release, as one of a checkout.
func releasedLoadImage(program *debug.BuildInfo) string {
	if program == nil {
		return ""
	}
	version := ""
	if program.Main.Path == modulePath {
		version = program.Main.Version
	}
	for _, m := range program.Deps { // as of go test in a module that requires this one
		if m.Path == modulePath && m.Replace == nil {
			version = m.Version
		}
	}
	if !releaseVersion.MatchString(version) || pseudoVersion.MatchString(version) {
		return ""
	}
	return loadRepository + ":" + version
}

// ownRelease is releasedLoadImage of this program.
func ownRelease() string {
	program, _ := debug.ReadBuildInfo()
	return releasedLoadImage(program)
}
