package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
)

// certificate is that of a webhook, which vouches for itself.
type certificate struct {
	pem []byte // of the certificate
	all []byte // and of its key
}

// newCertificate makes one for a host, for a day.
func newCertificate(host string, now time.Time) (certificate, error) {
	var c certificate
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, fmt.Errorf("make the key of %s: %w", host, err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return c, fmt.Errorf("make the certificate of %s: %w", host, err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return c, fmt.Errorf("make the key of %s: %w", host, err)
	}
	c.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	c.all = append(bytes.Clone(c.pem), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})...)
	return c, nil
}

// arg is the app's flag that makes it a webhook.
func (c certificate) arg() string { return "-webhook-pem=" + base64.StdEncoding.EncodeToString(c.all) }

// forRun are a consumer's objects with the namespace and the certificate of this run. The first has
// templates of its own.
func (c certificate) forRun(
	namespace string, objects []*unstructured.Unstructured,
) ([]*unstructured.Unstructured, error) {
	fill := strings.NewReplacer("{namespace}", namespace, "{caBundle}", base64.StdEncoding.EncodeToString(c.pem))
	var out []*unstructured.Unstructured
	for i, o := range objects {
		if i == 0 {
			out = append(out, o)
			continue
		}
		raw, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		filled := &unstructured.Unstructured{}
		if err := filled.UnmarshalJSON([]byte(fill.Replace(string(raw)))); err != nil {
			return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
		out = append(out, filled)
	}
	return out, nil
}

// waitAsked waits until the API server asks the webhook and gets an answer: of one Pod, as it keeps
// its connection.
func (a *App) waitAsked(ctx context.Context, url string) error {
	return poll(ctx, deployWithin, "an answer to the API server", func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		if _, err := traffic.ProbeAPI(ctx, a.cluster.http, url); err != nil {
			return err.Error(), nil
		}
		return "", nil
	})
}
