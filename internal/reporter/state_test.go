package reporter

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"quell/internal/report"
)

// TestStatus: it says what waits for a remote, with which error, and when the next try is; and what is
// no longer in use.
func TestStatus(t *testing.T) {
	b, dir := newDeliveries(t, 3)
	replaceByFile(t, dir)
	status := func() report.RemoteStatus {
		t.Helper()
		s, err := b.Status(t.Context())
		if err != nil || len(s.Remotes) != 1 || s.Unknown != 0 {
			t.Fatalf("%+v %v", s, err)
		}
		return s.Remotes[0]
	}
	if s := status(); s.Files != 3 || s.Report != 1 || s.Error != "" || !s.NextTry.IsZero() || s.Stream != report.Consolidated || !s.Oldest.Equal(t0) {
		t.Errorf("before a try: %+v", s)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	wake := b.waker("esi")
	go func() {
		b.deliverAll(ctx, b.settings.Load().Remotes[0], wake, func() {})
		close(ended)
	}()
	until := func(what string, ok func(report.RemoteStatus) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !ok(status()); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, status())
			}
		}
	}
	now := time.Now()
	until("a failure", func(s report.RemoteStatus) bool {
		return s.Files == 3 && s.Tries > 0 && strings.Contains(s.Error, "is a file") && s.NextTry.After(now) && s.NextTry.Before(now.Add(2*maxPause))
	})
	os.Remove(dir)
	makeFolder(t, dir)
	signal(wake.asked)
	until("delivered", func(s report.RemoteStatus) bool { return s.Files == 0 && s.Error == "" && s.NextTry.IsZero() })
	stop()
	<-ended
	set := *b.settings.Load()
	set.Remotes = []Remote{{"other", dir, "12"}}
	b.cutNow()
	b.Set(set)
	s, err := b.Status(t.Context())
	if err != nil || len(s.Remotes) != 2 || s.Remotes[0].Remote != "other" || s.Remotes[0].Files != 0 || s.Remotes[1].Remote != "esi" || s.Remotes[1].Stream != "" || s.Remotes[1].Files != 1 {
		t.Errorf("%+v %v", s, err)
	}
}
