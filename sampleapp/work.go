package main

import (
	"encoding/json"
	"net/http"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// busy tells how much work the Pod has (protocol.Busy).
func (s *server) busy(w http.ResponseWriter) {
	b := protocol.Busy{Held: len(s.held.list()), Tasks: int(s.tasks.taken.Load()), Requests: int(s.unanswered.all.Load())}
	b.Work = b.Held + b.Tasks + b.Requests
	raw, err := json.Marshal(b)
	if err != nil {
		panic(err) // can't be: integers only
	}
	w.Header().Set("Content-Type", "application/json")
	_ = s.answer(w, http.StatusOK, string(raw)+"\n")
}
