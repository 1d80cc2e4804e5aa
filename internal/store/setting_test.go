package store

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

func switchEvents(t *testing.T, s *Store) (list []Event) {
	t.Helper()
	all, err := s.Events(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.What == "switch" {
			list = append(list, e)
		}
	}
	return list
}

// Off is in force on the node while the store is away, whatever that says, and comes to
// be in the store: after a restart too, and once.
func TestSwitchOffWithoutStore(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	if _, err := s.SetSwitch(t.Context(), outage.SwitchOn, "alice", "a start", t0); err != nil {
		t.Fatal(err)
	}
	release := holdWriteLock(t, dir)
	old, err := s.SetSwitch(t.Context(), outage.SwitchOff, "bob", "an emergency", t0.Add(time.Hour))
	if !errors.Is(err, ErrHereOnly) || old != outage.SwitchOn || s.Switch() != outage.SwitchOff {
		t.Fatalf("it was %s and is %s: %v", old, s.Switch(), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pending"))
	if err != nil || !strings.Contains(string(text), "an emergency") {
		t.Fatalf("the journal is %q %v", text, err)
	}
	time.Sleep(2 * followEvery) // the database can be read, and says on
	if s.Switch() != outage.SwitchOff {
		t.Error("it is on again")
	}
	release()
	expect := func(what string, s *Store) {
		t.Helper()
		eventually(t, what+": the store is told", func() bool {
			sw, err := readSwitch(t.Context(), s.reader)
			return err == nil && sw == outage.SwitchOff && s.Pending() == 0
		})
		n := 0
		for _, e := range switchEvents(t, s) {
			if e.Who == "bob" {
				n++
			}
		}
		if n != 1 || s.Switch() != outage.SwitchOff {
			t.Errorf("%s: %d events, the switch is %s", what, n, s.Switch())
		}
	}
	expect("the store is back", s)
	s.Close()

	fresh := t.TempDir()
	s = openIn(t, fresh)
	if _, err := s.SetSwitch(t.Context(), outage.SwitchOn, "alice", "a start", t0); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and played twice
		s.Close()
		if err := os.WriteFile(filepath.Join(fresh, "pending"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if s = openIn(t, fresh); s.Switch() != outage.SwitchOff {
			t.Error("after a restart it is on")
		}
		expect("a restart", s)
	}
	// It can be turned on again, and stays so.
	if _, err := s.SetSwitch(t.Context(), outage.SwitchOn, "alice", "it is over", t0.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * followEvery)
	if s.Switch() != outage.SwitchOn {
		t.Error("it is off again")
	}
}

// A later change of the switch on another node counts.
func TestSwitchOffThenTurnedElsewhere(t *testing.T) {
	list := openNodes(t, 1)
	if _, err := list[0].SetSwitch(t.Context(), outage.SwitchShadow, "alice", "it is over", t0.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	off := lineOf(t, record{Switch: &Event{At: t0, Who: "bob", What: "switch", New: string(outage.SwitchOff), Why: "an emergency"}})
	if err := os.WriteFile(filepath.Join(dir, "pending"), off, 0o600); err != nil {
		t.Fatal(err)
	}
	var log syncBuffer
	s := openIn(t, dir, func(o *Options) {
		o.Database, o.Log = list[0].opts.Database, slog.New(slog.NewTextHandler(&log, nil))
	})
	eventually(t, "it follows", func() bool { return s.Pending() == 0 && s.Switch() == outage.SwitchShadow })
	time.Sleep(2 * followEvery)
	if list[0].Switch() != outage.SwitchShadow || len(switchEvents(t, s)) != 1 || !strings.Contains(log.String(), "that counts") {
		t.Errorf("the switch is %s, %v\n%s", list[0].Switch(), switchEvents(t, s), log.String())
	}
}
