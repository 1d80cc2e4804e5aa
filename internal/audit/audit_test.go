package audit_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/audit"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// pages returns Page of a log, with pages of at most n records.
func pages(l *audit.Log, n int) func(context.Context, int64, int) (audit.Page, error) {
	return func(ctx context.Context, after int64, limit int) (audit.Page, error) {
		return l.Page(ctx, after, min(n, limit))
	}
}

func all(t *testing.T, s *store.Store) []audit.Record {
	t.Helper()
	p, err := s.Audit.Page(t.Context(), 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return p.Records
}

func verify(t *testing.T, s *store.Store, noted audit.Head) audit.Verified {
	t.Helper()
	v, err := audit.Verify(t.Context(), pages(s.Audit, 7), noted)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// write writes n records.
func write(t *testing.T, s *store.Store, n int) {
	t.Helper()
	var list []audit.Record
	for i := range n {
		list = append(list, audit.Record{At: storetest.T0.Add(time.Duration(i) * time.Minute), Who: "alice", Role: "operator", From: "192.0.2.1", What: "test", Object: fmt.Sprint(i),
			Outcome: audit.Done, Why: "why,:because", Detail: "detail"})
	}
	if err := s.Audit.Write(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
}

// The hash of a record is the one that the package's comment describes. The values are computed
// here from the texts as they stand in that comment.
func TestHash(t *testing.T) { storetest.EachEngine(t, testHash) }

func testHash(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	err := s.Audit.Write(t.Context(),
		audit.Record{At: time.Date(2026, 3, 1, 10, 5, 0, 250_000_999, time.FixedZone("", 3600)), Who: "zoë", Role: "operator", From: "192.0.2.1", What: "switch", Object: "off", Outcome: audit.Done, Why: "1:2,", Detail: "on"},
		audit.Record{At: time.Date(2026, 3, 1, 10, 5, 0, 0, time.UTC), Who: "a\x00b\xff", What: "look-up", Object: strings.Repeat("x", 5000), Outcome: audit.Refused, Count: 12})
	if err != nil {
		t.Fatal(err)
	}
	first := fmt.Sprintf("%x", sha256.Sum256([]byte("0:,1:1,23:2026-03-01T09:05:00.25Z,4:zoë,8:operator,9:192.0.2.1,6:switch,3:off,4:done,4:1:2,,2:on,1:1,")))
	second := fmt.Sprintf("%x", sha256.Sum256([]byte("64:"+first+",1:2,20:2026-03-01T10:05:00Z,8:a\uFFFDb\uFFFD,0:,0:,7:look-up,4099:"+strings.Repeat("x", 4096)+"…,7:refused,0:,0:,2:12,")))
	list := all(t, s)
	if len(list) != 2 || list[0].Hash != first || list[1].Hash != second {
		t.Fatalf("have %+v, want the hashes %s and %s", list, first, second)
	}
	if v := verify(t, s, audit.Head{No: 1, Hash: first}); v.Head != (audit.Head{No: 2, Hash: second}) || v.Anchor != (audit.Head{}) {
		t.Errorf("%+v", v)
	}
	text, err := json.Marshal(list[0])
	if err != nil || !strings.HasPrefix(string(text), `{"number":1,"at":"2026-03-01T09:05:00.25Z","who":"zoë","role":"operator","from":"192.0.2.1","what":"switch","object":"off","outcome":"done","why":"1:2,","detail":"on","count":1,"hash":"`) {
		t.Errorf("%s %v", text, err)
	}
}

// Every change that makes an event makes a record, with who called, in one transaction.
func TestEvents(t *testing.T) { storetest.EachEngine(t, testEvents) }

func testEvents(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	ctx := audit.WithCaller(t.Context(), "192.0.2.1")
	audit.Identify(ctx, "alice", "operator")
	if err := s.Ledger.FirstSwitch(t.Context(), outage.SwitchOn, "quell", "first", storetest.T0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ledger.SetSwitch(ctx, outage.SwitchShadow, "alice", "CHG1", storetest.T0); err != nil {
		t.Fatal(err)
	}
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	if _, _, err := s.Windows.Close(ctx, windows.Which{All: true}, "alice", "CHG2", storetest.T0, 1); err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, r := range all(t, s) {
		have = append(have, strings.Join([]string{r.Who, r.Role, r.From, r.What, r.Object, string(r.Outcome), r.Why, r.Detail}, "|"))
	}
	want := []string{"quell||quell|switch|on|done|first|", "alice|operator|192.0.2.1|switch|shadow|done|CHG1|on", "alice|operator|192.0.2.1|windows|all|done|CHG2|1"}
	if strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("have %q\nwant %q", have, want)
	}
	verify(t, s, audit.Head{})

	// The same change once more, as after an answer that was lost.
	if _, err := s.Ledger.SetSwitch(ctx, outage.SwitchShadow, "alice", "CHG1", storetest.T0); err != nil || len(all(t, s)) != len(want) {
		t.Errorf("the same change again: %v, %d records", err, len(all(t, s)))
	}

	// What is rolled back leaves neither a record nor a gap.
	broken := errors.New("broken")
	err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return errors.Join(events.Insert(ctx, tx, events.Event{At: storetest.T0, Who: "bob", What: "switch"}), broken)
	})
	if !errors.Is(err, broken) || len(all(t, s)) != len(want) {
		t.Errorf("rolled back: %v, %d records", err, len(all(t, s)))
	}
	write(t, s, 1)
	if v := verify(t, s, audit.Head{}); v.Head.No != int64(len(want)+1) {
		t.Errorf("%+v", v)
	}
}

// Two nodes, or two callers of one, write at once. All records are in one chain.
func TestConcurrent(t *testing.T) { storetest.EachEngine(t, testConcurrent) }

func testConcurrent(t *testing.T) {
	nodes := []*store.Store{storetest.Open(t, t.TempDir())}
	nodes = append(nodes, nodes[0])
	if storetest.OnPostgres(t) {
		nodes = storetest.OpenNodes(t, 2)
	}
	const each, callers = 40, 3
	var wg sync.WaitGroup
	for n, s := range nodes {
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					if err := s.Audit.Write(t.Context(), audit.Record{Who: fmt.Sprint(n, c), What: "test", Object: fmt.Sprint(i), Outcome: audit.Done}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if v := verify(t, nodes[1], audit.Head{}); v.Head.No != int64(each*callers*len(nodes)) {
		t.Errorf("%+v", v)
	}
	next := map[string]int{}
	for _, r := range all(t, nodes[0]) {
		if r.Object != fmt.Sprint(next[r.Who]) {
			t.Fatalf("of %s, %s where %d is due", r.Who, r.Object, next[r.Who])
		}
		next[r.Who]++
	}
}

// triggers switches the triggers of the table off or on.
func triggers(t *testing.T, s *store.Store, on bool) {
	t.Helper()
	switch {
	case storetest.OnPostgres(t) && on:
		storetest.Script(t, s, `ALTER TABLE audit ENABLE TRIGGER USER`)
	case storetest.OnPostgres(t):
		storetest.Script(t, s, `ALTER TABLE audit DISABLE TRIGGER USER`)
	case !on:
		storetest.Script(t, s, `DROP TRIGGER IF EXISTS audit_changed; DROP TRIGGER IF EXISTS audit_deleted`)
	}
}

// The database itself refuses what would change or delete a record.
func TestTriggers(t *testing.T) { storetest.EachEngine(t, testTriggers) }

func testTriggers(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	write(t, s, 3)
	statements := []string{`UPDATE audit SET why = 'x' WHERE no = 2`, `UPDATE audit SET no = 9 WHERE no = 3`, `DELETE FROM audit WHERE no = 1`, `DELETE FROM audit`}
	if storetest.OnPostgres(t) {
		statements = append(statements, `TRUNCATE audit`)
	}
	for _, q := range statements {
		err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error { return tx.Script(ctx, q) })
		if err == nil || !strings.Contains(err.Error(), "audit records") {
			t.Errorf("%s: %v", q, err)
		}
	}
	if v := verify(t, s, audit.Head{}); v.Head.No != 3 {
		t.Errorf("%+v", v)
	}
}

// Whatever single thing is changed in the table, Verify finds it, and names the first record that
// no longer fits.
func TestTampering(t *testing.T) { storetest.EachEngine(t, testTampering) }

func testTampering(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	const n = 40
	write(t, s, n)
	head := verify(t, s, audit.Head{}).Head
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	texts := []string{"who", "role", "origin", "what", "object", "outcome", "why", "detail"}
	fields := append([]string{"at", "count", "hash"}, texts...)
	triggers(t, s, false)
	storetest.Script(t, s, `CREATE TABLE kept_audit AS SELECT * FROM audit; CREATE TABLE kept_chain AS SELECT * FROM audit_chain`)
	for try := range 96 {
		no, other := 1+random.IntN(n), 1+random.IntN(n)
		field := fields[random.IntN(len(fields))]
		first := int64(no)
		var q string
		switch kind := try % 8; kind {
		case 0, 1, 2: // a field
			switch {
			case field == "at" || field == "count":
				q = fmt.Sprintf(`UPDATE audit SET %[1]s = %[1]s + 1 WHERE no = %[2]d`, field, no)
			case field == "hash":
				q = fmt.Sprintf(`UPDATE audit SET hash = '%064x' WHERE no = %d`, random.Uint64(), no)
			case random.IntN(2) == 0:
				q = fmt.Sprintf(`UPDATE audit SET %[1]s = %[1]s || 'x' WHERE no = %[2]d`, field, no)
			default:
				q = fmt.Sprintf(`UPDATE audit SET %[1]s = substr(%[1]s, 2) WHERE no = %[2]d`, field, no)
			}
		case 3: // a row
			q = fmt.Sprintf(`DELETE FROM audit WHERE no = %d`, no)
		case 4: // a pair
			if no == other {
				continue
			}
			first = int64(min(no, other))
			q = fmt.Sprintf(`UPDATE audit SET no = -1 WHERE no = %[1]d; UPDATE audit SET no = %[1]d WHERE no = %[2]d; UPDATE audit SET no = %[2]d WHERE no = -1`, no, other)
		case 5: // what one field has moves into the next
			i := random.IntN(len(texts) - 1)
			if q = fmt.Sprintf(`UPDATE audit SET %[2]s = %[1]s || %[2]s, %[1]s = '' WHERE no = %[3]d`, texts[i], texts[i+1], no); random.IntN(2) == 0 {
				q = fmt.Sprintf(`UPDATE audit SET why = 'why', detail = 'because,:detail' WHERE no = %d`, no) // the same, if what separates texts is all that does
			}
		case 6: // the end is cut off, or another is put there
			if q = fmt.Sprintf(`DELETE FROM audit WHERE no >= %d`, no); random.IntN(2) == 0 {
				first = n + 1
				q = fmt.Sprintf(`INSERT INTO audit SELECT %d, at, who, role, origin, what, object, outcome, why, detail, count, hash FROM audit WHERE no = 1`, n+1)
			}
		case 7: // the beginning is cut off, and the anchor follows, with another hash or the right one
			if no == n {
				continue
			}
			if random.IntN(2) == 0 {
				q = fmt.Sprintf(`UPDATE audit_chain SET no = %[1]d, hash = (SELECT hash FROM audit WHERE no = %[1]d) WHERE which = 'anchor'; DELETE FROM audit WHERE no <= %[1]d`, no)
				break
			}
			first++
			q = fmt.Sprintf(`DELETE FROM audit WHERE no <= %[1]d; UPDATE audit_chain SET no = %[1]d, hash = '%064[2]x' WHERE which = 'anchor'`, no, random.Uint64())
		}
		storetest.Script(t, s, q)
		_, err := audit.Verify(t.Context(), pages(s.Audit, 1+random.IntN(n+5)), audit.Head{})
		var fault *audit.Fault
		if !errors.As(err, &fault) || fault.No != first {
			t.Fatalf("%s: %v, want a fault at %d", q, err, first)
		}
		storetest.Script(t, s, `DELETE FROM audit; INSERT INTO audit SELECT * FROM kept_audit; DELETE FROM audit_chain; INSERT INTO audit_chain SELECT * FROM kept_chain`)
	}
	if v := verify(t, s, head); v.Head != head {
		t.Errorf("%+v", v)
	}

	// The whole chain is computed anew without one record. Only a head that was noted shows that.
	storetest.Script(t, s, `DELETE FROM audit; UPDATE audit_chain SET no = 0, hash = ''`)
	write(t, s, n-1)
	verify(t, s, audit.Head{})
	var fault *audit.Fault
	if _, err := audit.Verify(t.Context(), s.Audit.Page, head); !errors.As(err, &fault) || fault.No != n {
		t.Errorf("a shorter chain: %v", err)
	}
	storetest.Script(t, s, `DELETE FROM audit; UPDATE audit_chain SET no = 0, hash = ''`)
	if err := s.Audit.Write(t.Context(), audit.Record{At: storetest.T0, Who: "mallory", What: "test", Outcome: audit.Done}); err != nil {
		t.Fatal(err)
	}
	write(t, s, n)
	if _, err := audit.Verify(t.Context(), s.Audit.Page, head); !errors.As(err, &fault) || fault.No != n {
		t.Errorf("a chain written anew: %v", err)
	}
}

// Housekeeping deletes old records from the front. The rest verifies, also against heads that were
// noted before; and where one can no longer be compared, Verify says so.
func TestHousekeep(t *testing.T) { storetest.EachEngine(t, testHousekeep) }

func testHousekeep(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	const n, old = 600, 550
	write(t, s, n)
	list := all(t, s)
	noted := func(no int64) audit.Head { return audit.Head{No: no, Hash: list[no-1].Hash} }
	check := func(context.Context, sqldb.Tx) error { return nil }
	deleted, err := s.Audit.Housekeep(t.Context(), storetest.T0.Add(old*time.Minute), check)
	if err != nil || deleted != old {
		t.Fatal(deleted, err)
	}
	v := verify(t, s, noted(n))
	if v.Anchor != noted(old) || v.Head.No != n+3 { // three transactions, each with a record
		t.Errorf("%+v", v)
	}
	verify(t, s, noted(old))
	if _, err := audit.Verify(t.Context(), s.Audit.Page, noted(old-1)); !errors.Is(err, audit.ErrDeleted) {
		t.Errorf("a head that was deleted: %v", err)
	}
	rest := all(t, s)
	if last := rest[len(rest)-1]; rest[0].No != old+1 || last.What != "audit-deleted" || last.Object != noted(old).String() || last.Count != old-500 {
		t.Errorf("first %+v, last %+v", rest[0], last)
	}
	if deleted, err := s.Audit.Housekeep(t.Context(), storetest.T0.Add(old*time.Minute), check); err != nil || deleted != 0 {
		t.Error(deleted, err)
	}
	refused := errors.New("not the leader")
	if _, err := s.Audit.Housekeep(t.Context(), storetest.T0.Add(n*time.Minute), func(context.Context, sqldb.Tx) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	// Housekeeping of the whole store does the same, with the limit for reports.
	if h, err := storetest.MakeLeader(t, s).Housekeep(t.Context(), store.Limits{ReportsBefore: storetest.T0.Add((old + 10) * time.Minute)}); err != nil || h.Audit != 10 {
		t.Errorf("%+v %v", h, err)
	}
	verify(t, s, noted(n))
	var fault *audit.Fault
	triggers(t, s, false)
	storetest.Script(t, s, fmt.Sprintf(`INSERT INTO audit SELECT 1, at, who, role, origin, what, object, outcome, why, detail, count, hash FROM audit WHERE no = %d`, n))
	if _, err := audit.Verify(t.Context(), s.Audit.Page, audit.Head{}); !errors.As(err, &fault) || fault.No != 1 {
		t.Errorf("a record before the anchor: %v", err)
	}
}

// Housekeeping deletes records while they are verified.
func TestVerifyDuringHousekeeping(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	write(t, s, 100)
	n := 0
	v, err := audit.Verify(t.Context(), func(ctx context.Context, after int64, limit int) (audit.Page, error) {
		if n++; n == 3 {
			if _, err := s.Audit.Housekeep(ctx, storetest.T0.Add(50*time.Minute), func(context.Context, sqldb.Tx) error { return nil }); err != nil {
				t.Error(err)
			}
		}
		return s.Audit.Page(ctx, after, 10)
	}, audit.Head{})
	if err != nil || v.Anchor.No != 50 || v.Head.No != 101 {
		t.Errorf("%+v %v", v, err)
	}
}

// Verify of many records takes the memory of a page.
func TestVerifyMany(t *testing.T) { storetest.EachEngine(t, testVerifyMany) }

func testVerifyMany(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	n := 100_000
	if storetest.OnPostgres(t) {
		n = 10_000 // each takes a round trip
	}
	const each = 1000
	for i := range n / each {
		var list []audit.Record
		for j := range each {
			list = append(list, audit.Record{At: storetest.T0, Who: "alice", What: "test", Object: fmt.Sprint(i, j), Outcome: audit.Done, Why: strings.Repeat("x", 100)})
		}
		if err := s.Audit.Write(t.Context(), list...); err != nil {
			t.Fatal(err)
		}
	}
	// What is live when a page was read is what Verify has held on to.
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, calls := live(), uint64(0), 0
	v, err := audit.Verify(t.Context(), func(ctx context.Context, after int64, limit int) (audit.Page, error) {
		if calls++; calls%5 == 0 {
			most = max(most, live())
		}
		return s.Audit.Page(ctx, after, limit)
	}, audit.Head{})
	if err != nil || v.Head.No != int64(n) || calls < n/1000 {
		t.Fatal(v, calls, err)
	}
	if most > before+8<<20 {
		t.Errorf("%d bytes were live before, and %d while it verified", before, most)
	}
}

func TestParseHead(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	if h, err := audit.ParseHead("12:" + strings.ToUpper(hash)); err != nil || h.String() != "12:"+hash {
		t.Error(h, err)
	}
	for _, text := range []string{"", "12", "12:", ":" + hash, "0:" + hash, "-1:" + hash, "12:" + hash + "ab", "12:" + hash[2:], "x:" + hash, "12:" + strings.Repeat("xy", 32)} {
		if h, err := audit.ParseHead(text); err == nil {
			t.Errorf("%q is %v", text, h)
		}
	}
}
