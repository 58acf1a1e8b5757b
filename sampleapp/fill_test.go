package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// TestFill: each body is a file of its own that stays; without a folder nothing is written.
func TestFill(t *testing.T) {
	dir := t.TempDir()
	tests := []struct {
		name    string
		scratch string
		method  string
		body    string
		want    string
		code    int
		files   int // there are by then
	}{
		{"one", dir, http.MethodPost, "12345", "5 bytes written\n", http.StatusOK, 1},
		{"another", dir, http.MethodPost, "123", "3 bytes written\n", http.StatusOK, 2},
		{"no POST", dir, http.MethodGet, "", "want POST, and an app with -scratch\n", http.StatusNotFound, 2},
		{"no folder", "", http.MethodPost, "12345", "want POST, and an app with -scratch\n", http.StatusNotFound, 2},
		{"a folder that isn't there", filepath.Join(dir, "none"), http.MethodPost, "1", "write the body: open ", http.StatusInternalServerError, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config{scratch: tt.scratch}
			life := &lifeLog{out: &strings.Builder{}, pod: "pod-1"}
			s := &server{config: cfg, pod: "pod-1", life: life, terminator: newTerminator(cfg, life)}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(tt.method, protocol.PathFill, strings.NewReader(tt.body))
			s.ServeHTTP(w, r.WithContext(s.numbered(r.Context(), nil)))
			assert.Equal(t, tt.code, w.Code)
			assert.True(t, strings.HasPrefix(w.Body.String(), tt.want), w.Body.String())
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Len(t, entries, tt.files)
		})
	}
}
