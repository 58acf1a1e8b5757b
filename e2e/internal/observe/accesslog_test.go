package observe

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// traefikLine is what Traefik v3.7.13 writes, as logrus has it, with the headers that it is told to keep.
const traefikLine = `{"ClientAddr":"10.244.1.9:40000","ClientHost":"10.244.1.9","ClientPort":"40000","DownstreamStatus":502,"Duration":1024,` +
	`"OriginStatus":502,"RequestCount":1234,"RequestMethod":"POST","RetryAttempts":1,"ServiceAddr":"10.244.1.2:8080","ServiceURL":"http://10.244.1.2:8080",` +
	`"StartLocal":"2000-01-01T00:00:01.5Z","StartUTC":"2000-01-01T00:00:01.500001Z","entryPointName":"web","level":"info","msg":"",` +
	`"request_Zerodrop-Lane":"ingress/new","request_Zerodrop-Seq":"77","time":"2000-01-01T00:00:01Z"}`

// TestParseAccess: one format, as three programs write it.
func TestParseAccess(t *testing.T) {
	at := time.Date(2000, 1, 1, 0, 0, 1, 500_000_000, time.UTC)
	const taken = `{"StartUTC":"2000-01-01T00:00:01.5Z","ClientAddr":"10.0.0.9:1"`
	client := forwardedLine{start: at, client: "10.0.0.9", Forward: timeline.Forward{ClientPort: 1}}
	with := func(change func(*forwardedLine)) forwardedLine { l := client; change(&l); return l }
	tests := []struct {
		name, line string
		want       forwardedLine
		err        string
	}{
		{"Traefik", traefikLine, forwardedLine{
			start: at.Add(time.Microsecond), lane: "ingress/new", client: "10.244.1.9", target: "10.244.1.2",
			Forward: timeline.Forward{Number: 1234, Seq: 77, ClientPort: 40000, Code: 502, Attempts: 2},
		}, ""},
		{
			"HAProxy, of a connection",
			`{"StartUnixMs":946684801500,"RequestCount":3,"ClientAddr":"172.18.0.5:40000","ServiceAddr":"172.18.0.3:30080","LocalAddr":"172.18.0.6:50000","RetryAttempts":"+0","DownstreamStatus":-1}`,
			forwardedLine{
				start: at.Local(), client: "172.18.0.5", target: "172.18.0.3",
				Forward: timeline.Forward{Number: 3, ClientPort: 40000, LocalPort: 50000, Attempts: 1},
			},
			"",
		},
		{"HAProxy, which found no server", taken + `,"ServiceAddr":"-:-","LocalAddr":"-:-","DownstreamStatus":503}`, with(func(l *forwardedLine) { l.Code = 503 }), ""},
		{"nginx, which tried two", taken + `,"ServiceAddr":"10.0.0.1:8080, 10.0.0.2:8080","DownstreamStatus":"200","request_Zerodrop-Lane":"","request_Zerodrop-Seq":""}`, with(func(l *forwardedLine) {
			l.target, l.Code, l.Attempts = "10.0.0.2", 200, 2
		}), ""},
		{"nginx, which had none", taken + `,"ServiceAddr":"app"}`, client, ""},
		{"IPv6", taken + `,"ServiceAddr":"[fd00::1]:8080"}`, with(func(l *forwardedLine) { l.target, l.Attempts = "fd00::1", 1 }), ""},
		{"more attempts than fit", taken + `,"ServiceAddr":"10.0.0.1:80","RetryAttempts":700}`, with(func(l *forwardedLine) { l.target, l.Attempts = "10.0.0.1", 255 }), ""},
		{"cut off", traefikLine[:90], forwardedLine{}, "unexpected end"},
		{"no instant", `{"ClientAddr":"10.0.0.9:1"}`, forwardedLine{}, "no StartUTC"},
		{"no client", `{"StartUTC":"2000-01-01T00:00:01.5Z","ClientAddr":"unix:"}`, forwardedLine{}, "no ClientAddr"},
		{"a port that is none", strings.Replace(taken, ":1\"", ":65536\"", 1) + "}", forwardedLine{}, "no ClientAddr"},
		{"a lane without a number", taken + `,"request_Zerodrop-Lane":"ingress/new"}`, forwardedLine{}, "no request_Zerodrop-Seq"},
		{"a number that is none", taken + `,"RequestCount":"many"}`, forwardedLine{}, "invalid syntax"},
		{"none of ours", "traefik says hello", forwardedLine{}, "invalid character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseAccess([]byte(tt.line))
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	assert.Contains(t, traefikLine, `"request_`+protocol.HeaderLane+`"`)
	assert.Contains(t, traefikLine, `"request_`+protocol.HeaderSeq+`"`)
}

// TestLostLines: the numbers of lines, in the order of the file, that were taken a tenth of a second apart from 1 s on by their order of numbers,
// or when the test says. The first line was read at 1 s.
func TestLostLines(t *testing.T) {
	tests := []struct {
		name    string
		numbers []uint32
		taken   map[int]time.Duration // by place in numbers
		want    string
	}{
		{"none", nil, nil, ""},
		{"all are there", []uint32{7, 8, 9, 10}, nil, ""},
		{"out of order", []uint32{9, 7, 10, 8}, nil, ""},
		{"two are lost", []uint32{7, 8, 11, 12}, nil, "lost lines: 2, the first after 1.1s"},
		{"lost in two places", []uint32{7, 9, 12}, nil, "lost lines: 3, the first after 1s"},
		{"taken before the first was read", []uint32{5, 8, 9}, map[int]time.Duration{0: 0}, ""},
		{"taken before, written later", []uint32{7, 4, 8}, map[int]time.Duration{1: 900 * ms}, ""},
		{"all taken before", []uint32{4, 9}, map[int]time.Duration{0: 0, 1: 900 * ms}, ""},
		{"the program doesn't number", []uint32{0, 0, 0}, nil, ""},
		{"started again", []uint32{7, 8, 1, 2}, map[int]time.Duration{2: 3 * sec, 3: 4 * sec}, "it was started again at 3s"},
		{"started again, and the numbers are the same", []uint32{1, 2, 3, 2, 3}, map[int]time.Duration{3: 3 * sec, 4: 4 * sec}, "it was started again at 3s"},
		{"lost, and started again", []uint32{7, 9, 1, 4}, map[int]time.Duration{2: 3 * sec, 3: 4 * sec}, "lost lines: 3, the first after 1s; it was started again at 3s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var lines []forwardedLine
			for i, n := range tt.numbers {
				l := forwardedLine{Forward: timeline.Forward{Number: n}, at: sec + time.Duration(n-min(n, 7))*100*ms}
				if at, given := tt.taken[i]; given {
					l.at = at
				}
				lines = append(lines, l)
			}
			assert.Equal(t, tt.want, lostLines(lines, sec))
		})
	}
}

// TestAccessLogs: what components passed on, on the run's clock and in the order of their time, and what their logs didn't tell.
func TestAccessLogs(t *testing.T) {
	line := func(number int, at time.Duration, client, target string) string {
		start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(at).Format(time.RFC3339Nano)
		return fmt.Sprintf(`{"RequestCount":%d,"StartUTC":%q,"ClientAddr":%q,"ServiceAddr":%q}`+"\n", number, start, client, target)
	}
	inBubble(t, func(t *testing.T, s *apiServer) {
		// Its last line comes after the end of the run, and what comes later than that isn't waited for.
		late := Node{Name: "balancer", IP: "172.18.0.6", Run: func(ctx context.Context, stdout io.Writer, command string, _ ...string) error {
			if command == "cat" {
				_, err := io.WriteString(stdout, timeline.Kernel())
				return err
			}
			pause(ctx, 5*sec+300*ms)
			_, err := io.WriteString(stdout, line(1, 5*sec, "172.18.0.5:1", "172.18.0.3:30080"))
			<-ctx.Done()
			return err
		}}
		o := s.observe(t, func(c *Config) {
			c.AccessLogs = []AccessLog{
				{Component: "loadbalancer", Node: late, File: "/log"},
				{Component: "traefik", File: "/var/log/traefik.log", Node: fakeNode("elsewhere", map[string]string{
					"cat": "another", "date": "946684803000000000", "tail": strings.Replace(traefikLine, "00:00:01.500001", "00:00:04.500001", 1) + "\n" +
						line(1236, 4*sec, "10.244.1.9:40001", "") + "cut off\n" + traefikLine[:50] + "…",
				})},
				{Component: "nginx", Node: fakeNode("worker", map[string]string{"cat": timeline.Kernel(), "tail": ""})},
				{Component: "haproxy", Node: fakeNode("deaf", nil)},
			}
		})
		after(5 * sec)
		stopping := time.Now()
		seen := o.Stop()
		assert.Equal(t, lastLines, time.Since(stopping))
		var forwards []string
		for _, f := range seen.Forwards.List {
			name := seen.Forwards.Name
			forwards = append(forwards, fmt.Sprintf("%s %s %d: %s %d, %s:%d → %s", f.At, name(f.Component), f.Number, name(f.Lane), f.Seq, name(f.Client), f.ClientPort, name(f.Target)))
		}
		assert.Equal(t, []string{
			"1s traefik 1236:  0, 10.244.1.9:40001 → ", // its clock is 3 s ahead
			"1.500001s traefik 1234: ingress/new 77, 10.244.1.9:40000 → 10.244.1.2",
			"5s loadbalancer 1:  0, 172.18.0.5:1 → 172.18.0.3",
		}, forwards)
		source := func(component, node string, c timeline.Comparison, missing string) timeline.Source {
			return timeline.Source{Kind: timeline.SourceAccessLog, Component: component, Node: node, Comparison: c, Missing: missing}
		}
		want := []timeline.Source{
			source("loadbalancer", "balancer", oneClock, ""),
			source("traefik", "elsewhere", timeline.Comparison{Offset: 3 * sec}, "lines that can't be read: 1, the first at 0s: invalid character 'c' looking for beginning of value; "+
				"lost lines: 1, the first after 1.5s"),
			source("nginx", "worker", oneClock, "from 0s on: it ended"),
			source("haproxy", "deaf", timeline.Comparison{}, "from 0s on: ask node deaf (cat): cat: not found"),
		}
		want[0].IP = "172.18.0.6"
		assert.Equal(t, want, seen.Sources)
		assert.Equal(t, seen, o.Stop(), "twice")
	})
}
