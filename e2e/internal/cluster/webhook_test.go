package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/zerodrop/zerodrop/fixtures"
)

// TestCertificate: what the webhook's configuration vouches for is what the app serves with, for the host that the API server asks.
func TestCertificate(t *testing.T) {
	consumers, err := fixtures.Consumers()
	require.NoError(t, err)
	c, err := newCertificate("app-webhook.test.svc", time.Now())
	require.NoError(t, err)
	objects, err := c.forRun("test", consumers["webhook"].Objects)
	require.NoError(t, err)
	hooks, _, err := unstructured.NestedSlice(objects[1].Object, "webhooks")
	require.NoError(t, err)
	config := hooks[0].(map[string]any)["clientConfig"].(map[string]any)
	assert.Equal(t, "test", config["service"].(map[string]any)["namespace"])
	bundle, err := base64.StdEncoding.DecodeString(config["caBundle"].(string))
	require.NoError(t, err)

	served, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(c.arg(), "-webhook-pem="))
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(served, served)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(bundle))
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "app-webhook.test.svc"})
	assert.NoError(t, err)
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "app-webhook.other.svc"})
	assert.Error(t, err)
}
