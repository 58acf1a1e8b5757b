package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// haproxy is HAProxy with the Services that it balances. A Service that comes, goes or changes
// restarts it, with which it forgets what it has probed. A node that comes or goes never does: those
// are told to it while it runs.
type haproxy struct {
	start func(config string) (*session, error)
	ip    string // that it connects from

	mu       sync.Mutex
	running  *session // nil before the first Service
	services map[string]balanced
	servers  map[string]map[string]string // by Service: addresses of nodes, by name
	known    map[string]bool              // backend/node that the running process has, in whatever state
	ports    map[string]int               // which range of ports a backend/node is connected to from
}

// Ranges of ports, one for each server, below those that the kernel gives out. Left to itself, the
// kernel gives one port to connections to several nodes at once: then it names none of them.
const (
	firstPort  = 10000
	rangePorts = 2000
	ranges     = 11 // with more servers, two have the same
)

// balanced is what HAProxy is told of a Service.
type balanced struct {
	ports []servicePort
	probe probe
}

type servicePort struct {
	backend        string
	port, nodePort int32
}

// session is a HAProxy that runs.
type session struct {
	ask  func(command string) (answer string, err error)
	stop func()
}

func newHAProxy(ip string, start func(config string) (*session, error)) *haproxy {
	return &haproxy{
		start: start, ip: ip,
		services: map[string]balanced{}, servers: map[string]map[string]string{}, ports: map[string]int{},
	}
}

func (h *haproxy) has(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.services[name]
	return ok
}

// set makes HAProxy listen for a Service and send to the nodes.
func (h *haproxy) set(name string, s balanced, servers map[string]string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for other, o := range h.services {
		for _, p := range s.ports {
			if other != name && slices.ContainsFunc(o.ports, func(q servicePort) bool { return q.port == p.port }) {
				return fmt.Errorf("port %d is that of %s, and all have one address", p.port, other)
			}
		}
	}
	old, present := h.services[name]
	before := h.servers[name]
	h.services[name], h.servers[name] = s, servers
	if h.running == nil || !present || !reflect.DeepEqual(old, s) {
		return h.restart()
	}
	for node, address := range before {
		if servers[node] != address {
			if err := h.drain(name, node); err != nil {
				return err
			}
		}
	}
	return h.addAll(name)
}

// remove makes HAProxy forget a Service.
func (h *haproxy) remove(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.services[name]; !ok {
		return nil
	}
	delete(h.services, name)
	delete(h.servers, name)
	return h.restart()
}

func (h *haproxy) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running != nil {
		h.running.stop()
		h.running = nil
	}
}

func (h *haproxy) restart() error {
	if h.running != nil {
		h.running.stop()
	}
	h.running, h.known = nil, map[string]bool{}
	running, err := h.start(h.config())
	if err != nil {
		return err
	}
	h.running = running
	for _, name := range slices.Sorted(maps.Keys(h.services)) {
		if err := h.addAll(name); err != nil {
			return err
		}
	}
	return nil
}

// addAll has HAProxy send to all nodes of a Service. One that is new gets nothing before it has
// passed its probes, as in a cloud; one that was there has its state.
func (h *haproxy) addAll(name string) error {
	s := h.services[name]
	for _, node := range slices.Sorted(maps.Keys(h.servers[name])) {
		address := h.servers[name][node]
		for _, p := range s.ports {
			server := p.backend + "/" + node
			var commands []string
			if !h.known[server] {
				if _, given := h.ports[server]; !given {
					h.ports[server] = len(h.ports) % ranges
				}
				from := firstPort + rangePorts*h.ports[server]
				add := fmt.Sprintf("add server %s %s source %s:%d-%d check port %d inter %dms fall %d rise %d",
					server, net.JoinHostPort(address, fmt.Sprint(p.nodePort)), h.ip, from, from+rangePorts-1,
					s.probe.port, s.probe.interval.Milliseconds(), s.probe.fall, s.probe.rise)
				if s.probe.cut {
					add += " on-marked-down shutdown-sessions"
				}
				commands = []string{
					add, "enable health " + server, "enable server " + server + ";set server " + server + " health down",
				}
			} else {
				commands = []string{
					fmt.Sprintf("set server %s addr %s port %d", server, address, p.nodePort), "set server " + server + " state ready",
				}
			}
			for _, command := range commands {
				if err := h.command(command); err != nil {
					return err
				}
			}
			h.known[server] = true
		}
	}
	return nil
}

// drain takes a node out. Its connections live on for the deregistration delay.
func (h *haproxy) drain(name, node string) error {
	s, running := h.services[name], h.running
	for _, p := range s.ports {
		if err := h.command("set server " + p.backend + "/" + node + " state drain"); err != nil {
			return err
		}
	}
	time.AfterFunc(s.probe.deregistration, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.running != running || h.servers[name][node] != "" { // gone, or there again
			return
		}
		for _, p := range s.ports {
			server := p.backend + "/" + node
			err := errors.Join(h.command("set server "+server+" state maint"), h.command("shutdown sessions server "+server))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	})
	return nil
}

