package audit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"quell/internal/audit"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// refused returns how many refused attempts the records of a store count.
func refused(t *testing.T, s *store.Store) (count int64) {
	t.Helper()
	for _, r := range all(t, s) {
		if r.Outcome == audit.Refused {
			count += r.Count
		}
	}
	return count
}

// A store writes refused attempts by itself, those that wait too when it is closed. None is lost
// or counted twice when the database does not answer for a while, and the callers never wait.
func TestRefused(t *testing.T) { storetest.EachEngine(t, testRefused) }

func testRefused(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	one := func(i int) {
		start := time.Now()
		s.Audit.Refused(audit.Record{Who: "mallory", From: fmt.Sprint("192.0.2.", i%60), What: "login", Detail: "wrong password"})
		if took := time.Since(start); took > time.Second {
			t.Errorf("a caller waited for %s", took)
		}
	}
	one(0)
	storetest.Eventually(t, "the first attempt is recorded", func() bool { return refused(t, s) == 1 })
	release := storetest.HoldWriteLock(t, dir)
	for i := range 500 {
		one(i)
	}
	storetest.Eventually(t, "the store does not answer", func() bool { return s.DB.Trouble() != nil })
	if _, waiting := s.Audit.RefusedCount(); waiting != 500 {
		t.Errorf("%d attempts wait", waiting)
	}
	release()
	storetest.Eventually(t, "the first of each origin is recorded", func() bool { return len(all(t, s)) > 50 })
	if list := all(t, s); list[len(list)-1].Count > 500 {
		t.Error(list[len(list)-1])
	}
	s.Close()
	s = storetest.Open(t, dir)
	if n := refused(t, s); n != 501 {
		t.Errorf("%d attempts are recorded, of 501", n)
	}
	if v := verify(t, s, audit.Head{}); v.Head.No > 2*52 {
		t.Errorf("%+v", v)
	}
}

// Write waits for the store no longer than its context says.
func TestWriteWhileAway(t *testing.T) { storetest.EachEngine(t, testWriteWhileAway) }

func testWriteWhileAway(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	free := storetest.HoldWriter(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := s.Audit.Write(ctx, audit.Record{What: "look-up", Outcome: audit.Done}); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	free()
}
