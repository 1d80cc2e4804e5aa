package audit

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The first attempt is due at once, the next record follows after a minute, and has the texts of
// the last attempt. After an hour of quiet the origin is new again.
func TestPauses(t *testing.T) {
	var f refusals
	f.init()
	now := time.Now()
	add := func(detail string) { f.add(Record{From: "192.0.2.1", What: "login", Detail: detail}, now) }
	take := func(want string, next time.Duration) {
		t.Helper()
		list, wait := f.take(now, false)
		have := ""
		for _, r := range list {
			have += fmt.Sprint(r.Detail, " ", r.Count)
		}
		if have != want || wait != next {
			t.Errorf("have %q and %s, want %q and %s", have, wait, want, next)
		}
	}
	add("a")
	take("a 1", 0)
	now = now.Add(10 * time.Second)
	add("b")
	add("c")
	take("", 50*time.Second)
	now = now.Add(50*time.Second - 1)
	take("", 1)
	now = now.Add(1)
	take("c 2", 0)
	add("d")
	take("", 2*time.Minute)
	now = now.Add(2 * time.Minute)
	take("d 1", 0)
	now = now.Add(forgetAfter - 2*time.Minute - 1)
	take("", 0)
	if len(f.sources) != 1 {
		t.Error("forgotten before an hour of quiet")
	}
	now = now.Add(2*time.Minute + 1)
	take("", 0)
	if len(f.sources) != 0 {
		t.Error("not forgotten after an hour of quiet")
	}
	add("e")
	take("e 1", 0)
}

// Texts of strangers are cut, and Refused sets what the caller need not.
func TestRefusedTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(nil, time.Now, nil)
		l.Refused(Record{Who: strings.Repeat("é", 500), From: "192.0.2.1", What: "login", Count: 7, Outcome: Done})
		list, _ := l.refusals.take(time.Now(), false)
		if len(list) != 1 {
			t.Fatal(list)
		}
		r := list[0]
		if r.Who != strings.Repeat("é", 100)+"…" || r.Count != 1 || r.Outcome != Refused || !r.At.Equal(time.Now()) {
			t.Errorf("%+v", r)
		}
	})
}

// Strangers hide nobody who has a name, and nobody's attempts are another's. A host that has a
// network of IPv6 is one stranger.
func TestNobodyHidesAnother(t *testing.T) {
	var f refusals
	f.init()
	now := time.Now()
	for i := range 1000 {
		f.add(Record{From: fmt.Sprintf("192.0.2.%d", i%250), What: fmt.Sprint(i / 250), Outcome: Refused}, now)
		f.add(Record{From: fmt.Sprintf("2001:db8::%x", i), What: "request", Outcome: Refused}, now)
	}
	for range 20 {
		f.add(Record{Who: "alice", From: Socket, What: "switch", Outcome: Refused}, now)
	}
	f.add(Record{Who: "bob", From: Socket, What: "switch", Outcome: Refused}, now)
	f.add(Record{Who: "oidc:carol", From: "2001:db8::5", What: "switch", Outcome: Refused}, now)
	due, _ := f.take(now, false)
	have := map[string]int64{}
	for _, r := range due {
		if r.Who != "" || strings.HasPrefix(r.From, "2001:") {
			have[r.Who] += r.Count
		}
	}
	if want := map[string]int64{"alice": 20, "bob": 1, "oidc:carol": 1, "": 1000}; !maps.Equal(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
	if len(due) > maxSources+4 {
		t.Errorf("%d records", len(due))
	}
}
