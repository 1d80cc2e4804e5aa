package release

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"quell/internal/cluster"
	"quell/internal/events"
	"quell/internal/held"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/passed"
	"quell/internal/sqldb"
)

// State is how far a release is.
type State string

const (
	Asked   State = "asked"
	Sending State = "sending"
	Done    State = "released"
	Failed  State = "failed"
)

// Release is one alert that somebody asked to deliver late. Its JSON is part of the API.
type Release struct {
	Entry   int64     `json:"entry"` // its sequence number in the log
	AlertID string    `json:"alert_id"`
	State   State     `json:"state"`
	AskedAt time.Time `json:"asked_at"`
	Who     string    `json:"who"`
	Why     string    `json:"why"`
	Tries   int       `json:"tries"`
	Error   string    `json:"error,omitempty"`   // of the last try
	EndedAt time.Time `json:"ended_at,omitzero"` // when it was delivered, or failed

	id    int64
	note  passed.Note // of the alert
	token string
	claim string
	due   time.Time
}

// Text says in words how far a release is.
func (r *Release) Text() string {
	text := fmt.Sprintf("Entry %d: %s asked on %s for the alert to be delivered after all (%s).", r.Entry, r.Who, stamp(r.AskedAt), r.Why)
	switch {
	case r.State == Done:
		return text + fmt.Sprintf(" It was delivered at %s.", stamp(r.EndedAt))
	case r.State == Failed:
		return text + fmt.Sprintf(" That failed at %s: %s.", stamp(r.EndedAt), r.Error)
	case r.Error != "":
		return text + fmt.Sprintf(" It is not delivered yet; tries: %d, last error: %s.", r.Tries, r.Error)
	}
	return text + " It is not delivered yet."
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

// What an alert cannot be released for.
var (
	ErrNoEntry = errors.New("there is no such entry in the log")
	ErrRefused = errors.New("it cannot be released")
	// ErrNotKept is an ErrRefused of an alert that was not delivered.
	ErrNotKept = fmt.Errorf("%w: its message was not kept", ErrRefused)
)

// refuse returns an ErrRefused with a reason.
func refuse(format string, args ...any) error {
	return sqldb.Unchanged(fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...))
}

// Options are what New needs to know.
type Options struct {
	DB      *sqldb.DB
	Ledger  *ledger.Ledger
	Cluster *cluster.Cluster
	Log     *slog.Logger
	// Count counts an entry that is released, before its outcome is written; see internal/flow.
	Count func(ctx context.Context, tx sqldb.Tx, seq int64) error
	// Reached, for tests of crashes, is called at each step of a delivery; may be nil.
	Reached func(step string)
}

// Releases are the releases of a store. Its methods may be called from any goroutine.
type Releases struct {
	Options
	process string        // names this process in claims
	wake    chan struct{} // holds a token when something was asked for

	delivered atomic.Int64
	waiting   atomic.Int64
	oldest    atomic.Pointer[Release] // of those that wait on the leader; nil if none does
}

// New returns the releases of a store.
func New(o Options) *Releases {
	return &Releases{Options: o, process: strconv.FormatUint(rand.Uint64(), 36), wake: make(chan struct{}, 1)}
}

// Delivered returns how many alerts this node has delivered since the start.
func (r *Releases) Delivered() int64 { return r.delivered.Load() }

// Waiting returns how many releases wait, as the leader knows; 0 on any other node.
func (r *Releases) Waiting() int64 { return r.waiting.Load() }

// late is how long a release may wait before it is a condition.
const late = 5 * time.Minute

// Conditions says what is wrong; nil if nothing.
func (r *Releases) Conditions() []string {
	x := r.oldest.Load()
	if x == nil || r.Cluster.Now().Sub(x.AskedAt).Abs() < late { // the clock may have been ahead
		return nil
	}
	text := fmt.Sprintf("%d released alerts wait to be delivered, the first (entry %d) since %s", r.Waiting(), x.Entry, x.AskedAt.Format(time.RFC3339))
	if x.Error != "" {
		text += ": " + x.Error
	}
	return []string{text}
}

// Find returns the entry that a text names: its sequence number, or the id of its alert.
func (r *Releases) Find(ctx context.Context, text string) (seq int64, err error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	list, err := r.Ledger.Entries(ctx, ledger.Filter{AlertID: text}, 2)
	switch {
	case err != nil:
		return 0, err
	case len(list) == 0:
		return 0, fmt.Errorf("alert %s: %w", text, ErrNoEntry)
	case len(list) > 1:
		return 0, fmt.Errorf("alert %s: %w: it has several entries; say which by its number", text, ErrRefused)
	}
	return list[0].Seq, nil
}

