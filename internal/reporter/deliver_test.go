package reporter

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"quell/internal/outage"
	"quell/internal/remote"
	"quell/internal/remote/remotetest"
	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/store/storetest"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMain(m *testing.M) {
	if err := remote.Configure(remote.NoConfig); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// newDeliveries returns a bench with one remote, which is an empty folder, and some reports.
func newDeliveries(t testing.TB, reports int, change ...func(*Settings)) (b *bench, dir string) {
	dir = filepath.Join(t.TempDir(), "in")
	makeFolder(t, dir)
	b = newBench(t, append([]func(*Settings){func(s *Settings) {
		s.Remotes = []Remote{{"esi", dir, report.Consolidated}}
	}}, change...)...)
	b.setSwitch(outage.SwitchOn, "quell", "first")
	for n := range reports {
		b.setTime(t0.Add(time.Duration(n) * time.Minute))
		b.cutNow()
	}
	return b, dir
}

func makeFolder(t testing.TB, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// replaceByFile replaces an empty folder by a file.
func replaceByFile(t testing.TB, dir string) {
	t.Helper()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) delivery(no int64) report.Delivery {
	b.Helper()
	r, err := b.store.Reports.Report(b.Context(), no)
	if err != nil {
		b.Fatal(err)
	}
	return r.Files[0].Deliveries[0]
}

// Waiting files are delivered in order. After a failure the remote is not tried with the next
// file, and nothing is skipped.
func TestOldestFirst(t *testing.T) {
	b, dir := newDeliveries(t, 4)
	replaceByFile(t, dir)
	to := b.settings.Load().Remotes[0]
	for try := 1; try <= 2; try++ {
		if n, err := b.deliverWaiting(t.Context(), to, true); n != 0 || err == nil {
			t.Fatalf("%d delivered, %v", n, err)
		}
		if d := b.delivery(1); d.Tries != try || d.State != report.StateWritten || !strings.Contains(d.Error, "is a file") {
			t.Errorf("the first delivery is %+v", d)
		}
		if d := b.delivery(2); d.Tries != 0 {
			t.Errorf("the second was tried: %+v", d)
		}
	}
	if n := testutil.ToFloat64(b.Metrics.Failures.WithLabelValues("esi")); n != 2 {
		t.Errorf("%v failures counted", n)
	}
	os.Remove(dir)
	makeFolder(t, dir)
	var there []int
	b.Reached = func(step string) {
		if step == remote.Confirmed.String() {
			files, _ := os.ReadDir(dir)
			there = append(there, len(files))
		}
	}
	if n, err := b.deliverWaiting(t.Context(), to, true); n != 4 || err != nil {
		t.Fatalf("%d delivered, %v", n, err)
	}
	if !slices.Equal(there, []int{1, 2, 3, 4}) {
		t.Errorf("files at the remote at each confirmation: %v", there)
	}
	for no := int64(1); no <= 4; no++ {
		if d := b.delivery(no); d.State != report.StateConfirmed || d.Error != "" {
			t.Errorf("report %d: %+v", no, d)
		}
	}
	if _, err := verifyDir(dir); err != nil {
		t.Error(err)
	}
}

// If another file has the name, that is an error of the delivery, and other files are delivered.
// A file that was damaged or lost in the data folder is written again.
func TestTakenDelaysNoOther(t *testing.T) {
	b, dir := newDeliveries(t, 3)
	names := b.files()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, names[0]), []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, names[1]), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.Dir, names[2])); err != nil {
		t.Fatal(err)
	}
	n, err := b.deliverWaiting(t.Context(), b.settings.Load().Remotes[0], true)
	if n != 2 || err == nil {
		t.Fatalf("%d delivered, %v", n, err)
	}
	if d := b.delivery(1); !strings.Contains(d.Error, remote.ErrTaken.Error()) || d.State == report.StateConfirmed {
		t.Errorf("%+v", d)
	}
	for no := int64(2); no <= 3; no++ {
		if d := b.delivery(no); d.State != report.StateConfirmed {
			t.Errorf("report %d: %+v", no, d)
		}
	}
	if _, err := reportfile.Verify([]string{filepath.Join(dir, names[1]), filepath.Join(dir, names[2])}, nil); err != nil {
		t.Error(err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, names[0])); string(text) != "another" {
		t.Error("the other file was overwritten")
	}
}

