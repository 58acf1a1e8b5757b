package timeline

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// forwarded is example with what two proxies passed on: one reads requests, the other connections.
func forwarded() Timeline {
	tl := example()
	tl.Sources = []Source{{Kind: SourceAccessLog, Node: "control-plane", IP: "172.18.0.2", Component: "traefik", Missing: "3 lines are lost"}}
	tl.Forwards = Forwards{
		Names: []string{"", "traefik", "ingress/new", "10.244.1.9", "10.244.1.2", "loadbalancer", "172.18.0.5", "172.18.0.3"},
		List: []Forward{
			{At: -time.Second, Number: 1<<32 - 1, Seq: 7, Component: 1, Lane: 2, Client: 3, ClientPort: 65535, Target: 4, Code: 502, Attempts: 255},
			{At: 1234567 * time.Microsecond, Number: 1, Component: 5, Client: 6, ClientPort: 40000, Target: 7, LocalPort: 50000, Attempts: 1},
			{At: 1234567 * time.Microsecond, Number: 2, Component: 5, Client: 6, ClientPort: 40001},
		},
	}
	return tl
}

func TestForwardsSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	for _, want := range []Timeline{forwarded(), example(), forwarded()} { // none in between: the file is gone
		require.NoError(t, Save(dir, want))
		got, err := Load(dir)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		_, err = os.Stat(filepath.Join(dir, ForwardsFile))
		assert.Equal(t, len(want.Forwards.List) == 0, os.IsNotExist(err))
	}
}

func TestForwardsDamage(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Save(dir, forwarded()))
	path := filepath.Join(dir, ForwardsFile)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	damaged := func(content []byte, want string) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, content, 0o644))
		_, err := Load(dir)
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorContains(t, err, ForwardsFile)
		require.ErrorContains(t, err, want)
	}
	for n := range whole {
		damaged(whole[:n], "")
	}
	const header = "since,component,number,lane,seq,client,client_port,target,local_port,code,attempts\n"
	for _, tt := range []struct{ text, want string }{
		{"at" + header, "columns [atsince"},
		{header + "soon,a,1,b,1,c,1,d,1,1,1\n", "forward 0: column since"},
		{header + "1,a,1,b,-1,c,1,d,1,1,1\n", "forward 0: column seq"},
		{header + "1,a,1,b,1,c,65536,d,1,1,1\n", "forward 0: column client_port"},
		{header + "1,a,1,b,1,c,1,d,1,1,256\n", "forward 0: column attempts"},
		{header + "1,a,1,b,1,c,1,d,1,1,1\n", "forward 1: EOF"},
		{header + "1,a,1,b,1,c,1,d,1,1\n", "wrong number of fields"},
	} {
		var out bytes.Buffer
		zip := gzip.NewWriter(&out)
		_, err := zip.Write([]byte(tt.text))
		require.NoError(t, err)
		require.NoError(t, zip.Close())
		damaged(out.Bytes(), tt.want)
	}
	require.NoError(t, os.Remove(path))
	_, err = Load(dir)
	require.ErrorIs(t, err, ErrDamaged)
}

// TestForwardNames: the first is none, a name that would spoil the file is refused, and there is an end of them.
func TestForwardNames(t *testing.T) {
	var f Forwards
	for want, name := range []string{"", "traefik", "10.0.0.1"} {
		for range 2 {
			i, err := f.Index(name)
			require.NoError(t, err)
			assert.EqualValues(t, want, i)
			assert.Equal(t, name, f.Name(i))
		}
	}
	assert.Empty(t, f.Name(3))
	tl, dir := forwarded(), t.TempDir()
	tl.Forwards.Names[2] = "in,gress"
	require.ErrorContains(t, Save(dir, tl), "can't stand in a CSV")
	assert.NoFileExists(t, filepath.Join(dir, JSONFile))
	f.Names = make([]string, maxNames)
	_, err := f.Index("one more")
	require.ErrorContains(t, err, "forwards: more than 65536 names")
}

func TestForwardIsSmall(t *testing.T) { assert.Equal(t, uintptr(32), unsafe.Sizeof(Forward{})) }
