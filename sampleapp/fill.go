package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// maxFill bounds what one request can write.
const maxFill = 64 << 20

// fill writes the body to a file of its own in the folder of -scratch, where it stays: the kubelet
// evicts a Pod whose volume holds more than its limit.
func (s *server) fill(w http.ResponseWriter, r *http.Request) {
	if s.scratch == "" || r.Method != http.MethodPost {
		_ = s.answer(w, http.StatusNotFound, "want POST, and an app with -scratch\n")
		return
	}
	n, err := writeFile(s.scratch, http.MaxBytesReader(w, r.Body, maxFill))
	if err != nil {
		_ = s.answer(w, http.StatusInternalServerError, fmt.Sprintf("write the body: %v\n", err))
		return
	}
	_ = s.answer(w, http.StatusOK, fmt.Sprintf("%d bytes written\n", n))
}

func writeFile(dir string, from io.Reader) (n int64, err error) {
	f, err := os.CreateTemp(dir, "fill-*")
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(f, from)
	return n, errors.Join(err, f.Close())
}
