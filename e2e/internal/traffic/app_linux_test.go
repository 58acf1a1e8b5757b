package traffic

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// arrival is a line in the server's ledger: a request that has arrived, and how it was answered.
type arrival struct {
	lane   string
	seq    int
	port   int // of the client
	number int // of the connection, from 1
	use    int // of the connection, from 1
	fault  bool
	closed bool      // by the server, before the request arrived
	at     time.Time // before it was answered
	done   time.Time // after
	err    error     // in answering
}

// app is a server that speaks HTTP by hand, as net/http's doesn't break off where a fault has to. It keeps a ledger.
type app struct {
	listener net.Listener
	fault    fault
	faulty   []int // numbers of the requests that meet the fault, when they come for the first time
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns int
	seen  map[int][]arrival // by number
	stray []error           // what was no request
}

func newApp(f fault, faulty []int) (*app, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a := &app{listener: listener, fault: f, faulty: faulty, seen: map[int][]arrival{}}
	a.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			a.mu.Lock()
			a.conns++
			number := a.conns
			a.mu.Unlock()
			a.serving.Go(func() {
				// By RST: a client that closes first would else hold its port for a minute, and thousands of trials run out of ports.
				defer func() { _ = reset(conn.(*net.TCPConn)) }()
				if err := a.serve(conn.(*net.TCPConn), number); err != nil {
					a.mu.Lock()
					defer a.mu.Unlock()
					a.stray = append(a.stray, err)
				}
			})
		}
	})
	return a, nil
}

// close closes the books. The client is gone by then, and with it its connections.
func (a *app) close() {
	_ = a.listener.Close()
	a.serving.Wait()
}

// serve answers the requests of a connection until the client closes it or a fault did.
func (a *app) serve(conn *net.TCPConn, number int) error {
	in := bufio.NewReader(conn)
	var closed bool
	for use := 1; ; use++ {
		head, err := peek(conn)
		if err != nil || len(head) == 0 {
			return err
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
		if err != nil {
			return fmt.Errorf("parse %q: %w", head, err)
		}
		e := &exchange{conn: conn, number: number, use: use, lane: req.Header.Get("Zerodrop-Lane"), closes: req.Close}
		if e.seq, err = strconv.Atoi(req.Header.Get("Zerodrop-Seq")); err != nil {
			return err
		}
		a.mu.Lock()
		line := arrival{lane: e.lane, number: number, use: use, closed: closed, port: conn.RemoteAddr().(*net.TCPAddr).Port, at: time.Now()}
		line.fault = slices.Contains(a.faulty, e.seq) && len(a.seen[e.seq]) == 0
		a.seen[e.seq] = append(a.seen[e.seq], line)
		place := len(a.seen[e.seq]) - 1
		a.mu.Unlock()
		commit := (*exchange).whole
		if line.fault {
			commit, closed = a.fault.commit, a.fault.closes
		}
		if !line.fault || !a.fault.unread {
			if req, err = http.ReadRequest(in); err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return err
			}
		}
		err = commit(e)
		a.mu.Lock()
		a.seen[e.seq][place].done, a.seen[e.seq][place].err = time.Now(), err
		a.mu.Unlock()
	}
}

// peek reads the head of a request and leaves it in the socket. It is empty if there is none because the connection is closed, by either side.
func peek(conn *net.TCPConn) (head []byte, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 4<<10)
	var n int
	closed := raw.Read(func(fd uintptr) (done bool) {
		n, _, err = syscall.Recvfrom(int(fd), buf, syscall.MSG_PEEK)
		return err != syscall.EAGAIN && err != syscall.EINTR && (n <= 0 || bytes.Contains(buf[:n], []byte("\r\n\r\n"))) //nolint:errorlint // as the kernel gave it
	})
	if closed != nil || err != nil || n <= 0 {
		return nil, nil
	}
	return buf[:n], nil
}
