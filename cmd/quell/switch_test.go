package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quell/internal/operator"
	"quell/internal/store/storetest"
)

// While the store is away, "off" is in force on the node at once, and the command says that
// it is so on this node only. The store gets the change when it is back.
func TestSwitchOffInAnEmergency(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	p := i.serve()
	c := operator.Client{Base: p.admin}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(i.dir, "data", "quell.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.Begin() // as a backup has it
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Rollback()
	status, out, errs := i.quell("switch", "off", "--why", "an emergency")
	if status != 0 || !strings.Contains(out, "The switch is off on this node now; it was on.") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Switch != "off" || s.Pending == 0 {
		t.Errorf("%+v %v", s, err)
	}
	// Since when, by whom and why is what the store has, and of another position.
	const here, since = "The switch is off.\nThat is so on this node only. The store has on:\nSince 20", "off on this node; the store has on since 20"
	if status, out, errs := i.quell("switch"); status != 0 || !strings.HasPrefix(out, here) {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
	if _, out, errs := i.quell("status"); !strings.Contains(strings.Join(strings.Fields(out), " "), since) {
		t.Errorf("%s%s", out, errs)
	}
	lock.Rollback()
	storetest.Eventually(t, "the store is told", func() bool { s, err := c.Status(t.Context()); return err == nil && s.Pending == 0 })
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.log)
	}
	p = i.serve()
	if s, err := c.Status(t.Context()); err != nil || s.Switch != "off" {
		t.Errorf("after a restart: %+v %v", s, err)
	}
	var events struct {
		Events []struct{ What, New, Why string }
	}
	getJSON(t, p.admin+"/api/v1/events", &events)
	n := 0
	for _, e := range events.Events {
		if e.What == "switch" && e.New == "off" && e.Why == "an emergency" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d events", n)
	}
}