// A remote that hangs delays neither another remote nor the end of Run.
func TestRemotesAreIndependent(t *testing.T) {
	over, reached := make(chan struct{}), make(chan struct{})
	var once sync.Once
	url := remotetest.WebDAV(t, t.TempDir(), func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			once.Do(func() { close(reached) })
			<-over
		})
	})
	t.Cleanup(func() { close(over) })
	b, _ := newDeliveries(t, 0, func(s *Settings) {
		s.Remotes = append([]Remote{{"hangs", remotetest.WebDAVTarget(url, "x"), report.Consolidated}}, s.Remotes...)
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	b.cutNow()
	<-reached
	for no := int64(1); no <= 3; no++ {
		storetest.Eventually(t, "one has the file, and the other is tried", func() bool {
			r, err := b.store.Reports.Report(t.Context(), no)
			if err != nil {
				t.Fatal(err)
			}
			d := r.Files[0].Deliveries
			return d[0].State == report.StateConfirmed && d[1].State == report.StateWritten
		})
		b.cutNow()
	}
	cancel()
	<-done
}

// Tries go on without end, with random pauses that grow up to a bound. If somebody asks, there is
// a try at once.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, dir := newDeliveries(t, 1)
		replaceByFile(t, dir)
		var tries []time.Time
		b.Reporter.Now = func() time.Time { // is called when a try has failed
			tries = append(tries, time.Now())
			return t0
		}
		ctx, cancel := context.WithCancel(t.Context())
		go b.deliverAll(ctx, b.settings.Load().Remotes[0], b.waker("esi"), func() {})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		var least, most time.Duration = time.Hour, 0
		for i, pause := 1, firstPause; i < len(tries); i++ {
			got := tries[i].Sub(tries[i-1])
			if got < pause/2 || got > pause*3/2 {
				t.Errorf("pause %d is %v, want %v, or up to a half more or less", i, got, pause)
			}
			if pause == maxPause {
				least, most = min(least, got), max(most, got)
			}
			pause = min(2*pause, maxPause)
		}
		if len(tries) < 15 || most-least < time.Second {
			t.Errorf("%d tries, the longest pauses are from %v to %v", len(tries), least, most)
		}
		n := len(tries)
		b.wake() // there are new files, but the pause goes on
		synctest.Wait()
		if len(tries) != n {
			t.Error("new files end the pause after a failure")
		}
		if err := b.Send(ctx, 1, "esi"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(tries) < n+1 {
			t.Error("no try when asked")
		}
		cancel()
		synctest.Wait()
		b.store.Close()
	})
}

