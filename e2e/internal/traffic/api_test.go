package traffic

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestAPIWrites: how a write ends by what the API server answers, as 1.37 words it.
func TestAPIWrites(t *testing.T) {
	failed := func(why string) string {
		return `{"kind":"Status","status":"Failure","message":"Internal error occurred: failed calling webhook \"webhook.zerodrop.dev\": failed to call webhook: Post \"https://app-webhook.zerodrop.svc:443/admit?timeout=10s\": ` + why + `","reason":"InternalError","code":500}`
	}
	tests := []struct {
		name    string
		code    int
		warning string
		body    string
		wantPod string
		want    timeline.Cause
	}{
		{"allowed", 201, `299 - "zerodrop app-1 1503.214 3 7"`, "{}", "app-1", timeline.OK},
		{"allowed by nobody", 201, "", "{}", "", timeline.WrongBody},
		{"another's warning", 201, `299 - "deprecated"`, "{}", "", timeline.WrongBody},
		{"refused", 500, "", failed("dial tcp 10.96.1.2:443: connect: connection refused"), "", timeline.Refused},
		{"reset", 500, "", failed("read tcp 172.18.0.2:40000->10.96.1.2:443: read: connection reset by peer"), "", timeline.Reset},
		{"stream reset", 500, "", failed("stream error: stream ID 7; INTERNAL_ERROR; received from peer"), "", timeline.Reset},
		{"EOF", 500, "", failed("EOF"), "", timeline.EOF},
		{"GOAWAY and no more", 500, "", failed(`http2: server sent GOAWAY and closed the connection; LastStreamID=7, ErrCode=NO_ERROR, debug=\"\"`), "", timeline.EOF},
		{"no answer", 500, "", failed("context deadline exceeded"), "", timeline.Timeout},
		{"no Pod", 500, "", failed(`no endpoints available for service \"app-webhook\"`), "", timeline.NoAddress},
		{"another error", 500, "", `{"message":"etcdserver: request timed out"}`, "", timeline.HTTP5xx},
		{"no right to", 403, "", `{"message":"forbidden"}`, "", timeline.HTTPOther},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var object struct {
					Metadata struct{ Labels, Annotations map[string]string }
				}
				assert.NoError(t, json.NewDecoder(r.Body).Decode(&object))
				assert.Equal(t, "webhook", object.Metadata.Labels["zerodrop"])
				assert.Equal(t, map[string]string{"zerodrop.dev/lane": "test/writes", "zerodrop.dev/seq": "0"}, object.Metadata.Annotations)
				if tt.warning != "" {
					w.Header().Set("Warning", tt.warning)
				}
				w.WriteHeader(tt.code)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer server.Close()
			plan := Plan{Clock: timeline.NewClock(time.Now()), End: &End{}, Max: time.Minute}
			plan.End.Set(10 * time.Millisecond)
			lane := Lane{Name: "test/writes", URL: server.URL, Start: 10 * time.Millisecond, Load: scenarios.Writes(20)}
			records, _, err := Host{API: server.Client()}.Send(t.Context(), []Lane{lane}, plan)
			require.NoError(t, err)
			require.Len(t, records[0].Requests, 1)
			r := records[0].Requests[0]
			assert.Equal(t, tt.want, r.Cause)
			assert.EqualValues(t, tt.code, r.Code)
			assert.Equal(t, tt.wantPod, records[0].PodOf(r))
			if tt.want == timeline.OK {
				assert.Equal(t, 1503214*time.Microsecond, r.Leaving)
				assert.EqualValues(t, 3, r.Conn)
				assert.EqualValues(t, 7, r.ConnUse)
			}
		})
	}
	record := send(t, scenarios.Writes(20), "http://127.0.0.1:1", 1)
	assert.Equal(t, timeline.Client, record.Requests[0].Cause, "a sender without the way to the API server")
}
