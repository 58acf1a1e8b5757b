package traffic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// apiDriver has the API server ask the app: a request is the creation of a ConfigMap that is only
// tried, which an admission webhook has to allow. What the API server sends to the webhook again it
// tells nobody.
type apiDriver struct {
	lane   Lane
	client *http.Client
}

// Close implements Driver: the connections to the API server are everybody's.
func (apiDriver) Close() error { return nil }

// Do implements Driver.
func (d apiDriver) Do(ctx context.Context, seq int) Outcome {
	ctx, cancel := context.WithTimeout(ctx, d.lane.Load.Timeout)
	defer cancel()
	o, _ := d.create(ctx, seq)
	return o
}

// errNoAPI is the guarantee that nobody writes to the API but who was given the way to it.
var errNoAPI = errors.New("this sender has no way to the API server")

func (d apiDriver) create(ctx context.Context, seq int) (Outcome, error) {
	o := Outcome{Leaving: timeline.NotLeaving, Attempts: 1, Cause: timeline.Client}
	if d.client == nil {
		return o, errNoAPI
	}
	object, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
		"name":        "zerodrop-webhook",
		"labels":      map[string]string{"zerodrop": "webhook"},
		"annotations": map[string]string{protocol.AnnotationLane: d.lane.Name, protocol.AnnotationSeq: strconv.Itoa(seq)},
	}})
	if err != nil {
		return o, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.lane.URL, bytes.NewReader(object))
	if err != nil {
		return o, err
	}
	req.GetBody = nil // it is not to be sent again
	req.Header.Set("Content-Type", "application/json")
	resp, err := d.client.Do(req)
	if err != nil {
		o.Cause = classify(err)
		return o, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	o.Code = uint16(resp.StatusCode)
	for _, warning := range resp.Header.Values("Warning") {
		o.readWarning(warning)
	}
	switch {
	case err != nil:
		o.Cause = timeline.Truncated
	case resp.StatusCode != http.StatusCreated:
		o.Cause = rejection(resp.StatusCode, string(body))
		err = fmt.Errorf("%s: %s", resp.Status, body)
	case o.Pod == "":
		o.Cause = timeline.WrongBody
		err = errors.New("the webhook wasn't asked")
	default:
		o.Cause = timeline.OK
	}
	return o, err
}

// readWarning reads which Pod has allowed a write, if a warning is about that.
func (o *Outcome) readWarning(text string) {
	_, text, ours := strings.Cut(text, protocol.WarningPrefix)
	words := strings.Fields(strings.Trim(text, `"`))
	if !ours || len(words) != 4 {
		return
	}
	o.Pod, o.Conn, o.ConnUse = words[0], number(words[2]), number(words[3])
	if ms, err := strconv.ParseFloat(words[1], 64); err == nil {
		o.Leaving = millis(ms)
	}
}

// rejection is the cause of a write that the API server rejects: what it says went wrong between
// itself and the webhook, as far as it says that.
func rejection(code int, text string) timeline.Cause {
	if strings.Contains(text, "failed calling webhook") {
		for _, said := range []struct {
			words string
			cause timeline.Cause
		}{
			{"connection refused", timeline.Refused},
			{"connection reset", timeline.Reset},
			{"broken pipe", timeline.Reset},
			{"INTERNAL_ERROR", timeline.Reset}, // a stream
			{"no route to host", timeline.Unreachable},
			{"no endpoints available", timeline.NoAddress},
			{"deadline exceeded", timeline.Timeout},
			{" timeout", timeline.Timeout},
			{"x509", timeline.TLS},
			{"graceful shutdown GOAWAY", timeline.GoAway},
			{"EOF", timeline.EOF},
			{"closed the connection", timeline.EOF},
			{"connection lost", timeline.EOF},
		} {
			if strings.Contains(text, said.words) {
				return said.cause
			}
		}
	}
	if code >= 500 {
		return timeline.HTTP5xx
	}
	return timeline.HTTPOther
}

// ProbeAPI has the API server ask the webhook once and returns the Pod that has answered.
func ProbeAPI(ctx context.Context, client *http.Client, url string) (pod string, err error) {
	lane := Lane{Name: "probe", URL: url, Load: scenarios.Writes(1)}
	o, err := apiDriver{lane: lane, client: client}.create(ctx, 0)
	return o.Pod, err
}
