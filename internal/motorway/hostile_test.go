package motorway

import (
	"bytes"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store"

	_ "modernc.org/sqlite"
)

// A cancellation cancels even if it is too long, or has an odd prolog.
func TestOddCancellations(t *testing.T) {
	cancel := message(request(2), outage.SignedPreCommand, outage.Order{Kind: outage.Cancellation})
	_, rest, _ := bytes.Cut(cancel, []byte("?>"))
	declared := func(text string) Body { return whole(append([]byte(text), rest...)) }
	for what, b := range map[string]Body{
		"longer than a message may be": {XML: true, Head: append(cancel[:len(cancel):len(cancel)], bytes.Repeat([]byte(" "), MaxHead)...)[:MaxHead], Rest: true},
		"ISO-8859-1":                   declared(`<?xml version="1.0" encoding="ISO-8859-1"?>`),
		"XML 1.1":                      declared(`<?xml version="1.1" encoding="UTF-8"?>`),
		"DOCTYPE":                      declared(`<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE x>`),
		"comment":                      declared(`<?xml version="1.0" encoding="UTF-8"?><!-- a -- b -->`),
	} {
		s := newMotorway(t)
		s.importDevices(t)
		at := t0.Add(time.Hour)
		s.Southbound(t.Context(), whole(message(request(1), outage.SignedPreCommand, outage.Order{Kind: outage.FutureDated, At: at})))
		s.now = t0.Add(time.Minute)
		if p := s.Southbound(t.Context(), b); p.Decision.Reason != outage.ReasonUnreadable && p.Decision.Reason != outage.ReasonTooLarge {
			t.Errorf("%s: %+v", what, p.Decision)
		}
		s.now = at.Add(time.Minute)
		if p := s.Northbound(t.Context(), whole(ad1(1, theHub, at))); p.Decision.Outcome != outage.Forwarded {
			t.Errorf("%s: the cancelled window is open: %+v", what, p.Decision)
		}
	}
}

// lockStore takes the database's write lock until release is called.
func (s *system) lockStore(t *testing.T) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "quell.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		tx.Rollback()
		db.Close()
	}
}

// restart returns the same motorway after a restart.
func (s *system) restart(t *testing.T) *Motorway {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Dir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	m := &Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: s.Motorway.Now, Log: s.Log, Metrics: s.Metrics}
	m.SetRules(s.Rules())
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

// A time of receipt after a restart is later than those that only the journal has.
func TestReceiptsOfTheJournal(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	rules := s.Rules()
	rules.StoreTimeout = 30 * time.Millisecond
	s.SetRules(rules)
	release := s.lockStore(t)
	at := t0.Add(time.Hour)
	s.Southbound(t.Context(), whole(message(request(1), outage.SignedPreCommand, outage.Order{Kind: outage.FutureDated, At: at})))
	if s.st.Ledger.Pending() == 0 {
		t.Fatal("the journal does not have it")
	}
	s.st.Close()
	release()
	rules.StoreTimeout = 10 * time.Second
	s.SetRules(rules)
	s.now = t0.Add(-time.Second)
	m := s.restart(t)
	m.Southbound(t.Context(), whole(message(request(2), outage.SignedPreCommand, outage.Order{Kind: outage.Cancellation})))
	s.now = at.Add(time.Minute)
	if p := m.Northbound(t.Context(), whole(ad1(1, theHub, at))); p.Decision.Outcome != outage.Forwarded {
		t.Errorf("cancelled: %+v", p.Decision)
	}
}

// The retry of a suppressed alert goes forward while the switch is off. That is durable
// before it is forwarded, so a crash leaves no entry that says suppressed.
func TestForwardedWhileOffIsDurable(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	s.Southbound(t.Context(), whole(message(request(1), outage.SignedPreCommand, outage.Order{Kind: outage.OnDemand})))
	if p := s.Northbound(t.Context(), whole(ad1(1, theHub, t0))); p.Decision.Outcome != outage.Suppressed {
		t.Fatal(p.Decision)
	}
	s.setSwitch(t, outage.SwitchOff)
	release := s.lockStore(t)
	defer release()
	if p := s.Northbound(t.Context(), whole(ad1(1, theHub, t0))); p.Decision.Outcome != outage.Forwarded {
		t.Fatal(p.Decision)
	}
	if s.st.Ledger.Pending() == 0 {
		t.Error("nothing durable says that it went forward")
	}
}
