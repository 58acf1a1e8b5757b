package timeline

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// routed is example with routes and sources.
func routed() Timeline {
	tl := example()
	tl.Events[0].UID = "4f0c"
	tl.Sources = []Source{
		{Kind: SourceHarness, Comparison: Comparison{SameClock: true}, Drift: -3 * time.Millisecond},
		{Kind: SourceApp, Node: "worker", Comparison: Comparison{Offset: -2 * time.Second, Uncertainty: 400 * time.Microsecond}},
		{Kind: SourceConntrack, Node: "worker", Comparison: Comparison{SameClock: true}, Missing: "no permission"},
	}
	tl.Routes = Routes{
		Names: []string{"worker", "10.244.1.9", "10.244.1.2", "worker2", "fd00::1"},
		List: []Route{
			{At: -time.Second, Node: 0, Source: 1, Target: 2, Port: 65535},
			{At: 1234567 * time.Microsecond, Node: 0, Source: 1, Target: 2, Port: 32768},
			{At: 1234567 * time.Microsecond, Node: 3, Source: 4, Target: 1, Port: 1},
		},
	}
	return tl
}

func TestRoutesSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	want := routed()
	require.NoError(t, Save(dir, want))
	got, err := Load(dir)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 3, "no temporary file is left")
}

// TestStaleRoutes: those of a timeline that was here before are gone with it.
func TestStaleRoutes(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Save(dir, routed()))
	require.NoError(t, Save(dir, example()))
	assert.NoFileExists(t, filepath.Join(dir, RoutesFile))
	got, err := Load(dir)
	require.NoError(t, err)
	assert.Equal(t, example(), got)
}

func TestRoutesCutOffAnywhere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Save(dir, routed()))
	path := filepath.Join(dir, RoutesFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for n := range whole {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o644))
		_, err := Load(dir)
		require.ErrorIs(t, err, ErrDamaged, "cut to %d of %d bytes", n, len(whole))
		require.ErrorContains(t, err, RoutesFile)
	}
}

func TestRoutesDamage(t *testing.T) {
	counted := func(change int) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, JSONFile)
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			var s stored
			require.NoError(t, json.Unmarshal(raw, &s))
			s.Chosen += change
			raw, err = json.Marshal(s)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, raw, 0o644))
		}
	}
	text := func(text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			var out bytes.Buffer
			zip := gzip.NewWriter(&out)
			_, err := zip.Write([]byte(text))
			require.NoError(t, err)
			require.NoError(t, zip.Close())
			require.NoError(t, os.WriteFile(filepath.Join(dir, RoutesFile), out.Bytes(), 0o644))
		}
	}
	const header = "since,node,source,port,target\n"
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string
	}{
		{"no file", func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, RoutesFile))) }, "no such file"},
		{"not gzip", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, RoutesFile), []byte(header), 0o644))
		}, "gzip: invalid header"},
		{"more counted than stored", counted(1), "route 3: EOF"},
		{"fewer counted than stored", counted(-1), "more routes than counted"},
		{"other columns", text("since,node,source,target,port\n"), "columns [since node source target port]"},
		{"nothing at all", text(""), "EOF"},
		{"an instant that is none", text(header + "soon,a,b,1,c\n"), "route 0: column since"},
		{"a port that is none", text(header + "1,a,b,65536,c\n"), "route 0: column port"},
		{"a column too few", text(header + "1,a,b,1\n"), "wrong number of fields"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, Save(dir, routed()))
			tt.damage(t, dir)
			_, err := Load(dir)
			require.ErrorIs(t, err, ErrDamaged)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, dir)
		})
	}
}

// TestRouteNames: a name that would spoil the file is refused, and leaves none behind.
func TestRouteNames(t *testing.T) {
	for _, name := range []string{"a,b", "a\nb", "a\rb", `a"b`} {
		tl, dir := routed(), t.TempDir()
		tl.Routes.Names[3] = name
		require.ErrorContains(t, Save(dir, tl), "can't stand in a CSV")
		assert.NoFileExists(t, filepath.Join(dir, RoutesFile))
		assert.NoFileExists(t, filepath.Join(dir, JSONFile), "a folder with one is complete")
	}
}

// TestTooManyNames: 65,536 can be told apart, one more is an error and changes nothing. Each is
// found again.
func TestTooManyNames(t *testing.T) {
	var r Routes
	for i := range 1 << 16 {
		r.Names = append(r.Names, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
	}
	last, err := r.Index("10.0.255.255")
	require.NoError(t, err)
	assert.EqualValues(t, 65535, last)
	assert.Equal(t, "10.0.255.255", r.Name(last))
	_, err = r.Index("10.1.0.0")
	require.ErrorContains(t, err, "more than 65536 names and addresses")
	_, err = r.Index("10.1.0.0")
	require.Error(t, err, "the second time as well")
	assert.Len(t, r.Names, 1<<16, "what has no index isn't kept")
}

func TestIndex(t *testing.T) {
	var r Routes
	for _, name := range []string{"a", "b", "a", "c", "b"} {
		i, err := r.Index(name)
		require.NoError(t, err)
		assert.Equal(t, name, r.Name(i))
	}
	assert.Equal(t, []string{"a", "b", "c"}, r.Names)
	assert.Empty(t, r.Name(3), "none")
}

func TestRouteIsSmall(t *testing.T) {
	assert.Equal(t, uintptr(16), unsafe.Sizeof(Route{}))
}