// Release asks for the alert of an entry to be delivered. It does not wait for that. The error is
// ErrNoEntry or ErrRefused if the alert cannot be released.
func (r *Releases) Release(ctx context.Context, seq int64, who, why string) (Release, error) {
	at := r.Cluster.Now().Truncate(sqldb.Precision)
	who, why = sqldb.Text(who), sqldb.Text(why)
	token := strconv.FormatUint(rand.Uint64(), 36)
	message, err := r.kept(ctx, seq, at)
	if err != nil {
		return Release{}, err
	}
	x, err := sqldb.Write(ctx, r.DB, sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) (Release, error) {
		return r.ask(ctx, tx, seq, message, who, why, token, at)
	})
	if err != nil {
		return x, err
	}
	r.Log.Warn("an alert is to be released", "sequence", seq, "alert", x.AlertID, "who", who, "why", why)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return x, nil
}

// kept returns the message of an entry; nil if it was not kept, or cannot be released anyway. The
// search may read all that was kept since, so no transaction waits for it. The error may be ErrRefused.
func (r *Releases) kept(ctx context.Context, seq int64, at time.Time) ([]byte, error) {
	e, err := ledger.EntryOf(ctx, r.DB, seq)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	if e.Outcome != outage.Suppressed || at.Sub(e.Received) >= held.Keep {
		return nil, nil
	}
	message, err := held.Find(ctx, r.DB, passed.Key(e.AlertID, e.CHF, e.OutageStart), e.Received)
	if errors.Is(err, held.ErrDamaged) {
		return nil, fmt.Errorf("%w, or is lost: entry %d: %w", ErrNotKept, seq, err)
	}
	return message, sqldb.Unavailable(err)
}

func (r *Releases) ask(ctx context.Context, tx sqldb.Tx, seq int64, message []byte, who, why, token string, at time.Time) (x Release, err error) {
	e, err := ledger.EntryOf(ctx, tx, seq)
	if errors.Is(err, sqldb.ErrNoRows) {
		return x, sqldb.Unchanged(fmt.Errorf("entry %d: %w", seq, ErrNoEntry))
	}
	if err != nil {
		return x, err
	}
	before, err := read(ctx, tx, `WHERE r.alert_id = ? AND r.chf = ? AND r.outage_start = ?`, e.AlertID, int64(e.CHF), sqldb.Micros(e.OutageStart))
	if err != nil {
		return x, err
	}
	if len(before) > 0 {
		switch x = before[0]; {
		case x.token == token:
			return x, nil // the answer of an earlier try was lost
		case x.State == Done:
			return x, refuse("entry %d was released at %s, as %s had asked", seq, stamp(x.EndedAt), x.Who)
		case x.State != Failed:
			return x, refuse("%s asked for that already, at %s, and it is being delivered", x.Who, stamp(x.AskedAt))
		}
	}
	switch {
	case e.Outcome == outage.Shadow:
		return x, refuse("entry %d was delivered, since the switch was on shadow", seq)
	case e.Outcome != outage.Suppressed:
		return x, refuse("entry %d was delivered already: its outcome is %s", seq, e.Outcome)
	case at.Sub(e.Received) >= held.Keep:
		return x, refuse("entry %d was received at %s, and messages are kept for %d hours", seq, stamp(e.Received), int(held.Keep.Hours()))
	}
	if message == nil {
		return x, sqldb.Unchanged(fmt.Errorf("%w: entry %d", ErrNotKept, seq))
	}
	x = Release{Entry: seq, AlertID: e.AlertID, State: Asked, AskedAt: at, Who: who, Why: why}
	return x, errors.Join(
		tx.Later(ctx, `DELETE FROM released WHERE alert_id = ? AND chf = ? AND outage_start = ?`, e.AlertID, int64(e.CHF), sqldb.Micros(e.OutageStart)),
		tx.Later(ctx, `INSERT INTO released (alert_id, chf, outage_start, received_at, state, asked_at, who, why, token, claim, due_at, tries, error, ended_at, message)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, 0, '', 0, ?)`, e.AlertID, int64(e.CHF), sqldb.Micros(e.OutageStart), sqldb.Micros(e.Received),
			string(Asked), sqldb.Micros(at), who, why, token, message),
		events.Insert(ctx, tx, events.Event{At: at, Who: who, What: "release", Old: string(outage.Suppressed), New: fmt.Sprintf("entry %d", seq), Why: why}.By(ctx)))
}

// Of returns the releases of some entries.
func (r *Releases) Of(ctx context.Context, seqs []int64) ([]Release, error) {
	list, err := read(ctx, r.DB, `WHERE s.seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?)) ORDER BY s.seq`, sqldb.Column(seqs))
	return list, sqldb.Unavailable(err)
}

