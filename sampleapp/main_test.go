package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// childEnv makes the test binary be the sample app itself. So each test has the real process under real signals, built with the race detector if the tests are.
const childEnv = "ZERODROP_SAMPLEAPP_CHILD"

// patience bounds every wait for something that must come. It is long because the machine may be busy; nothing waits for it in a good run.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func TestFlags(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string // part of the message
	}{
		{"unknown flag", []string{"-on-sigkill=ignore"}, "flag provided but not defined: -on-sigkill"},
		{"argument", []string{"serve"}, `unexpected argument "serve"`},
		{"address without port", []string{"-addr", "localhost"}, `-addr "localhost": address localhost: missing port`},
		{"empty address", []string{"-addr", ""}, `-addr ""`},
		{"gRPC address without port", []string{"-grpc-addr", "localhost"}, `-grpc-addr "localhost": address localhost: missing port`},
		{"unknown action", []string{"-on-sigterm", "wait"}, `-on-sigterm "wait" is unknown, want one of default, ignore, shutdown, delay`},
		{"delay is no duration", []string{"-on-sigterm=delay", "-delay=15"}, `invalid value "15" for flag -delay`},
		{"delay of nothing", []string{"-on-sigterm=delay", "-delay=0s"}, "-delay 0s: want more than 0"},
		{"delay below nothing", []string{"-on-sigterm=delay", "-delay=-1s"}, "-delay -1s: want more than 0"},
		{"delay without its action", []string{"-delay=5s"}, "-delay needs -on-sigterm=delay, not default"},
		{"delay with another action", []string{"-on-sigterm=shutdown", "-delay=15s"}, "-delay needs -on-sigterm=delay, not shutdown"},
		{"close without handler", []string{"-close"}, "-close needs an -on-sigterm other than default"},
		{"stop signal without handler", []string{"-stop-signal=SIGUSR1"}, "-stop-signal needs an -on-sigterm other than default"},
		{"unknown stop signal", []string{"-on-sigterm=shutdown", "-stop-signal=SIGKILL"}, `-stop-signal "SIGKILL" is unknown, want SIGTERM, SIGUSR1 or SIGQUIT`},
		{"unready without handler", []string{"-unready"}, "-unready needs an -on-sigterm other than default"},
		{"bound without Shutdown", []string{"-on-sigterm=ignore", "-shutdown-timeout=5s"}, "-shutdown-timeout needs -on-sigterm=shutdown or delay, not ignore"},
		{"bound of nothing", []string{"-on-sigterm=shutdown", "-shutdown-timeout=0s"}, "-shutdown-timeout 0s: want more than 0"},
		{"start before the start", []string{"-startup-delay=-1s"}, "-startup-delay -1s: want 0 or more"},
		{"fail less than none", []string{"-fail-every=-1"}, "-fail-every -1: want 0 or more"},
		{"unknown end of held connections", []string{"-held=drop"}, `-held "drop" is unknown, want leave, close or spread`},
		{"held connections closed by nobody", []string{"-on-sigterm=ignore", "-held=close"}, "-held=close needs -on-sigterm=shutdown or delay, not ignore"},
		{"spread over no delay", []string{"-on-sigterm=shutdown", "-held=spread"}, "-held=spread needs -on-sigterm=delay, not shutdown"},
		{"unknown fault", []string{"-held-fault=slow", "-held-fault-every=2"}, `-held-fault "slow" is unknown, want cut, announce, stall or wrong`},
		{"fault of none", []string{"-held-fault=cut"}, `-held-fault "cut" and -held-fault-every 0: want both or none`},
		{"no fault of some", []string{"-held-fault-every=2"}, `-held-fault "" and -held-fault-every 2: want both or none`},
		{"tasks from nowhere", []string{"-tasks=tasks:8090", "-scratch=/s", "-on-sigterm=shutdown"}, `-tasks "tasks:8090": want a URL`},
		{"tasks with no place for their work", []string{"-tasks=http://tasks:8090", "-on-sigterm=shutdown"}, "-tasks needs -scratch"},
		{"tasks that nobody ends", []string{"-tasks=http://tasks:8090", "-scratch=/s"}, "-tasks needs -on-sigterm=shutdown or delay, not default"},
		{"an end of no task", []string{"-tasks-on-sigterm=finish"}, "-tasks-on-sigterm and -tasks-lose-every need -tasks"},
		{"unknown end of tasks", []string{"-tasks=http://q", "-scratch=/s", "-on-sigterm=shutdown", "-tasks-on-sigterm=drop"}, `-tasks-on-sigterm "drop" is unknown, want finish or handback`},
		{"lose less than none", []string{"-tasks=http://q", "-scratch=/s", "-on-sigterm=shutdown", "-tasks-lose-every=-1"}, "-tasks-lose-every -1: want 0 or more"},
		{"fail some", []string{"-fail-every=some"}, `invalid value "some" for flag -fail-every`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			assert.Equal(t, exitUsage, run(tt.args, &stdout, &stderr))
			assert.Contains(t, stderr.String(), tt.want)
			assert.Equal(t, 1, strings.Count(stderr.String(), "\n"), "one line: %s", &stderr)
			assert.Empty(t, stdout.String(), "no life has begun")
		})
	}
}

