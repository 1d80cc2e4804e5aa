package main

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"syscall"
	"testing"
	"time"

	"quell/internal/flow"
)

// flowOf asks a quell what became of its AD1s.
func flowOf(t *testing.T, p *process) (r flow.Result) {
	t.Helper()
	getJSON(t, p.admin+"/api/v1/flow", &r)
	return r
}

// checkFlow holds, when no quell runs on a store any more, that all balances, except what killed
// processes had not written yet.
func checkFlow(t *testing.T, i *installation) (r flow.Result) {
	t.Helper()
	status, out, errs := i.quell("audit", "flow", "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || status > 1 {
		t.Fatalf("%d %v %s%s", status, err, out, errs)
	}
	if r.Total.Received == 0 || r.Total.UnderWay > 0 || (status == 0) != r.Balanced {
		t.Errorf("%+v", r)
	}
	for _, d := range r.Differences {
		if d.Kind != flow.Killed {
			t.Errorf("the AD1s do not balance: %+v", d)
		}
	}
	return r
}

// TestFlowKilled: quell is killed with kill -9 in the middle of traffic. What is missing is named as
// the process that was killed, and nothing else differs. While traffic passes, all balances.
func TestFlowKilled(t *testing.T) {
	north := &recorder{seen: map[string]int{}}
	hop := httptest.NewServer(north)
	t.Cleanup(hop.Close)
	i := install(t, accept(t), hop.URL, "store_timeout: 2s\n")
	i.track(firstHubs + laterHubs)
	p := i.serve()
	c := newCampaign(t, 18, []*installation{i}, north)
	stop := c.run()
	for range 20 {
		if r := flowOf(t, p); !r.Balanced {
			t.Fatalf("while traffic passes: %+v", r)
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	before := flowOf(t, p)
	if tot := before.Total; tot.UnderWay != 0 || tot.Received != int64(c.sent) || tot.Received != tot.Forwarded+tot.Suppressed {
		t.Errorf("%d alerts: %+v", c.sent, tot)
	}
	stop = c.run()
	c.goesOn()
	p.stop(syscall.SIGKILL)
	stop()

	p = i.serve()
	c.sendAgain()
	r := flowOf(t, p)
	t.Logf("%+v", r)
	whole := slices.ContainsFunc(r.Differences, func(d flow.Difference) bool { return d.Kind == flow.Killed && d.Distributor == "" })
	for _, d := range r.Differences {
		if d.Kind != flow.Killed {
			t.Errorf("after kill -9: %+v", d)
		}
	}
	if !whole || r.Balanced || r.Total.NoEnd > 0 || r.Total.Received < before.Total.Received {
		t.Errorf("after kill -9: %+v", r)
	}
	c.account(p.admin)
	p.stop(syscall.SIGTERM)
	if again := checkFlow(t, i); len(again.Differences) != len(r.Differences) {
		t.Errorf("after a stop in order: %+v", again)
	}
}
