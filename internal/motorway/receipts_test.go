package motorway

import (
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/store"
)

// A cancellation cancels even if the clock was set back just before it. While the right
// time is not known, no alert is suppressed.
func TestClockStepsBack(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	at := t0.Add(time.Hour)
	send := func(counter uint64, o outage.Order) {
		s.Southbound(t.Context(), whole(message(request(counter), outage.SignedPreCommand, o)))
	}
	s.now = at.Add(-time.Microsecond)
	send(1, outage.Order{Kind: outage.FutureDated, At: at})
	s.now = at.Add(-time.Second)
	send(2, outage.Order{Kind: outage.Cancellation})
	s.now = at
	if p := s.Northbound(t.Context(), whole(ad1(1, theHub, at))); p.Decision.Reason != outage.ReasonWindowWithdrawn {
		t.Errorf("cancelled: %+v", p.Decision)
	}
	send(3, outage.Order{Kind: outage.OnDemand})
	if p := s.Northbound(t.Context(), whole(ad1(2, theHub, at))); p.Decision.Outcome != outage.Suppressed {
		t.Errorf("open: %+v", p.Decision)
	}
	s.now = at.Add(-time.Minute) // as far as clocks may differ
	if p := s.Northbound(t.Context(), whole(ad1(3, theHub, at))); p.Decision.Outcome != outage.Suppressed {
		t.Errorf("a little back: %+v", p.Decision)
	}
	s.now = at.Add(-time.Minute - time.Microsecond)
	p := s.Northbound(t.Context(), whole(ad1(4, theHub, at)))
	if p.Decision.Outcome != outage.Forwarded || p.Decision.Reason != outage.ReasonClockUnsure {
		t.Errorf("too far back: %+v", p.Decision)
	}
	s.now = at
	if p := s.Northbound(t.Context(), whole(ad1(4, theHub, at))); p.Decision.Outcome != outage.Forwarded {
		t.Errorf("its retry: %+v", p.Decision)
	}
}

// Times of receipt after a restart are later than those before it.
func TestReceiptsAcrossRestart(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	at := t0.Add(time.Hour)
	s.now = at.Add(-time.Microsecond)
	s.Southbound(t.Context(), whole(message(request(1), outage.SignedPreCommand, outage.Order{Kind: outage.FutureDated, At: at})))
	s.st.Close()
	st, err := store.Open(t.Context(), store.Options{Dir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	m := &Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: func() time.Time { return t0 }, Log: s.Log, Metrics: s.Metrics}
	m.SetRules(s.Rules())
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := m.Southbound(t.Context(), whole(duis.AppendActivateFirmware(nil, request(2), outage.Order{Kind: outage.OnDemand}, [32]byte{})))
	if p.Received.Before(at.Add(-time.Microsecond)) {
		t.Errorf("received at %s", p.Received)
	}
	m = &Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: func() time.Time { return t0.Add(-time.Hour) }, Log: s.Log, Metrics: s.Metrics}
	m.SetRules(s.Rules())
	if err := m.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := m.Southbound(t.Context(), whole(nil)); !p.Received.Equal(t0.Add(-time.Hour)) {
		t.Errorf("after a clock that was far ahead: received at %s", p.Received)
	}
}
