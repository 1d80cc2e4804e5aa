package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/console"
	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/store/storetest"
	"quell/internal/tail"
)

// tailing is a "quell tail" that runs.
type tailing struct {
	*exec.Cmd
	out *output
}

// tail starts a "quell tail" and waits until it watches: until its look-up is in the audit log, for
// which it must be an analyst or above, as over the socket.
func (i *installation) tail(t *testing.T, args ...string) *tailing {
	t.Helper()
	before := i.lookUps(t)
	c := &tailing{exec.Command(os.Args[0], append([]string{"tail", "--config", i.config}, args...)...), &output{}}
	c.Env = append(os.Environ(), beQuell+"=1")
	c.Stdout, c.Stderr = c.out, c.out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	storetest.Eventually(t, "it watches", func() bool { return i.lookUps(t) > before })
	time.Sleep(50 * time.Millisecond) // the record comes just before
	return c
}

func (i *installation) lookUps(t *testing.T) int {
	_, out, _ := i.quell("audit", "list", "--json")
	return strings.Count(out, `"object":"decisions as they fall"`)
}

// TestTailSlow: somebody who watches and reads nothing delays no message, and is told how many lines
// are missing.
func TestTailSlow(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	p := i.serve()
	c, err := access.Dial(t.Context(), filepath.Join(i.dir, "data", "console.sock")) // its buffers do not grow
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /api/v1/tail HTTP/1.1\r\nHost: localhost\r\n\r\n")
	in := bufio.NewReaderSize(c, 1<<10)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	body := bufio.NewScanner(res.Body)
	if !body.Scan() || !strings.Contains(body.Text(), "begins") {
		t.Fatal(body.Text(), body.Err())
	}
	const alerts, senders = 6_000, 8
	hub, _ := outage.ParseAnyDeviceID(someHub)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for s := range uint64(senders) {
		wg.Go(func() {
			for n := range uint64(alerts / senders) {
				res, err := client.Post(p.north, "application/xml", strings.NewReader(alertText(s<<32+n+1, hub, time.Now())))
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	lines, lost := 0, uint64(0)
	for lines+int(lost) < alerts && body.Scan() {
		var l console.TailLine
		if len(body.Bytes()) == 0 {
			continue
		}
		if err := json.Unmarshal(body.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if lost += l.Lost; l.Line != nil {
			lines++
		}
	}
	t.Logf("%d lines, %d lost", lines, lost)
	if lines+int(lost) != alerts || lost == 0 || lines < 1024 {
		t.Errorf("%d lines, %d lost of %d: %v", lines, lost, alerts, body.Err())
	}
}

// Who gets alerts, and for which home.
const (
	operatorID  = outage.DeviceID(0x90B3D51F30020000)
	supplyPoint = "1200023305967"
)

// activationText is an 11.3 on demand with a number.
func activationText(number uint64, meter outage.DeviceID) string {
	id, order := outage.RequestID{Originator: originator, Target: meter, Counter: number}, outage.Order{Kind: outage.OnDemand}
	command := gbcs.AppendCS06(nil, gbcs.CS06{Originator: id.Originator, Target: id.Target, Counter: id.Counter, Order: order})
	return string(duis.AppendSignedPreCommand(nil, id, 5, order, gbcs.AppendSigned(nil, command, [64]byte{})))
}

// alertText is an AD1 with a number.
func alertText(number uint64, hub outage.DeviceID, began time.Time) string {
	return string(duis.AppendPowerOutage(nil, outage.RequestID{Originator: hub, Target: operatorID, Counter: number}, time.Now().UTC(),
		duis.PowerOutage{CHF: hub, Start: began.UTC(), MPxN: supplyPoint}))
}

// TestTail: "quell tail" shows each decision once, as the filters say, with MPxNs for those who may
// see them; and it ends when quell does.
func TestTail(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "suppliers: [90-B3-D5-1F-30-01-00-00]\n")
	p := i.serve()
	for _, args := range [][]string{{"inventory", "import", i.file("inventory.csv", inventoryHead+someDevice)}, {"devices", "import", i.file("list.txt", someMeter)}} {
		if status, _, errs := i.quell(args...); status != 0 {
			t.Fatal(errs)
		}
	}
	all, alerts, document := i.tail(t), i.tail(t, "--decision", "suppressed", "--distributor", "12"), i.tail(t, "--json")
	for _, args := range [][]string{{"--decision", "lost"}, {"--kind", "x"}, {"--hub", "x"}, {"--reason", "no-windows"}, {"--distributor", "UKPN"}} {
		if status, _, errs := i.quell(append([]string{"tail"}, args...)...); status != 1 || !strings.Contains(errs, "quell tail: ") {
			t.Errorf("%q: %d %s", args, status, errs)
		}
	}
	post := func(to, text string) {
		t.Helper()
		res, err := http.Post(to, "application/xml", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	meter, _ := outage.ParseAnyDeviceID(someMeter)
	hub, _ := outage.ParseAnyDeviceID(someHub)
	post(p.south, activationText(1, meter))
	post(p.north, alertText(1, hub, time.Now()))
	post(p.north, alertText(2, hub+1, time.Now()))
	storetest.Eventually(t, "all decisions are shown", func() bool {
		return strings.Count(all.out.String(), "\n") == 3 && strings.Count(document.out.String(), "\n") == 4
	})
	lines := strings.Split(all.out.String(), "\n")
	for n, want := range []string{" activation tracked                " + someMeter, " suppressed window-open         12 " + someHub + " #1", " forwarded  no-window           12 "} {
		if !strings.Contains(lines[n], want) {
			t.Errorf("line %d: %q, want %q", n, lines[n], want)
		}
	}
	var shown []console.TailLine
	for line := range strings.Lines(document.out.String()) {
		var l console.TailLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		shown = append(shown, l)
	}
	if !shown[0].Begins || shown[0].MPxNHidden || shown[1].Kind != tail.Activation || shown[1].Meter != meter || shown[1].Hub != hub ||
		shown[2].MPxN == "" || shown[2].Entry != 1 || shown[2].Meter != meter || shown[3].Decision != outage.Forwarded {
		t.Errorf("%s", document.out)
	}

	// Without a role above viewer there is no MPxN, and no look-up.
	before := i.lookUps(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", p.admin+"/api/v1/tail", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	first, _ := in.ReadString('\n')
	post(p.north, alertText(3, hub, time.Now()))
	second, _ := in.ReadString('\n')
	if !strings.Contains(first, `"begins":true,"mpxn_hidden":true`) || !strings.Contains(second, `"decision":"suppressed"`) || !strings.Contains(second, `"distributor":"12"`) || strings.Contains(second, "mpxn") {
		t.Errorf("a viewer gets %s%s", first, second)
	}
	if n := i.lookUps(t); n != before {
		t.Errorf("%d look-ups by one without a name", n-before)
	}

	// One more goes, as with Ctrl-C.
	storetest.Eventually(t, "the suppressed alerts are shown", func() bool { return strings.Count(alerts.out.String(), "\n") == 2 })
	if strings.Count(alerts.out.String(), " suppressed window-open ") != 2 {
		t.Error(alerts.out)
	}
	alerts.Process.Signal(syscall.SIGINT)
	if err := alerts.Wait(); err != nil {
		t.Errorf("%v\n%s", err, alerts.out)
	}

	// quell stops, though somebody watches.
	began := time.Now()
	if err := p.stop(syscall.SIGTERM); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v\n%s", err, time.Since(began), p.log)
	}
	if err := all.Wait(); err == nil || !strings.Contains(all.out.String(), "quell tail: quell ends this: quell is stopping\n") {
		t.Errorf("%v\n%s", err, all.out)
	}
	if _, err := io.ReadAll(in); err != nil {
		t.Error("the answer of the viewer breaks off:", err)
	}
	if status, _, errs := i.quell("tail"); status != 1 || !strings.Contains(errs, "no quell answers") {
		t.Errorf("%d %s", status, errs)
	}
}