// read reads releases, without their messages.
func read(ctx context.Context, q sqldb.Querier, cond string, args ...any) ([]Release, error) {
	rows, err := q.Query(ctx, `SELECT r.id, coalesce(s.seq, 0), r.alert_id, r.chf, r.outage_start, r.received_at, r.state, r.asked_at, r.who, r.why, r.token, r.claim, r.due_at, r.tries, r.error, r.ended_at
		FROM released r LEFT JOIN suppression s ON s.alert_id = r.alert_id AND s.chf = r.chf AND s.outage_start = r.outage_start `+cond, args...)
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, x *Release) error {
		var chf, start, received, asked, due, ended int64
		err := rows.Scan(&x.id, &x.Entry, &x.AlertID, &chf, &start, &received, (*string)(&x.State), &asked, &x.Who, &x.Why, &x.token, &x.claim, &due, &x.Tries, &x.Error, &ended)
		x.AskedAt, x.due, x.EndedAt = sqldb.Instant(asked), sqldb.Instant(due), sqldb.Instant(ended)
		x.note = passed.Note{AlertID: x.AlertID, CHF: outage.DeviceID(chf), OutageStart: time.UnixMicro(start).UTC(), Received: sqldb.Instant(received), Reason: outage.ReasonReleased}
		return err
	})
}

// Send sends a message to the northbound next hop, as gateway.SendLate does.
type Send func(r *http.Request, body []byte) (res *http.Response, unsent bool, err error)

// Times of deliveries.
const (
	lookEvery = time.Second      // for what other nodes were asked for, and what is due
	tryTime   = 30 * time.Second // that one try may take
	claimTime = 2 * tryTime      // after which a claim is in doubt
	maxPause  = time.Minute      // between two tries
	atOnce    = 8                // tries at the same time
	mostAhead = time.Hour        // what is due later than that was written while a clock was ahead
)

// Run delivers what was asked for, until ctx ends. Call it while this node is the leader.
func (r *Releases) Run(ctx context.Context, send Send) {
	defer func() {
		r.waiting.Store(0)
		r.oldest.Store(nil)
	}()
	failing := false
	for {
		more, err := r.deliver(ctx, send)
		fails := err != nil && !errors.Is(err, cluster.ErrNotLeader) // another is the leader: ctx ends soon
		if fails && ctx.Err() == nil && !failing {
			r.Log.Error("releases cannot be read or written; will retry", "error", err)
		}
		failing = fails
		if more && err == nil {
			continue
		}
		select {
		case <-time.After(lookEvery):
		case <-r.wake:
		case <-ctx.Done():
			return
		}
	}
}

// deliver delivers up to atOnce of what is due. It reports whether anything was. The error may be
// cluster.ErrNotLeader.
func (r *Releases) deliver(ctx context.Context, send Send) (more bool, err error) {
	list, err := read(ctx, r.DB, `WHERE r.state IN ('asked', 'sending') ORDER BY r.id`)
	if err != nil {
		return false, err
	}
	r.waiting.Store(int64(len(list)))
	r.oldest.Store(nil)
	if len(list) > 0 {
		first := list[0]
		r.oldest.Store(&first)
	}
	now := r.Cluster.Now()
	errs := make(chan error, atOnce)
	n := 0
	for i := range list {
		if x := &list[i]; n < atOnce && r.isDue(x, now) {
			n++
			go func() { errs <- r.try(ctx, x, send) }()
		}
	}
	for range n {
		err = errors.Join(err, <-errs)
	}
	return n > 0, err
}

// isDue reports whether a release is to be sent now.
func (r *Releases) isDue(x *Release, now time.Time) bool {
	if x.State == Sending && !r.DB.Remote() && !strings.HasPrefix(x.claim, r.process+".") {
		return true // that process is dead
	}
	return !now.Before(x.due) || x.due.Sub(now) > mostAhead
}

func (r *Releases) reached(step string) {
	if r.Reached != nil {
		r.Reached(step)
	}
}

// try claims a release, sends it, and writes what became of it.
func (r *Releases) try(ctx context.Context, x *Release, send Send) error {
	// From the claim on, so that a process that was stopped in between does not send late.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryTime)
	defer cancel()
	message, err := r.claimIt(ctx, x)
	if err != nil || message == nil {
		return err
	}
	r.reached("release claimed")
	status, err := sendOne(limited, message, send) // to its end, also if this node is to stop
	r.reached("release sent")
	switch {
	case err == nil:
		return r.done(ctx, x)
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests:
		if x.Tries > 1 { // it may be refused as a repetition
			err = fmt.Errorf("%w; an earlier try may have arrived", err)
		}
		return r.fail(ctx, x, err)
	}
	return r.postpone(ctx, x, err)
}

