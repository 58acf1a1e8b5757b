package picture_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/picture"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// opens is how long a picture of 100,000 requests may take until it is there.
const opens = time.Second

// browser is a real one, with what it complained of and what it asked for.
type browser struct {
	ctx context.Context // chromedp's handle on it

	mu       sync.Mutex
	trouble  []string
	requests []string
}

// openBrowser starts a browser, and skips the test where there is none.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		t.Skip("needs a browser to look at pages with: install chromium, or INSTALL_BROWSER=1 scripts/unit.sh as root")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path),
		chromedp.WindowSize(1280, 900))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses to have one as root, and these pages are our own
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			b.trouble = append(b.trouble, "console: "+string(e.Type))
		case *runtime.EventExceptionThrown:
			b.trouble = append(b.trouble, "exception: "+e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			b.trouble = append(b.trouble, "log: "+e.Entry.Text)
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, e.Request.URL)
		}
	}))
	_, err := chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	return b
}

// open goes to a page that is a file, and says how long it took from there to its being loaded,
// scripts included.
func (b *browser) open(t *testing.T, page []byte) time.Duration {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.html")
	require.NoError(t, os.WriteFile(file, page, 0o600))
	b.mu.Lock()
	b.trouble, b.requests = nil, nil
	b.mu.Unlock()
	b.do(t, chromedp.Navigate("file://"+file))
	took, err := chromedp.Run(b.ctx, chromedp.Poll[float64](`performance.getEntriesByType("navigation")[0].loadEventEnd`))
	require.NoError(t, err)
	return time.Duration(took * float64(time.Millisecond))
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	require.NoError(t, chromedp.Do(b.ctx, steps...))
}

// eval is the value of an expression on the page.
func eval[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(t, err)
	return out
}

// quiet checks that the page had nothing to complain of, and asked nobody for anything but itself.
func (b *browser) quiet(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Empty(t, b.trouble)
	assert.NotEmpty(t, b.requests, "the page itself")
	for _, url := range b.requests {
		assert.True(t, strings.HasPrefix(url, "file://") && strings.HasSuffix(url, "/page.html") ||
			strings.HasPrefix(url, "data:"), url)
	}
}

func drawn(t *testing.T, tl timeline.Timeline) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, picture.Write(&out, verdict.Judge(tl), tl))
	return out.Bytes()
}

