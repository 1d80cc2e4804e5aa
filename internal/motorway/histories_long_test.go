//go:build !race

package motorway

import (
	"testing"
	"testing/synctest"
)

// TestHistories plays requests of every kind and form, answers, failures, retries, alerts,
// imports, requests of strangers, changes of the switch, reports, housekeeping, restarts, steps of the clock, and
// times in which the store does not answer, in random order. Each decision must be that of a
// naive model that forgets no request, and the log and its corrections must agree. So none
// of these, at any moment, makes a cancelled, replaced or refused request suppress an alert.
//
// TestHistoriesWithoutStore goes the same way under the race detector.
func TestHistories(t *testing.T) {
	var sum tally
	for range 200 {
		synctest.Test(t, func(t *testing.T) { sum.add(playHistory(t, 80, "", true)) }) // waiting takes no time
	}
	t.Logf("%+v", sum)
	if sum.suppressed < 300 || sum.corrected < 30 || sum.deleted < 30 || sum.away < 1000 {
		t.Errorf("the histories say little: %+v", sum)
	}
}