// command asks HAProxy. It says what is wrong in words, and nothing or what it did if all is well.
func (h *haproxy) command(command string) error {
	answer, err := h.running.ask(command)
	answer = strings.Join(strings.Fields(answer), " ")
	well := func(begin string) bool { return strings.HasPrefix(answer, begin) }
	if err == nil && answer != "" && !well("New server registered.") && !well("no need to change") && !well("IP changed") {
		err = errors.New(answer)
	}
	if err != nil {
		return fmt.Errorf("haproxy: %s: %w", command, err)
	}
	return nil
}

// config is HAProxy's configuration, without the nodes.
//
//	roundrobin      each node has its share, as a hash over many clients gives it; by source, the one
//	                client would always meet the same node, and leastconn prefers a node that refuses
//	connect         longer than clients wait: a SYN that is lost looks as it does behind a load
//	                balancer that passes packets on. A probe has its own time only once it is connected
//	abortonclose    the line of such a client comes when it gives up, and not after connect
//	logasap         the line of a kept-alive connection comes when it is made
//	client, server  the idle time of GCP's; no load is idle for as long
func (h *haproxy) config() string {
	var out bytes.Buffer
	out.WriteString(`global
	stats socket unix@haproxy.sock mode 600 level admin
	stats timeout 24d
	spread-checks 0
	nbthread 1
	maxconn 4000
defaults
	mode tcp
	balance roundrobin
	retries 0
	option abortonclose
	timeout connect 10s
	timeout client 10m
	timeout server 10m
`)
	for _, name := range slices.Sorted(maps.Keys(h.services)) {
		s := h.services[name]
		for _, p := range s.ports {
			fmt.Fprintf(&out, `frontend %[1]s
	bind :%[2]d
	option logasap
	log fd@3 len 4096 format raw local0
	log-format '%[3]s'
	default_backend %[1]s
backend %[1]s
	option httpchk GET /healthz
	http-check expect status 200
	timeout check %[4]dms
	option log-health-checks
	log fd@4 len 4096 format iso local0
`, p.backend, p.port, accessLine, s.probe.timeout.Milliseconds())
		}
	}
	return out.String()
}

// accessLine has Traefik's names for the fields. LocalAddr is HAProxy's own connection to the node,
// which conntrack knows there. The numbers have no gap: the one connection to HAProxy's socket, which
// is counted as well, is there before any other.
const accessLine = `{"StartUnixMs":%Ts%ms,"RequestCount":%rt,"ClientAddr":"%ci:%cp","LocalAddr":"%bi:%bp",` +
	`"ServiceAddr":"%si:%sp","ServiceName":"%b","RetryAttempts":%rc,"TerminationState":"%ts"}`

// program is how HAProxy is run.
type program struct {
	path, dir     string
	access, marks string // files that it writes to
}

// start runs HAProxy and connects to its socket. failed hears of an end that nobody asked for.
func (p program) start(config string, failed context.CancelCauseFunc) (*session, error) {
	if err := os.WriteFile(filepath.Join(p.dir, "haproxy.cfg"), []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("configure haproxy: %w", err)
	}
	socket := filepath.Join(p.dir, "haproxy.sock")
	_ = os.Remove(socket)                                   // of the one before: to connect to it would tell nothing
	cmd := exec.Command(p.path, "-db", "-f", "haproxy.cfg") //nolint:noctx // stop ends it
	cmd.Dir, cmd.Stderr = p.dir, os.Stderr                  // why it ends is the last that it says
	access, err := os.OpenFile(p.access, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start haproxy: %w", err)
	}
	defer access.Close()
	marks, err := os.OpenFile(p.marks, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start haproxy: %w", err)
	}
	defer marks.Close()
	cmd.ExtraFiles = []*os.File{access, marks}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start haproxy: %w", err)
	}
	var once sync.Once
	ended, asked := make(chan struct{}), make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s := &session{stop: func() {
		once.Do(func() { close(asked) })
		_ = cmd.Process.Kill()
		<-ended
	}}
	for {
		conn, err := net.Dial("unix", socket) //nolint:noctx // a file
		if err == nil {
			s.ask = asking(conn)
			if _, err = s.ask("prompt"); err == nil {
				break
			}
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("start haproxy: it has ended (%s)", cmd.ProcessState)
		case <-time.After(20 * time.Millisecond):
		}
	}
	go func() {
		<-ended
		select {
		case <-asked:
		default:
			failed(fmt.Errorf("haproxy has ended (%s)", cmd.ProcessState))
		}
	}()
	return s, nil
}

// asking asks HAProxy through a connection that stays: each connection takes a number of the access
// log's. An answer ends in a prompt; the answers to commands on one line have one each.
func asking(conn net.Conn) func(command string) (string, error) {
	return func(command string) (string, error) {
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := fmt.Fprintln(conn, command); err != nil {
			return "", err
		}
		const prompt = "\n> "
		prompts := 1 + strings.Count(command, ";")
		var answer []byte
		for bytes.Count(answer, []byte(prompt)) < prompts {
			part := make([]byte, 4096)
			n, err := conn.Read(part)
			if err != nil {
				return "", err
			}
			answer = append(answer, part[:n]...)
		}
		return strings.ReplaceAll(string(answer), prompt, " "), nil
	}
}
