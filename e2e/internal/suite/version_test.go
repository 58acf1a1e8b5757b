package suite

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestReleasedLoadImage: that of the release that the program is of, and of no other.
func TestReleasedLoadImage(t *testing.T) {
	for _, tt := range []struct {
		name          string
		main, version string // of the main module
		dep           string // version of zerodrop as a module that it requires; empty for none
		want          string
	}{
		{"a release", modulePath, "v1.2.3", "", loadRepository + ":v1.2.3"},
		{"a candidate", modulePath, "v1.2.3-rc.1", "", loadRepository + ":v1.2.3-rc.1"},
		{"a checkout", modulePath, "(devel)", "", ""},
		{"a commit without a tag", modulePath, "v1.2.4-0.20261127081500-0123456789ab", "", ""},
		{"a checkout with changes", modulePath, "v1.2.3+dirty", "", ""},
		{"a module that requires it", "example.com/shop", "(devel)", "v1.2.3", loadRepository + ":v1.2.3"},
		{"a module that requires a commit of it", "example.com/shop", "v9.9.9", "v0.0.0-20261127081500-0123456789ab", ""},
		{"another program", "example.com/shop", "v9.9.9", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			program := &debug.BuildInfo{Main: debug.Module{Path: tt.main, Version: tt.version}}
			if tt.dep != "" {
				program.Deps = []*debug.Module{{Path: "example.com/other", Version: "v3.0.0"}, {Path: modulePath, Version: tt.dep}}
			}
			assert.Equal(t, tt.want, releasedLoadImage(program))
		})
	}
	assert.Empty(t, releasedLoadImage(nil))
	forked := &debug.BuildInfo{Deps: []*debug.Module{{Path: modulePath, Version: "v1.2.3", Replace: &debug.Module{Path: "../fork"}}}}
	assert.Empty(t, releasedLoadImage(forked))
}
