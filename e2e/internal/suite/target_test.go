package suite

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/userapp"
)

// liveSuite is a suite that measures a shop as it runs.
func liveSuite(t *testing.T, args ...string) *Suite {
	t.Helper()
	s, _ := newTestSuite(t)
	config := parseFlags(t, append([]string{"-kubeconfig=/k", "-context=c", "-target=deploy/shop", "-namespace=prod"}, args...)...)
	require.NoError(t, config.Validate())
	app, err := userapp.Live(
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "prod"},
			Spec: appsv1.DeploymentSpec{
				Replicas: new(int32(4)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop", "tier": "web"}},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "shop:1"}}},
				},
			},
		},
		[]corev1.Service{
			{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "db"}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: corev1.ServiceSpec{
				Selector: map[string]string{"app": "shop"}, Ports: []corev1.ServicePort{{Port: 80}},
			}},
		},
	)
	require.NoError(t, err)
	s.Config, s.app = config, &app
	return s
}

// TestTargetRuns: what runs is restarted once, and asked at its Service, or before that, or at both.
func TestTargetRuns(t *testing.T) {
	tests := []struct {
		name  string
		args  []string
		lanes []string
	}{
		{"its Service", []string{"-load-image=l"}, []string{"service/new GET /", "service/reused GET /"}},
		{"what stands before it alone", []string{"-url=https://shop.example/cart?page=1"}, []string{"url/new GET /cart?page=1", "url/reused GET /cart?page=1"}},
		{
			"both",
			[]string{"-url=http://shop.example", "-load-image=l"},
			[]string{"service/new GET /", "service/reused GET /", "url/new GET /", "url/reused GET /"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := liveSuite(t, tt.args...)
			runs, err := s.Runs()
			require.NoError(t, err)
			require.Equal(t, []string{"as-is/rolling-update"}, paths(runs))
			var lanes []string
			for _, l := range runs[0].Lanes {
				assert.Equal(t, 10, l.Load.Rate)
				assert.Contains(t, l.Consumer.Loads, l.Load.Name)
				lanes = append(lanes, l.Name()+" "+runs[0].TargetOf(l).Request.String())
			}
			assert.Equal(t, tt.lanes, lanes)
			more, err := s.FollowUp()
			require.NoError(t, err)
			assert.Empty(t, more, "no variant, and no control beside it")
			for _, l := range harness.NewSpec(runs[0].Scenario, timeline.Environment{}).Lanes {
				for class, promise := range l.Held {
					assert.Equal(t, timeline.Measured, promise.Expect, class)
				}
			}
		})
	}
}

// TestFront: what stands before an app is asked with the headers and the name that are given, over TLS that is believed only as
// far as the flags say; and of the headers nothing is told.
func TestFront(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Host, r.Header["Authorization"])
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, certificate, 0o600))
	tests := []struct {
		name string
		args []string
		err  string
	}{
		{"not believed", nil, "certificate signed by unknown authority"},
		{"by its certificate", []string{"-ca=" + ca, "-host=example.com"}, ""},
		{"another name", []string{"-ca=" + ca, "-host=shop.test"}, "certificate is valid for example.com, "},
		{"whatever it is", []string{"-insecure", "-host=shop.test"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := liveSuite(t, append([]string{"-url=" + server.URL, "-header=Authorization: Bearer s3cret"}, tt.args...)...)
			runs, err := s.Runs()
			require.NoError(t, err)
			lane := runs[0].Lanes[0]
			transport := &http.Transport{TLSClientConfig: lane.Target.TLS}
			defer transport.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, lane.Consumer.Address, http.NoBody)
			require.NoError(t, err)
			resp, err := transport.RoundTrip(req)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, http.Header{"Authorization": {"Bearer s3cret"}}, lane.Target.Header)
			told, err := json.Marshal([]any{lane, runs[0].Target, harness.NewSpec(runs[0].Scenario, timeline.Environment{})})
			require.NoError(t, err)
			assert.NotContains(t, string(told), "s3cret")
			assert.NotContains(t, s.Config.Target.Header.String(), "s3cret")
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		empty := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(empty, nil, 0o600))
		_, err := liveSuite(t, "-url=https://a", "-ca="+empty).Runs()
		require.ErrorContains(t, err, "has no certificate in PEM")
	})
}

// TestHeader: what isn't a header is refused, without a word of what it says.
func TestHeader(t *testing.T) {
	var h header
	for _, text := range []string{"s3cret", "A b: s3cret", "A: s3\ncret"} {
		err := h.Set(text)
		require.ErrorContains(t, err, "want a header, as in")
		assert.NotContains(t, err.Error(), "s3")
	}
	require.ErrorContains(t, h.Set("host: x"), "write -host NAME")
	require.NoError(t, h.Set("A: b"))
	require.NoError(t, h.Set("A:c"))
	assert.Equal(t, []string{"b", "c"}, http.Header(h).Values("A"))
}
