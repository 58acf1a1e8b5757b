package verdict

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStandsAlone: the package judges by the timeline and nothing else, its tests included.
func TestStandsAlone(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			assert.NotContains(t, path, "k8s.io/", file)
			if strings.HasPrefix(path, "github.com/zerodrop/") {
				assert.True(t, strings.HasPrefix(path, "github.com/zerodrop/zerodrop/e2e/internal/timeline"), "%s: %s", file, path)
			}
		}
	}
}