// TestPictureInABrowser: what a reader does with a picture works in a real browser.
func TestPictureInABrowser(t *testing.T) {
	b := openBrowser(t)
	tl := madeRun("shutdown-at-once", 50)
	v := verdict.Judge(tl)
	perLane := map[string]int{}
	for _, d := range v.DroppedRequests {
		perLane[d.Lane]++
	}
	b.open(t, drawn(t, tl))
	const visible = `[...document.querySelectorAll(".mark")].filter(m => m.getBoundingClientRect().width > 0).length`

	t.Run("a mark for each dropped request", func(t *testing.T) {
		assert.Equal(t, len(v.DroppedRequests), eval[int](t, b, visible))
		assert.Equal(t, len(pods()), eval[int](t, b, `document.querySelectorAll(".row.pod").length`))
		assert.Equal(t, len(tl.Lanes), eval[int](t, b, `document.querySelectorAll(".lane").length`))
	})
	t.Run("marks are where they belong", func(t *testing.T) {
		// The first Pod's SIGTERM, seen from the page: between 0s and 10s of the axis, at 10s.
		off := eval[float64](t, b, `(() => {
			const tick = (text) => [...document.querySelectorAll(".axis .tick")].find(t => t.textContent === text).previousElementSibling.getBoundingClientRect().x;
			const bar = document.querySelector(".pod .seg.p-terminating").getBoundingClientRect().x;
			return (bar - tick("0s")) / (tick("10s") - tick("0s"));
		})()`)
		assert.InDelta(t, 1, off, 0.005)
	})
	t.Run("filter by lane", func(t *testing.T) {
		b.do(t, chromedp.Click(chromedp.CSS(`#lanes input[value="0"]`)))
		assert.Equal(t, len(v.DroppedRequests)-perLane["service/new"], eval[int](t, b, visible))
		b.do(t, chromedp.Click(chromedp.CSS(`#lanes input[value="0"]`)))
		assert.Equal(t, len(v.DroppedRequests), eval[int](t, b, visible))
	})
	t.Run("filter by phase", func(t *testing.T) {
		closed := 0
		for _, d := range v.DroppedRequests {
			if d.Phase.String() == "listener-closed" {
				closed++
			}
		}
		require.NotZero(t, closed)
		b.do(t, chromedp.Click(chromedp.CSS(`#phases input[value="listener-closed"]`)))
		assert.Equal(t, len(v.DroppedRequests)-closed, eval[int](t, b, visible))
		b.do(t, chromedp.Click(chromedp.CSS(`#phases input[value="listener-closed"]`)))
	})
	const row, panel = `document.querySelector('.lane[data-lane="0"] .dropped[data-phase="listener-closed"] .plot')`, `document.getElementById("panel").innerText`
	t.Run("hover", func(t *testing.T) {
		eval[chromedp.Void](t, b, row+`.scrollIntoView({block: "center"})`) // and not behind the panel
		at := eval[[]float64](t, b, `(() => { const b = `+row+`.querySelector(".mark").getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()`)
		b.do(t, chromedp.MouseEvent("mouseMoved", at[0], at[1]))
		_, err := chromedp.Run(b.ctx, chromedp.Poll[bool](panel+`.includes("listener-closed")`))
		require.NoError(t, err)
		told := strings.Join(strings.Fields(eval[string](t, b, panel)), " ")
		for _, want := range []string{
			"Lane service/new", "Phase listener-closed", "Cause refused", "Pod app-6d4b9c7f58-", "by conntrack",
			"After its Pod's deletion", "Connection port",
		} {
			assert.Contains(t, told, want)
		}
		assert.Equal(t, 1, eval[int](t, b, `document.querySelectorAll(".pod.charged").length`), "its Pod is shown")
	})
	t.Run("keyboard", func(t *testing.T) {
		eval[chromedp.Void](t, b, row+`.focus({focusVisible: true})`)
		b.do(t, chromedp.KeyEvent(kb.Home))
		first := eval[string](t, b, panel)
		b.do(t, chromedp.KeyEvent(kb.ArrowRight))
		second := eval[string](t, b, panel)
		assert.NotEqual(t, first, second, "the next mark")
		b.do(t, chromedp.KeyEvent(kb.ArrowLeft))
		assert.Equal(t, first, eval[string](t, b, panel))
	})
	t.Run("zoom", func(t *testing.T) {
		eval[bool](t, b, `document.getElementById("zoom").value = "10"; document.getElementById("zoom").dispatchEvent(new Event("change"))`)
		assert.Greater(t, eval[float64](t, b, `document.querySelector(".plot").getBoundingClientRect().width`), 8000.0)
		assert.Greater(t, eval[int](t, b, `(() => { const c = document.getElementById("chart").getBoundingClientRect();
			return [...document.querySelectorAll(".axis .tick")].filter(t => { const x = t.getBoundingClientRect(); return x.width > 0 && x.x > c.x && x.right < c.right; }).length })()`),
			3, "the axis has numbers that are in view")
		assert.True(t, eval[bool](t, b, `(() => { const m = document.querySelector(".mark.on").getBoundingClientRect(), c = document.getElementById("chart").getBoundingClientRect();
			return m.x > c.x && m.right < c.right })()`), "what is looked at stays in view")
	})
	b.quiet(t)
}

// TestPictureOpensAtOnce: also with as many requests as a long run has, and with as many that are
// dropped. What counts is the time that the page took of a CPU, for reading, script and layout:
// that is how long it takes on a machine that has nothing else to do, and a machine that runs tests
// has.
func TestPictureOpensAtOnce(t *testing.T) {
	b := openBrowser(t)
	_, err := chromedp.Call(b.ctx, performance.Enable, performance.EnableParams{TimeDomain: "threadTicks"})
	require.NoError(t, err)
	for _, tt := range []struct {
		name string
		run  timeline.Timeline
	}{
		{"100,000 requests", madeRun("shutdown-at-once", 834)},
		{"100,000 dropped", allDropped(100_000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			page := drawn(t, tt.run)
			wall := b.open(t, page)
			took, err := chromedp.Call(b.ctx, performance.GetMetrics, cdp.Empty{})
			require.NoError(t, err)
			i := slices.IndexFunc(took.Metrics, func(m *performance.Metric) bool { return m.Name == "ThreadTime" })
			require.GreaterOrEqual(t, i, 0)
			busy := time.Duration(took.Metrics[i].Value * float64(time.Second))
			t.Logf("%d bytes, loaded after %s, of which a CPU was busy for %s", len(page), wall, busy)
			assert.Positive(t, busy)
			assert.LessOrEqual(t, busy, opens)
			b.quiet(t)
		})
	}
}