func TestFlagsThatGoTogether(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want config
	}{
		{"none", nil, config{addr: ":8080", grpcAddr: ":9090", webhookAddr: ":8443", onSIGTERM: actionDefault, stopSignal: "SIGTERM", delay: 15 * time.Second, shutdownTimeout: 10 * time.Second, heldConnections: heldLeave, taskConfig: taskConfig{taskAction: taskFinish}}},
		{
			"all",
			[]string{"-addr=[::1]:0", "-grpc-addr=[::1]:1", "-on-sigterm=delay", "-stop-signal=SIGQUIT", "-delay=1.5s", "-close", "-unready", "-shutdown-timeout=2s", "-startup-delay=3s", "-fail-every=50", "-scratch=/tmp", "-stranger", "-held=spread", "-held-fault=cut", "-held-fault-every=3", "-tasks=http://q", "-tasks-on-sigterm=handback", "-tasks-lose-every=4"},
			config{
				addr: "[::1]:0", grpcAddr: "[::1]:1", webhookAddr: ":8443", onSIGTERM: actionDelay, stopSignal: "SIGQUIT", delay: 1500 * time.Millisecond, close: true, unready: true,
				shutdownTimeout: 2 * time.Second, startupDelay: 3 * time.Second, failEvery: 50, scratch: "/tmp", stranger: true,
				heldConnections: heldSpread, heldFault: faultCut, heldFaultEvery: 3,
				taskConfig: taskConfig{taskQueue: "http://q", taskAction: taskHandBack, taskLoseEvery: 4},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			flags, got := newFlagSet()
			require.NoError(t, got.parse(flags, tt.args))
			assert.Equal(t, tt.want, *got)
		})
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitOK, run([]string{"-h"}, &stdout, &stderr))
	assert.Empty(t, stderr.String())
	for _, name := range []string{"addr", "grpc-addr", "on-sigterm", "stop-signal", "delay", "close", "unready", "shutdown-timeout", "startup-delay", "fail-every", "scratch", "stranger", "held", "held-fault", "held-fault-every", "tasks", "tasks-on-sigterm", "tasks-lose-every"} {
		assert.Contains(t, stdout.String(), "\n  -"+name)
	}
}

func TestWrongCallOfTheProcess(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-on-sigterm=never")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	output, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 2, exit.ExitCode())
	assert.Contains(t, string(output), `"never" is unknown`)
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()

	app := start(t, "-addr", taken.Addr().String())
	state := app.exited()
	assert.Equal(t, 1, state.ExitCode())
	assert.Equal(t, []string{"start", "exit"}, app.names())
	last := app.await("exit")
	assert.Equal(t, 1, *last.Code)
	assert.Contains(t, last.Error, "open the listener: listen tcp "+taken.Addr().String()+": bind: address already in use")
}

// TestStartupDelay: nothing listens before the time, and then it does.
func TestStartupDelay(t *testing.T) {
	t.Parallel()
	const delay = 700 * time.Millisecond
	addr := freeAddr(t)
	app := start(t, "-addr", addr, "-startup-delay", delay.String())
	begun := app.await("start")

	refused := 0
	for !app.seen("listening") {
		conn, err := net.DialTimeout("tcp", addr, patience)
		if err == nil {
			conn.Close()
			break // it listens, the event is on its way
		}
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		refused++
	}
	assert.Positive(t, refused)
	listening := app.await("listening")
	app.addr = listening.Addr
	assert.GreaterOrEqual(t, listening.UnixNano-begun.UnixNano, delay.Nanoseconds())
	assert.Equal(t, http.StatusOK, app.dial().get("/readyz").code)
}

func TestSIGTERMDuringStartup(t *testing.T) {
	t.Parallel()
	app := start(t, "-on-sigterm=shutdown", "-startup-delay=1h")
	app.await("start")
	app.sigterm()
	assert.Equal(t, 0, app.exited().ExitCode())
	assert.Equal(t, []string{"start", "sigterm", "exit"}, app.names(), "what was never opened is neither shut down nor closed")
}

// child is a running sample app.
type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	pod  string
	addr string // once listening

	mu     sync.Mutex
	events []protocol.Event
	more   chan struct{} // closed and replaced with each event
	ended  chan struct{} // closed when stdout is at its end
	waited func() error
}

// start runs the sample app on a free port of the loopback. The child is killed at the end of the test, if it is still there.
func start(t *testing.T, args ...string) *child {
	t.Helper()
	if len(args) == 0 || args[0] != "-addr" {
		args = append([]string{"-addr", "127.0.0.1:0"}, args...)
	}
	args = append(args, "-grpc-addr=127.0.0.1:0")
	c := &child{t: t, pod: "pod-of-" + t.Name(), more: make(chan struct{}), ended: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0], args...)
	// The race detector sleeps for a second at exit, in case another thread is about to report; a race that was reported still makes the exit code 66.
	c.cmd.Env = append(os.Environ(), childEnv+"=1", "POD_NAME="+c.pod, "GORACE=atexit_sleep_ms=0")
	c.cmd.Stderr = os.Stderr // the race detector's reports
	stdout, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	c.waited = sync.OnceValue(c.cmd.Wait)
	go c.read(stdout)
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.ended
		_ = c.waited()
	})
	return c
}