// claimIt makes this process the one that sends a release, and returns the message; nil if it is
// not to be sent. The error may be cluster.ErrNotLeader.
func (r *Releases) claimIt(ctx context.Context, x *Release) ([]byte, error) {
	claim := r.process + "." + strconv.FormatUint(rand.Uint64(), 36)
	now := r.Cluster.Now()
	message, err := sqldb.Write(ctx, r.DB, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) (message []byte, err error) {
		if err := r.Cluster.CheckLeader(ctx, tx); err != nil {
			return nil, err
		}
		var outcome string
		err = tx.QueryRow(ctx, `SELECT r.message, coalesce(s.outcome, '') FROM released r
			LEFT JOIN suppression s ON s.alert_id = r.alert_id AND s.chf = r.chf AND s.outage_start = r.outage_start
			WHERE r.id = ? AND r.state = ? AND r.claim = ?`, x.id, string(x.State), x.claim).Scan(&message, &outcome)
		if errors.Is(err, sqldb.ErrNoRows) {
			return nil, nil // it was claimed meanwhile
		}
		if err != nil {
			return nil, err
		}
		if outcome != string(outage.Suppressed) {
			return nil, end(ctx, tx, x, Failed, "the alert was delivered meanwhile, or its entry is gone", now)
		}
		return message, tx.Later(ctx, `UPDATE released SET state = ?, claim = ?, due_at = ?, tries = tries + 1 WHERE id = ?`,
			string(Sending), claim, sqldb.Micros(now.Add(claimTime)), x.id)
	})
	if err == nil { // else the change may still be under way, and reads x
		x.claim, x.State = claim, Sending
		x.Tries++
	}
	return message, err
}

// end writes that a release is over.
func end(ctx context.Context, tx sqldb.Tx, x *Release, to State, why string, at time.Time) error {
	return tx.Later(ctx, `UPDATE released SET state = ?, error = ?, ended_at = ?, message = ? WHERE id = ? AND claim = ?`,
		string(to), sqldb.Text(why), sqldb.Micros(at), []byte{}, x.id, x.claim)
}

// write makes a change after a try. If the database does not answer, it tries until it does, or this
// node stops: only this process knows what became of the try.
func (r *Releases) write(ctx context.Context, change func(ctx context.Context, tx sqldb.Tx) error) (err error) {
	for {
		if err = r.DB.Do(context.WithoutCancel(ctx), sqldb.Retry, change); err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// done writes that the alert was delivered: in the release and in the log.
func (r *Releases) done(ctx context.Context, x *Release) error {
	at := r.Cluster.Now()
	err := r.write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		return errors.Join(end(ctx, tx, x, Done, "", at), r.Count(ctx, tx, x.Entry), r.Ledger.Release(ctx, tx, x.note))
	})
	if err == nil {
		r.delivered.Add(1)
		r.Log.Warn("an alert was released", "sequence", x.Entry, "alert", x.AlertID, "who", x.Who, "why", x.Why)
		r.reached("release committed")
	}
	return err
}

func (r *Releases) fail(ctx context.Context, x *Release, why error) error {
	r.Log.Error("an alert cannot be released", "sequence", x.Entry, "alert", x.AlertID, "error", why)
	return r.write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		return end(ctx, tx, x, Failed, why.Error(), r.Cluster.Now())
	})
}

func (r *Releases) postpone(ctx context.Context, x *Release, why error) error {
	pause := min(maxPause, time.Second<<min(x.Tries-1, 10))
	r.Log.Warn("a released alert is not delivered yet; will retry", "sequence", x.Entry, "alert", x.AlertID, "pause", pause, "error", why)
	return r.write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `UPDATE released SET state = ?, due_at = ?, error = ? WHERE id = ? AND claim = ?`,
			string(Asked), sqldb.Micros(r.Cluster.Now().Add(pause)), sqldb.Text(why.Error()), x.id, x.claim)
	})
}

// Housekeep deletes old messages of suppressed alerts, and releases that ended before an instant. It
// works in small transactions. check is called in each before anything is deleted.
func (r *Releases) Housekeep(ctx context.Context, before time.Time, check func(context.Context, sqldb.Tx) error) (n int, err error) {
	const batch = 50
	for _, step := range []func(context.Context, sqldb.Tx) (int, error){
		func(ctx context.Context, tx sqldb.Tx) (int, error) {
			return held.Delete(ctx, tx, r.Cluster.Now().Add(-held.Keep), batch)
		},
		func(ctx context.Context, tx sqldb.Tx) (int, error) {
			n, err := tx.Exec(ctx, `DELETE FROM released WHERE id IN (SELECT id FROM released WHERE state IN ('released', 'failed') AND ended_at < ? ORDER BY id LIMIT ?)`, sqldb.Micros(before), batch)
			return int(n), err
		},
	} {
		for some := batch; some == batch; n += some {
			some, err = sqldb.Write(ctx, r.DB, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int, error) {
				if err := check(ctx, tx); err != nil {
					return 0, err
				}
				return step(ctx, tx)
			})
			if err != nil {
				return n, err
			}
		}
	}
	return n, nil
}
