package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// webhookListener opens the port for the API server and gives h its certificate; nil if this is no
// webhook.
func (s *server) webhookListener(h *http.Server) (net.Listener, error) {
	if s.webhookPEM == "" {
		return nil, nil //nolint:nilnil // as it says
	}
	text, err := base64.StdEncoding.DecodeString(s.webhookPEM)
	if err != nil {
		return nil, fmt.Errorf("read -webhook-pem: %w", err)
	}
	certificate, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("read -webhook-pem: %w", err)
	}
	h.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.webhookAddr)
	if err != nil {
		return nil, fmt.Errorf("open the listener of the webhook: %w", err)
	}
	return listener, nil
}

// review is what is read and written of an AdmissionReview, admission.k8s.io/v1.
type review struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Request    *reviewRequest  `json:"request,omitempty"`
	Response   *reviewResponse `json:"response,omitempty"`
}

type reviewRequest struct {
	UID    string `json:"uid"`
	Object struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	} `json:"object"`
}

type reviewResponse struct {
	UID      string   `json:"uid"`
	Allowed  bool     `json:"allowed"`
	Warnings []string `json:"warnings"`
}

// admit allows what the API server asks about, and has it warn of who did.
func (s *server) admit(w http.ResponseWriter, r *http.Request) {
	var in review
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&in)
	if err != nil || in.Request == nil {
		_ = s.answer(w, http.StatusBadRequest, fmt.Sprintf("want an AdmissionReview with a request: %v\n", err))
		return
	}
	named := in.Request.Object.Metadata.Annotations
	lane, seq := named[protocol.AnnotationLane], named[protocol.AnnotationSeq]
	defer s.unanswered.add(lane, seq)()
	if s.fails(lane, seq) {
		_ = reset(w)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	out, err := json.Marshal(review{APIVersion: in.APIVersion, Kind: in.Kind, Response: &reviewResponse{
		UID: in.Request.UID, Allowed: true,
		Warnings: []string{fmt.Sprintf("%s%s %s %s %s", protocol.WarningPrefix, s.pod, s.terminator.milliseconds(),
			header.Get(protocol.HeaderConn), header.Get(protocol.HeaderConnRequest))},
	}})
	if err != nil {
		panic(err) // can't be: strings only
	}
	if s.answer(w, http.StatusOK, string(out)) == nil {
		s.answered.add(time.Now(), lane)
	}
}
