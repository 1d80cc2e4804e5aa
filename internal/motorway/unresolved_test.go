package motorway

import (
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// An 11.3 of another supplier has no effect if nobody knew, when it came, who supplies its meter: it is
// found out when the journal is played. It opens no window and closes none, whatever it asks
// for, whether it can be read or not, and whatever answer it gets.
func TestStrangerWhileInventoryIsAway(t *testing.T) {
	s := newMotorway(t)
	other := theMeter + 16
	s.importFiles(t, "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,import_supplier\n"+
		theMeter.String()+",ESME,SMETS2,Landis+Gyr,E470,"+theHub.String()+",,"+supplier.String()+"\n"+
		other.String()+",ESME,SMETS2,Landis+Gyr,E470,"+(theHub+1).String()+",,"+supplier.String()+"\n",
		theMeter.String()+"\n"+other.String())
	rules := s.Rules()
	slow := func(timeout time.Duration) {
		rules.StoreTimeout = timeout
		s.SetRules(rules)
	}
	n := uint64(0)
	send := func(by, meter outage.DeviceID, form outage.Form, order outage.Order, cut int, d Delivery) outage.Reason {
		n++
		s.now = s.now.Add(time.Second)
		text := message(outage.RequestID{Originator: by, Target: meter, Counter: n}, form, order)
		p := s.Southbound(t.Context(), whole(text[:len(text)-cut]))
		s.Answered(t.Context(), &p, d, nil)
		return p.Decision.Reason
	}
	// The supplier's window is pending when the strangers' requests come, and the other meter has none.
	begins := t0.Add(time.Hour)
	if got := send(supplier, theMeter, outage.SignedPreCommand, outage.Order{Kind: outage.FutureDated, At: begins}, 0, Delivered); got != outage.ReasonTracked {
		t.Fatal(got)
	}
	for _, meter := range []outage.DeviceID{theMeter, other} {
		for _, form := range []outage.Form{outage.ServiceRequest, outage.SignedPreCommand} {
			for _, order := range []outage.Order{{Kind: outage.OnDemand}, {Kind: outage.FutureDated, At: begins}, {Kind: outage.Cancellation}} {
				for _, d := range []Delivery{InDoubt, Delivered, Refused} {
					for _, cut := range []int{0, 20} {
						slow(time.Nanosecond)
						got := send(secondSupplier, meter, form, order, cut, d)
						slow(10 * time.Second)
						if want := map[int]outage.Reason{0: outage.ReasonStoreUnavailable, 20: outage.ReasonUnreadable}[cut]; got != want {
							t.Fatalf("a stranger's request is %s, want %s", got, want)
						}
					}
				}
			}
		}
	}
	storetest.Eventually(t, "played", func() bool { return s.st.Ledger.Pending() == 0 })
	s.now = begins.Add(5 * time.Minute)
	for hub, want := range map[outage.DeviceID]outage.Outcome{theHub: outage.Suppressed, theHub + 1: outage.Forwarded} {
		n++
		if p := s.Northbound(t.Context(), whole(ad1(n, hub, s.now.Add(-time.Minute)))); p.Decision.Outcome != want {
			t.Errorf("the alert of %s: %+v, want %s", hub, p.Decision, want)
		}
	}
	for _, meter := range []outage.DeviceID{theMeter, other} {
		found, err := s.st.Windows.Untracked(t.Context(), windows.Filter{ESME: meter}, 100)
		if err != nil {
			t.Fatal(err)
		}
		says := 0
		for _, u := range found {
			if u.Reason == outage.ReasonOtherSupplier {
				says++
			}
		}
		if want := 2 * 3 * 3 * 2; says != want {
			t.Errorf("of %d requests for %s it is said that they were of another supplier, want %d", says, meter, want)
		}
	}
}
