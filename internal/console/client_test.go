package console_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"quell/internal/audit"
	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/operator"
	"quell/internal/outage"
	"quell/internal/role"
	"quell/internal/sqldb"
)

// The commands and the console understand each other.
func TestClient(t *testing.T) {
	c, srv := console.NewTest(t)
	client := operator.Client{Base: srv.URL, Token: console.TokenOf(t, c, "alice", role.Admin)}
	if _, err := client.Import(t.Context(), "devices", []devices.File{{Name: "list.txt", Reader: strings.NewReader(console.Meter.String() + "\n" + console.Hub.String())}}, console.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []outage.DeviceID
	for after, more := "", true; more; more = after != "" {
		page, err := client.Devices(t.Context(), after, 1)
		if err != nil || page.List.Rows != 2 || page.List.Who != "token:alice" {
			t.Fatal(page, err)
		}
		got = append(got, page.Devices...)
		after = page.Next
	}
	if len(got) != 2 {
		t.Errorf("pages: %v", got)
	}
	if d, err := client.Check(t.Context(), console.Meter); err != nil || !d.Listed || d.Known || d.Tracked {
		t.Errorf("%+v %v", d, err)
	}
	request := outage.Request{ID: outage.RequestID{Originator: console.Hub, Target: console.Meter, Counter: 1}, Form: outage.ServiceRequest,
		Order: outage.Order{Kind: outage.OnDemand}, Received: console.T0}
	c.Ledger.Record(t.Context(), request.Activation(console.Hub, time.Hour))
	if _, err := c.Ledger.Decide(t.Context(), outage.Alert{ID: "a", Code: "AD1", CHF: console.Hub, OutageStart: console.T0, Received: console.T0}, outage.Shadow, 0); err != nil {
		t.Fatal(err)
	}
	if log, err := client.Suppressions(t.Context(), 0, 10); err != nil || len(log.Entries) != 1 || log.Next != 1 || log.Entries[0].Outcome != outage.Shadow {
		t.Errorf("%+v %v", log, err)
	}
	if x, err := client.Explain(t.Context(), console.Hub.String(), console.T0); err != nil || x.Verdicts[console.Hub.String()].Reason != outage.ReasonWindowOpen {
		t.Errorf("%+v %v", x, err)
	}
	if x, err := client.Explain(t.Context(), console.Hub.String(), time.Time{}); err != nil || !x.At.Equal(console.T0.Add(time.Minute)) {
		t.Errorf("without a time: %+v %v", x, err)
	}
	if s, err := client.Status(t.Context()); err != nil || s.WindowsOpen != 1 || s.Version != "v0" {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := client.Report(t.Context(), 1); err == nil || err.Error() != "no such report: 1" {
		t.Errorf("an error of quell: %v", err)
	}
	if _, err := audit.Verify(t.Context(), client.Audit, audit.Head{}); err != nil {
		t.Error(err)
	}
	srv.Close()
	if _, err := client.Status(t.Context()); !errors.Is(err, operator.ErrNotRunning) {
		t.Errorf("%v", err)
	}
}

// TestLastSwitchChange: the last change of the switch is known, whatever was changed since.
func TestLastSwitchChange(t *testing.T) {
	c, srv := console.NewTest(t)
	client := operator.Client{Base: srv.URL, Token: console.TokenOf(t, c, "alice", role.Viewer)}
	if e, err := client.LastSwitchChange(t.Context()); err != nil || e != nil {
		t.Errorf("%+v %v", e, err)
	}
	if _, err := c.Ledger.SetSwitch(t.Context(), outage.SwitchOff, "alice", "CHG1", console.T0); err != nil {
		t.Fatal(err)
	}
	if _, err := sqldb.Write(t.Context(), c.DB, sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) (any, error) {
		for range 1001 {
			if err := events.Insert(ctx, tx, events.Event{At: console.T0.Add(time.Second), Who: "alice", What: "inventory"}); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	if e, err := client.LastSwitchChange(t.Context()); err != nil || e == nil || e.New != string(outage.SwitchOff) || e.Why != "CHG1" {
		t.Errorf("%+v %v", e, err)
	}
}

// TestClientWaits: a client that asks more often than its rate allows waits, and gets its answers.
func TestClientWaits(t *testing.T) {
	c, srv := console.NewTest(t)
	client := operator.Client{Base: srv.URL, Token: console.TokenOf(t, c, "viewer", role.Viewer)}
	for range 600 {
		if _, err := client.Check(t.Context(), console.Meter); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (&operator.Client{Base: srv.URL, Token: "quell_wrong"}).Check(t.Context(), console.Meter); err == nil {
		t.Error("a wrong token")
	}
}
