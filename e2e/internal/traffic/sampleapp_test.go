package traffic

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// TestAcceptSampleApp: one answer alone is a good one. Another app's is none, however good it is.
func TestAcceptSampleApp(t *testing.T) {
	tests := []struct {
		name     string
		code     int
		body     string
		complete bool
		want     timeline.Cause
	}{
		{"the app's", 200, protocol.Body, true, timeline.OK},
		{"another app's", 200, protocol.StrangerBody, true, timeline.WrongApp},
		{"another app's, cut off", 200, protocol.StrangerBody, false, timeline.Truncated},
		{"another app's, with an error", 503, protocol.StrangerBody, true, timeline.HTTP5xx},
		{"nobody's", 200, "It works!", true, timeline.WrongBody},
		{"both", 200, protocol.Body + protocol.StrangerBody, true, timeline.WrongBody},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, acceptSampleApp(tt.code, []byte(tt.body), tt.complete))
		})
	}
}