// listening starts the sample app and waits until it listens.
func listening(t *testing.T, args ...string) *child {
	t.Helper()
	c := start(t, args...)
	c.addr = c.await("listening").Addr
	return c
}

func (c *child) read(stdout io.Reader) {
	defer close(c.ended)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.DisallowUnknownFields()
		var e protocol.Event
		if err := decoder.Decode(&e); err != nil {
			c.t.Errorf("stdout has a line that is no event: %q: %v", lines.Text(), err)
		}
		c.mu.Lock()
		c.events = append(c.events, e)
		close(c.more)
		c.more = make(chan struct{})
		c.mu.Unlock()
	}
}

// all returns the events so far, and a channel that is closed when there are more.
func (c *child) all() ([]protocol.Event, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clip(c.events), c.more
}

// await waits for the first event of that name.
func (c *child) await(name string) protocol.Event {
	c.t.Helper()
	for timeout := time.After(patience); ; {
		events, more := c.all()
		for _, e := range events {
			if e.Event == name {
				return e
			}
		}
		select {
		case <-more:
		case <-c.ended:
			if again, _ := c.all(); len(again) == len(events) {
				require.FailNow(c.t, "the app ended without "+name, "%+v", events)
			}
		case <-timeout:
			require.FailNow(c.t, "no event "+name, "%+v", events)
		}
	}
}

// seen says whether the event has come already.
func (c *child) seen(name string) bool {
	events, _ := c.all()
	for _, e := range events {
		if e.Event == name {
			return true
		}
	}
	return false
}

// names returns the names of the events so far, in the order of their lines.
func (c *child) names() []string {
	events, _ := c.all()
	var names []string
	for _, e := range events {
		names = append(names, e.Event)
	}
	return names
}

func (c *child) sigterm() {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(syscall.SIGTERM))
}

// exited waits for the end of the process.
func (c *child) exited() *os.ProcessState {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		require.FailNow(c.t, "the app doesn't exit", "%v", c.names())
	}
	_ = c.waited()
	return c.cmd.ProcessState
}

// dial opens a connection to the app, to be closed at the end of the test.
func (c *child) dial() *client {
	c.t.Helper()
	conn, err := c.tryDial()
	require.NoError(c.t, err)
	return conn
}

func (c *child) tryDial() (*client, error) {
	conn, err := net.DialTimeout("tcp", c.addr, patience)
	if err != nil {
		return nil, err
	}
	c.t.Cleanup(func() { conn.Close() })
	return newClient(c.t, conn), conn.SetDeadline(time.Now().Add(patience))
}

// client is one connection, written and read by hand: what a real http.Client hides (retries, new connections) is what is to be seen here.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func newClient(t *testing.T, conn net.Conn) *client {
	return &client{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// reply is a complete answer.
type reply struct {
	code        int
	header      http.Header
	body        string
	close       bool    // Connection: close
	leaving     float64 // ms
	conn        int
	connRequest int
}

// get sends a GET and returns the complete answer.
func (c *client) get(target string) reply {
	c.t.Helper()
	r, err := c.try("GET " + target + " HTTP/1.1\r\nHost: app\r\n\r\n")
	require.NoError(c.t, err)
	return r
}

// try sends the text of a request and returns the complete answer.
func (c *client) try(request string) (reply, error) {
	if _, err := io.WriteString(c.conn, request); err != nil {
		return reply{}, err
	}
	return c.answer()
}

// begin sends a POST without its one byte of body, and returns when the handler has begun to read it: from then on the request is in flight, for as long as
// the test wants it, until finish sends the byte.
func (c *client) begin(target string) {
	c.t.Helper()
	_, err := io.WriteString(c.conn, "POST "+target+" HTTP/1.1\r\nHost: app\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(c.t, err)
	resp, err := http.ReadResponse(c.in, nil)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	require.Equal(c.t, http.StatusContinue, resp.StatusCode)
}

// finish sends the rest of what begin began, and returns the complete answer.
func (c *client) finish() reply {
	c.t.Helper()
	r, err := c.try("x")
	require.NoError(c.t, err)
	return r
}

func (c *client) answer() (reply, error) {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{code: resp.StatusCode, header: resp.Header, body: string(body), close: resp.Close}
	assert.Equal(c.t, int64(len(body)), resp.ContentLength, "every answer has its Content-Length")
	r.leaving, err = strconv.ParseFloat(resp.Header.Get("Zerodrop-Leaving-Ms"), 64)
	assert.NoError(c.t, err)
	r.conn, err = strconv.Atoi(resp.Header.Get("Zerodrop-Conn"))
	assert.NoError(c.t, err)
	r.connRequest, err = strconv.Atoi(resp.Header.Get("Zerodrop-Conn-Request"))
	assert.NoError(c.t, err)
	return r, nil
}

// freeAddr returns an address on which nothing listened a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
