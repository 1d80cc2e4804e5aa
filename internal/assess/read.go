package assess

import (
	"context"
	"encoding/json"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Evidence is what is known of one entry. Its JSON is part of the API.
type Evidence struct {
	Entry   int64          `json:"sequence"`
	Level   evidence.Level `json:"level"` // none, weak or strong
	Odds    float64        `json:"odds"`  // genuine against false
	Stage   string         `json:"stage"` // see stages
	At      time.Time      `json:"assessed_at"`
	Text    []string       `json:"text"`    // the facts, in words
	History []Step         `json:"history"` // the changes of the level, the oldest first
}

// Step is a change of an entry's level.
type Step struct {
	At    time.Time      `json:"at"`
	Was   evidence.Level `json:"was"`
	Level evidence.Level `json:"level"`
	Odds  float64        `json:"odds"`
}

var stages = map[evidence.Stage]string{evidence.AtOnce: "at-once", evidence.After5: "after-5-minutes", evidence.After15: "after-15-minutes",
	evidence.AtWindowEnd: "window-over", evidence.Later: "later", evidence.Final: "final"}

// Of returns what is known of some entries, by their numbers. An entry that was not assessed yet,
// or by a version without evidence, is not among them. The error is sqldb.ErrUnavailable.
func (a *Assessor) Of(ctx context.Context, seqs []int64) (map[int64]*Evidence, error) {
	found := map[int64]*Evidence{}
	if a == nil || len(seqs) == 0 {
		return found, nil
	}
	list, err := a.latest(ctx, seqs)
	if err != nil {
		return nil, err
	}
	for i := range list {
		x := &list[i]
		found[x.Entry] = &Evidence{Entry: x.Entry, Level: x.Level, Odds: x.Odds, Stage: stages[x.Stage], At: x.At, Text: x.Sentences(), History: []Step{}}
	}
	changes, err := scanChanges(a.DB.Query(ctx, `SELECT `+changeColumns+` FROM evidence_change
		WHERE seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?)) ORDER BY id`, sqldb.Column(seqs)))
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	for i := range changes {
		if e := found[changes[i].Entry]; e != nil {
			c := &changes[i]
			e.History = append(e.History, Step{At: c.At, Was: c.Was, Level: c.Level, Odds: c.Odds})
		}
	}
	return found, nil
}

// Recorded is a change of an entry's level, as reports have it.
type Recorded struct {
	ID int64
	evidence.Assessment
	Was         evidence.Level
	Text        string // the facts in words, as they were then
	Distributor string // of the entry, as the log has it; see Stream
}

// StageName names the stage of the assessment.
func (r *Recorded) StageName() string { return stages[r.Stage] }

// Stream is the distributor that the change is reported to, as of the entry.
func (r *Recorded) Stream() string { return (&outage.Entry{Distributor: r.Distributor}).Stream() }

const changeColumns = `id, seq, at, was, level, distributor, facts, text`

func scanChanges(rows sqldb.Rows, err error) ([]Recorded, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, r *Recorded) error {
		var seq, at int64
		var level, facts string
		err := rows.Scan(&r.ID, &seq, &at, &r.Was, &level, &r.Distributor, &facts, &r.Text)
		if err != nil {
			return err
		}
		_ = json.Unmarshal([]byte(facts), &r.Assessment) // what a later version wrote may lack facts
		r.Entry, r.At, r.Level = seq, sqldb.Instant(at), evidence.Level(level)
		return nil
	})
}

// Changes returns up to limit changes with after < id ≤ last, in order.
func Changes(ctx context.Context, q sqldb.Querier, after, last int64, limit int) ([]Recorded, error) {
	return scanChanges(q.Query(ctx, `SELECT `+changeColumns+` FROM evidence_change WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`, after, last, limit))
}

// Streams returns the distributors that the changes with after < id ≤ last are reported to, each once.
func Streams(ctx context.Context, q sqldb.Querier, after, last int64) ([]string, error) {
	list, err := sqldb.Texts(q.Query(ctx, `SELECT DISTINCT distributor FROM evidence_change WHERE id > ? AND id <= ?`, after, last))
	for i := range list {
		list[i] = (&outage.Entry{Distributor: list[i]}).Stream()
	}
	return list, err
}

// BecameStrong returns up to limit changes after a number and since an instant, in order, by which
// entries became strong that are strong still.
func (a *Assessor) BecameStrong(ctx context.Context, after int64, since time.Time, limit int) ([]Recorded, error) {
	list, err := scanChanges(a.DB.Query(ctx, `SELECT `+changeColumns+` FROM evidence_change c WHERE c.id > ? AND c.at >= ? AND c.level = ?
		AND EXISTS (SELECT 1 FROM evidence e WHERE e.seq = c.seq AND e.level = c.level) ORDER BY c.id LIMIT ?`, after, sqldb.Micros(since), string(evidence.Strong), limit))
	return list, sqldb.Unavailable(err)
}

// LastChange returns the number of the last change that a report with entries up to seq can have:
// the last before the first change of a later entry.
func LastChange(ctx context.Context, q sqldb.Querier, seq int64) (id int64, err error) {
	err = q.QueryRow(ctx, `SELECT coalesce((SELECT min(id) - 1 FROM evidence_change WHERE seq > ?), (SELECT max(id) FROM evidence_change), 0)`, seq).Scan(&id)
	return id, err
}