// It is logged once that a remote is late, and once that it no longer is.
func TestAlarm(t *testing.T) {
	b, dir := newDeliveries(t, 2)
	var log bytes.Buffer
	b.Reporter.Log = slog.New(slog.NewTextHandler(&log, nil))
	late := map[string]bool{}
	alarmAt := func(at time.Time) (age, isLate float64, lines string) {
		t.Helper()
		b.setTime(at)
		log.Reset()
		w, err := b.store.Reports.Waiting(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.alarm(w, late)
		return testutil.ToFloat64(b.Metrics.Oldest.WithLabelValues("esi")), testutil.ToFloat64(b.Metrics.Late.WithLabelValues("esi")), log.String()
	}
	if age, isLate, lines := alarmAt(t0.Add(time.Hour - time.Second)); age != 3599 || isLate != 0 || lines != "" {
		t.Errorf("a second before the alarm: %v %v %s", age, isLate, lines)
	}
	if _, isLate, lines := alarmAt(t0.Add(time.Hour)); isLate != 1 || !strings.Contains(lines, "level=ERROR") || !strings.Contains(lines, "remote=esi files=2 oldest_report=1") {
		t.Errorf("after an hour: %v %s", isLate, lines)
	}
	if list := b.Conditions(); len(list) != 1 || !strings.Contains(list[0], "remote esi has not confirmed 2 report files; the oldest is of report 1, cut at ") {
		t.Errorf("after an hour: %v", list)
	}
	if _, isLate, lines := alarmAt(t0.Add(2 * time.Hour)); isLate != 1 || lines != "" {
		t.Errorf("logged again: %v %s", isLate, lines)
	}
	if _, err := b.deliverWaiting(t.Context(), Remote{"esi", dir, report.Consolidated}, true); err != nil {
		t.Fatal(err)
	}
	if age, isLate, lines := alarmAt(t0.Add(3 * time.Hour)); age != 0 || isLate != 0 || !strings.Contains(lines, "delivered again") {
		t.Errorf("after the delivery: %v %v %s", age, isLate, lines)
	}
	if list := b.Conditions(); len(list) != 0 {
		t.Errorf("after the delivery: %v", list)
	}
	// A report that was cut while the clock was a year ahead is late by the present clock.
	b.setTime(t0.AddDate(1, 0, 0))
	b.cutNow()
	if age, isLate, _ := alarmAt(t0.Add(5 * time.Hour)); age != 0 || isLate != 0 {
		t.Errorf("cut ahead: %v %v", age, isLate)
	}
	if age, isLate, lines := alarmAt(t0.Add(6 * time.Hour)); age != 3600 || isLate != 1 || !strings.Contains(lines, "level=ERROR") {
		t.Errorf("cut ahead, an hour later: %v %v %s", age, isLate, lines)
	}
}

// If a remote gets another name in the configuration, or is taken out of it, somebody must know that files still wait
// for it.
func TestAlarmOfRemoteThatIsGone(t *testing.T) {
	b, dir := newDeliveries(t, 2)
	var log bytes.Buffer
	b.Reporter.Log = slog.New(slog.NewTextHandler(&log, nil))
	set := *b.settings.Load()
	set.Remotes = []Remote{{"new-name", dir, report.Consolidated}}
	b.Set(set)
	late := map[string]bool{}
	for range 2 {
		w, err := b.store.Reports.Waiting(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.alarm(w, late)
	}
	if text := log.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "remote=esi files=2 oldest_report=1") {
		t.Errorf("the log has %q", text)
	}
}

// Files are kept for as long as the settings say, and as long as a remote waits for them. The
// temporary files of an interrupted write are removed.
func TestRemoveOldFiles(t *testing.T) {
	b, dir := newDeliveries(t, 3, func(s *Settings) { s.Keep = 24 * time.Hour })
	names := b.files()
	left := filepath.Join(b.Dir, names[2]+".tmp")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	kept := func(at time.Time) (kept []bool) {
		t.Helper()
		b.setTime(at)
		if err := b.removeOldOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			_, err := os.Stat(filepath.Join(b.Dir, n))
			kept = append(kept, err == nil)
		}
		return kept
	}
	if got := kept(t0.Add(48 * time.Hour)); !slices.Equal(got, []bool{true, true, true}) {
		t.Errorf("while the remote waits: %v", got)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file: %v", err)
	}
	if _, err := b.deliverWaiting(t.Context(), Remote{"esi", dir, report.Consolidated}, true); err != nil {
		t.Fatal(err)
	}
	if got := kept(t0.Add(24*time.Hour + time.Minute)); !slices.Equal(got, []bool{false, true, true}) {
		t.Errorf("after a day and a minute: %v", got)
	}
	if got := kept(t0.Add(48 * time.Hour)); !slices.Equal(got, []bool{false, false, false}) {
		t.Errorf("after two days: %v", got)
	}
}

