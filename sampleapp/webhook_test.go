package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// TestAdmit: a write is allowed, by a Pod that says who it is, and counted as its lane's.
func TestAdmit(t *testing.T) {
	const review = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1","object":{"metadata":{"annotations":` +
		`{"zerodrop.dev/lane":"webhook/writes","zerodrop.dev/seq":"7"}}}}}`
	onFakeClock(t, config{}, func(t *testing.T, s *server, p *pipes) {
		ask := func(body string) reply {
			r, err := p.dial(t).try(fmt.Sprintf("POST /admit HTTP/1.1\r\nHost: app\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			require.NoError(t, err)
			return r
		}
		r := ask(review)
		assert.Equal(t, http.StatusOK, r.code)
		assert.JSONEq(t, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"u-1","allowed":true,"warnings":["zerodrop pod-1 -1 1 1"]}}`, r.body)
		assert.Equal(t, "application/json", r.header.Get("Content-Type"))
		assert.Equal(t, http.StatusBadRequest, ask("{}").code)
		synctest.Wait()
		_, _, lanes := s.answered.total()
		assert.Equal(t, map[string]int64{"webhook/writes": 1}, lanes)
	})
}

// TestBadWebhook: an app that can't be the webhook it is to be doesn't start.
func TestBadWebhook(t *testing.T) {
	t.Parallel()
	for pem, want := range map[string]string{"*": "read -webhook-pem: illegal base64", "eA==": "read -webhook-pem: tls: failed to find any PEM data"} {
		app := start(t, "-webhook-pem="+pem)
		assert.Equal(t, 1, app.exited().ExitCode())
		assert.True(t, strings.HasPrefix(app.await(protocol.EventExit).Error, want), app.await(protocol.EventExit).Error)
	}
}