// Reports are cut and delivered again when the folder can be used again.
func TestRunRecovers(t *testing.T) {
	b, _ := newDeliveries(t, 0)
	if err := os.WriteFile(b.Dir, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	b.setTime(t0.Add(time.Hour))
	storetest.Eventually(t, "a report is cut", func() bool { r, err := b.store.Reports.Last(t.Context()); return err == nil && r.No == 1 })
	os.Remove(b.Dir)
	storetest.Eventually(t, "the report is delivered", func() bool { return b.delivery(1).State == report.StateConfirmed })
	cancel()
	<-done
	if r, _ := b.store.Reports.Last(t.Context()); r.No != 1 {
		t.Errorf("%d reports", r.No)
	}
}

// However many files can never be delivered, those after them are delivered.
func TestTakenByThePage(t *testing.T) {
	was := undeliveredPage
	undeliveredPage = 2
	defer func() { undeliveredPage = was }()
	b, dir := newDeliveries(t, 6)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range b.files()[:4] {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := b.deliverWaiting(t.Context(), b.settings.Load().Remotes[0], true); n != 2 || !errors.Is(err, remote.ErrTaken) {
		t.Errorf("%d delivered, %v", n, err)
	}
	for no := int64(1); no <= 6; no++ {
		if d := b.delivery(no); (d.State == report.StateConfirmed) != (no > 4) || d.Tries != 1 {
			t.Errorf("report %d: %+v", no, d)
		}
	}
}

// A remote whose filter and target were changed under one name gets files of the stream that it
// takes now. Nothing waits for the files of the other stream.
func TestDeliveryIsOfTheRemotesStream(t *testing.T) {
	b, dir := newDeliveries(t, 0, func(s *Settings) { s.PerDistributor = true })
	b.activate(1)
	b.alert(1, "a", "1200023305967") // of distributor 12
	b.cutNow()
	set := *b.settings.Load()
	other := t.TempDir()
	set.Remotes = []Remote{{"esi", other, "12"}}
	b.Set(set)
	b.alert(1, "b", "1200023305967")
	b.cutNow()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	storetest.Eventually(t, "the second report is delivered", func() bool {
		files, _ := os.ReadDir(other)
		return len(files) > 0 && !strings.HasSuffix(files[0].Name(), ".part")
	})
	storetest.Eventually(t, "nothing waits", func() bool {
		waiting, err := b.store.Reports.Waiting(t.Context())
		return err == nil && len(waiting) == 0
	})
	cancel()
	<-done
	files, err := os.ReadDir(other)
	if err != nil || len(files) != 1 || !strings.Contains(files[0].Name(), "_00000002_") {
		t.Errorf("in the new folder: %v %v", files, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("in the old folder: %v %v", files, err)
	}
}

// A report that is sent again to one remote is not sent to another.
func TestSendToOne(t *testing.T) {
	b, dir := newDeliveries(t, 1, func(s *Settings) {
		s.Remotes = append(s.Remotes, Remote{"other", s.Remotes[0].Target, report.Consolidated})
	})
	waits := func() (names []string) {
		t.Helper()
		for _, to := range b.settings.Load().Remotes {
			list, err := b.Register.Undelivered(t.Context(), to.Name, to.Stream, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) > 0 {
				names = append(names, to.Name)
			}
		}
		return names
	}
	deliver := func() {
		t.Helper()
		for _, to := range b.settings.Load().Remotes {
			if _, err := b.deliverWaiting(t.Context(), to, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	deliver()
	for _, c := range []struct {
		name string
		want []string
	}{{"other", []string{"other"}}, {"esi", []string{"esi"}}, {"", []string{"esi", "other"}}} {
		if err := b.Send(t.Context(), 1, c.name); err != nil {
			t.Fatal(err)
		}
		if got := waits(); !slices.Equal(got, c.want) {
			t.Errorf("sent to %q, it waits for %q", c.name, got)
		}
		deliver()
		if got := waits(); len(got) != 0 {
			t.Errorf("it still waits for %q", got)
		}
	}
	if err := b.Send(t.Context(), 1, "nobody"); !errors.Is(err, ErrNoRemote) || len(waits()) != 0 {
		t.Errorf("sent to nobody: %v, it waits for %q", err, waits())
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the folder has %v %v", files, err)
	}
}

// A file that cannot get its name is not written: the report says so, and waits until it can.
func TestNameIsTaken(t *testing.T) {
	b, _ := newDeliveries(t, 0)
	var inTheWay []string
	b.Reached = func(step string) {
		if step != "rendered" {
			return
		}
		files, err := filepath.Glob(filepath.Join(b.Dir, "*.tmp"))
		if err != nil || len(files) != 1 {
			t.Errorf("%v %v", files, err)
		}
		for _, f := range files { // a folder with something in it cannot be replaced
			path := strings.TrimSuffix(f, ".tmp")
			inTheWay = append(inTheWay, path)
			if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
				t.Error(err)
			}
		}
		b.Reached = nil
	}
	if _, err := b.Cut(t.Context()); err == nil {
		t.Error("the report counts as written")
	}
	if d := b.delivery(1); d.State != report.StateCut {
		t.Errorf("the delivery is %+v", d)
	}
	if len(inTheWay) != 1 {
		t.Fatalf("in the way is %q", inTheWay)
	}
	if err := os.RemoveAll(inTheWay[0]); err != nil {
		t.Fatal(err)
	}
	b.due()
	if d := b.delivery(1); d.State != report.StateWritten {
		t.Errorf("the delivery is %+v", d)
	}
	if _, err := reportfile.Verify(inTheWay, nil); err != nil {
		t.Error(err)
	}
}

// What is temporary may be the file of a report that is being written: tidy waits for that.
func TestTidyWaits(t *testing.T) {
	b, _ := newDeliveries(t, 0)
	tidied := make(chan error, 1)
	b.Reached = func(step string) {
		if step == "rendered" {
			go func() { tidied <- b.removeOldOnce(t.Context()) }()
			select {
			case err := <-tidied:
				t.Errorf("it has tidied while a report is being written: %v", err)
				tidied <- err
			case <-time.After(300 * time.Millisecond):
			}
		}
	}
	if _, err := b.Cut(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-tidied; err != nil {
		t.Error(err)
	}
	if _, err := reportfile.Verify(b.paths(), nil); err != nil {
		t.Error(err)
	}
}
