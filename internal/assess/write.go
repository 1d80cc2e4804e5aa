package assess

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/internal/evidence"
	"quell/internal/sighting"
	"quell/internal/sqldb"
)

// One transaction writes up to rowBatch rows of entries, and blocks with up to quietBatch
// assessments: little, since decisions wait for it.
const (
	rowBatch   = 250
	quietBatch = 16 * blockSize
)

// A Change is an assessment that was written.
type Change struct {
	evidence.Assessment
	Model    evidence.Model // of the meter; set if Restored is
	Was      evidence.Level // the level before; None if there was no assessment
	Restored bool           // a restoration alert matches now, and did not before
}

// write writes what the engine said. What it has written is not in w.unwritten any more.
func (a *Assessor) write(ctx context.Context, w *work) error {
	for len(w.unwritten) > 0 {
		n := batchOf(w.unwritten)
		changes, err := a.writeBatch(ctx, w.unwritten[:n], w.limit)
		if err != nil {
			return err
		}
		w.unwritten = w.unwritten[n:]
		a.tell(ctx, changes)
		a.rest(ctx, w)
	}
	w.unwritten = nil
	return nil
}

// batchOf returns how many of the first assessments are written at once.
func batchOf(list []evidence.Assessment) int {
	rows := 0
	for i := range list[:min(len(list), quietBatch)] {
		if isQuiet(&list[i]) {
			continue
		}
		if rows++; rows > rowBatch {
			return i
		}
	}
	return min(len(list), quietBatch)
}

// isQuiet reports whether nothing speaks for a genuine outage.
func isQuiet(x *evidence.Assessment) bool { return x.Level == evidence.None && !x.Facts.Restored }

// before is what the table evidence has of an entry.
type before struct {
	seq, at  int64
	level    evidence.Level
	restored int
}

// writeBatch writes assessments, and returns what has changed. It reads before its transaction, since
// nobody else writes there while this node is the leader: what fails then fails for nobody else.
func (a *Assessor) writeBatch(ctx context.Context, list []evidence.Assessment, limit time.Time) ([]Change, error) {
	seqs := make([]int64, len(list))
	for i := range list {
		seqs[i] = list[i].Entry
	}
	rows, err := a.DB.Query(ctx, `SELECT seq, at, level, restored FROM evidence WHERE seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?))`, sqldb.Column(seqs))
	were, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, b *before) error { return rows.Scan(&b.seq, &b.at, &b.level, &b.restored) })
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	was := map[int64]before{}
	for _, b := range were {
		was[b.seq] = b
	}
	blocks, err := a.readBlocks(ctx, blocksOf(seqs, was))
	if err != nil {
		return nil, err
	}
	p, err := plan(list, was, blocks, sqldb.Micros(limit))
	if err != nil || len(p.changes) == 0 {
		return nil, err
	}
	return p.changes, a.DB.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		if err := a.Cluster.CheckLeader(ctx, tx); err != nil {
			return err
		}
		for number, b := range p.blocks {
			if err := writeBlock(ctx, tx, number, b); err != nil {
				return err
			}
		}
		if len(p.rows) > 0 {
			if err := tx.Later(ctx, `INSERT INTO evidence (seq, at, level, restored, facts)
				SELECT CAST(value->>0 AS BIGINT), CAST(value->>1 AS BIGINT), value->>2, CAST(value->>3 AS BIGINT), value->>4 FROM json_each(?) WHERE TRUE
				ON CONFLICT (seq) DO UPDATE SET at = excluded.at, level = excluded.level, restored = excluded.restored, facts = excluded.facts`, array(slices.Collect(maps.Values(p.rows)))); err != nil {
				return err
			}
		}
		if len(p.levels) == 0 {
			return nil
		}
		return tx.Later(ctx, `INSERT INTO evidence_change (seq, at, was, level, distributor, facts, text)
			SELECT c.seq, c.at, c.was, c.level, coalesce((SELECT s.distributor FROM suppression s WHERE s.seq = c.seq), ''), c.facts, c.text
			FROM (SELECT CAST(value->>0 AS BIGINT) AS seq, CAST(value->>1 AS BIGINT) AS at, value->>5 AS was, value->>2 AS level, value->>4 AS facts, value->>6 AS text
				FROM json_each(?)) AS c
			ORDER BY c.at, c.seq`, array(p.levels))
	})
}

// planned is what one transaction writes.
type planned struct {
	changes []Change
	rows    map[int64][]byte // of evidence: of each entry the last, as JSON
	levels  [][]byte         // of evidence_change
	blocks  map[int64]block  // those that change
}

// plan says what to write for assessments. was is what evidence has of the entries, and blocks are the
// blocks of the others; plan keeps both up to date. What they have from after limit counts as older.
func plan(list []evidence.Assessment, was map[int64]before, blocks map[int64]block, limit int64) (*planned, error) {
	p := &planned{rows: map[int64][]byte{}, blocks: map[int64]block{}}
	for i := range list {
		x := &list[i]
		number, at := blockOf(x.Entry), sqldb.Micros(x.At)
		old, isRow := was[x.Entry]
		if before := max(old.at, blocks[number][x.Entry].at); before > at && before <= limit {
			continue // it was written before a restart, and more after it
		}
		facts, err := json.Marshal(x)
		if err != nil {
			return nil, err
		}
		level := cmp.Or(old.level, evidence.None)
		p.changes = append(p.changes, Change{Assessment: *x, Was: level, Restored: x.Facts.Restored && old.restored == 0})
		if !isRow && isQuiet(x) {
			if blocks[number] == nil {
				blocks[number] = block{}
			}
			blocks[number][x.Entry] = quiet{at, facts}
			p.blocks[number] = blocks[number]
			continue
		}
		old.at, old.level, old.restored = at, x.Level, max(old.restored, sqldb.Bool(x.Facts.Restored))
		was[x.Entry] = old
		row := strconv.AppendInt([]byte{'['}, x.Entry, 10)
		row = strconv.AppendInt(append(row, ','), old.at, 10)
		row = sqldb.AppendText(append(row, ','), string(x.Level))
		row = strconv.AppendInt(append(row, ','), int64(old.restored), 10)
		row = sqldb.AppendText(append(row, ','), string(facts))
		row = sqldb.AppendText(append(row, ','), string(level))
		if level != x.Level {
			row = sqldb.AppendText(append(row, ','), strings.Join(x.Sentences(), " "))
			p.levels = append(p.levels, append(row, ']'))
		}
		p.rows[x.Entry] = append(row, ']')
	}
	return p, nil
}

func array(rows [][]byte) string { return "[" + string(bytes.Join(rows, []byte{','})) + "]" }

// tell logs and counts what was written.
func (a *Assessor) tell(ctx context.Context, changes []Change) {
	a.mu.Lock()
	for i := range changes {
		if c := &changes[i]; c.Stage == evidence.Final {
			delete(a.levels, c.Entry)
		} else {
			a.levels[c.Entry] = c.Level
		}
	}
	a.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		if c.Was != c.Level {
			say := a.Log.Info
			if c.Level == evidence.Strong {
				say = a.Log.Warn
			}
			say("the evidence that a suppressed alert was genuine has changed", "sequence", c.Entry, "level", c.Level, "was", c.Was, "odds", c.Odds)
		}
		if c.Restored {
			c.Model = a.modelOf(ctx, c.Entry)
			a.Log.Warn("a meter sent a restoration alert about a suppressed alert: it was genuine, or assumption A5 does not hold for the model", "sequence", c.Entry, "model", c.Model)
		}
		if a.Changed != nil {
			a.Changed(*c)
		}
	}
}

// modelOf returns the model of an entry's meter; "" if it cannot be found out.
func (a *Assessor) modelOf(ctx context.Context, seq int64) evidence.Model {
	var esme int64
	if a.DB.QueryRow(ctx, `SELECT esme FROM suppression WHERE seq = ?`, seq).Scan(&esme) != nil {
		return ""
	}
	list, err := a.Devices.OfIDs(ctx, []int64{esme})
	if err != nil || len(list) == 0 {
		return ""
	}
	return ModelOf(&list[0])
}

// save writes what the engine has learned, and from what. The engine must have all that was read.
func (a *Assessor) save(ctx context.Context, w *work, now time.Time) error {
	value, err := json.Marshal(w.engine.Learning())
	if err != nil {
		return err
	}
	row, entry := w.row, w.entry
	err = a.DB.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		if err := a.Cluster.CheckLeader(ctx, tx); err != nil {
			return err
		}
		return tx.Later(ctx, `INSERT INTO learned (name, sighting, entry, at, value) VALUES ('models', ?1, ?2, ?3, ?4)
			ON CONFLICT (name) DO UPDATE SET sighting = ?1, entry = ?2, at = ?3, value = ?4`, row, entry, sqldb.Micros(now), string(value))
	})
	if err == nil {
		w.saved, w.learnedRow, w.learnedEnt = now, row, entry
	}
	return err
}

// Forget deletes what is known of entries after one, which get other numbers: a store was put back, and
// reports were recovered. The leader then begins anew.
func Forget(ctx context.Context, tx sqldb.Tx, seq int64) error {
	for _, query := range []string{`DELETE FROM evidence WHERE seq > ?1`, `DELETE FROM evidence_change WHERE seq > ?1`, `UPDATE learned SET entry = ?1 WHERE entry > ?1`} {
		if err := tx.Later(ctx, query, seq); err != nil {
			return err
		}
	}
	return forgetQuiet(ctx, tx, seq)
}

// errForgotten says that Forget was called since the engine began.
var errForgotten = errors.New("entries have other numbers, since a store was put back")

// checkNumbers returns errForgotten if the engine knows entries by numbers that they do not have any
// more.
func (a *Assessor) checkNumbers(ctx context.Context, w *work) error {
	var fewer bool
	if err := a.DB.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM learned WHERE entry < ?)`, w.learnedEnt).Scan(&fewer); err != nil {
		return sqldb.Unavailable(err)
	}
	if fewer {
		return errForgotten
	}
	return nil
}

// readLearned returns what was learned; nil if nothing was.
func (a *Assessor) readLearned(ctx context.Context) (l *evidence.Learning, row, entry int64, at time.Time, err error) {
	var us int64
	var value string
	err = a.DB.QueryRow(ctx, `SELECT sighting, entry, at, value FROM learned WHERE name = 'models'`).Scan(&row, &entry, &us, &value)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, 0, 0, time.Time{}, nil
	}
	if err != nil {
		return nil, 0, 0, time.Time{}, sqldb.Unavailable(err)
	}
	l = new(evidence.Learning)
	if err := json.Unmarshal([]byte(value), l); err != nil {
		a.Log.Error("what was learned of models cannot be read, quell learns it anew", "error", err)
		l = nil
	} else { // null is JSON too, and would end the process
		maps.DeleteFunc(l.Models, func(_ evidence.Model, b *evidence.Behaviour) bool { return b == nil })
		l.Rates = slices.DeleteFunc(l.Rates, func(r *evidence.Rate) bool { return r == nil })
	}
	return l, row, entry, sqldb.Instant(us), nil
}

// Housekeep deletes sightings received before one instant, and assessments of entries that are not
// in the log any more; changes of levels, which reports have, only if they are from before another
// instant too. It returns how many rows of sightings are gone.
func (a *Assessor) Housekeep(ctx context.Context, seenBefore, changesBefore time.Time) (gone int, err error) {
	for _, step := range []struct {
		count *int
		do    func(ctx context.Context, tx sqldb.Tx) (int, error)
	}{
		{&gone, func(ctx context.Context, tx sqldb.Tx) (int, error) {
			return sighting.Delete(ctx, tx, seenBefore, rowBatch)
		}},
		{new(int), func(ctx context.Context, tx sqldb.Tx) (int, error) {
			n, err := tx.Exec(ctx, `DELETE FROM evidence WHERE seq IN (SELECT e.seq FROM evidence e WHERE e.at < ?1
				AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.seq = e.seq) ORDER BY e.seq LIMIT ?2)`, sqldb.Micros(seenBefore), rowBatch)
			return int(n), err
		}},
		{new(int), func(ctx context.Context, tx sqldb.Tx) (int, error) { // those below the oldest entry
			n, err := tx.Exec(ctx, `DELETE FROM quiet WHERE block IN (SELECT block FROM quiet
				WHERE (block + 1) * ?1 <= coalesce((SELECT min(seq) FROM suppression), (SELECT max(block) + 1 FROM quiet) * ?1) ORDER BY block LIMIT ?2)`, blockSize, rowBatch)
			return int(n), err
		}},
		{new(int), func(ctx context.Context, tx sqldb.Tx) (int, error) {
			n, err := tx.Exec(ctx, `DELETE FROM evidence_change WHERE id IN (SELECT c.id FROM evidence_change c WHERE c.at < ?1
				AND c.id < (SELECT max(id) FROM evidence_change) AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.seq = c.seq) ORDER BY c.at LIMIT ?2)`, sqldb.Micros(changesBefore), rowBatch)
			return int(n), err
		}},
	} {
		for n := rowBatch; n == rowBatch; *step.count += n {
			n, err = sqldb.Write(ctx, a.DB, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int, error) {
				if err := a.Cluster.CheckLeader(ctx, tx); err != nil {
					return 0, err
				}
				return step.do(ctx, tx)
			})
			if err != nil {
				return gone, err
			}
		}
	}
	return gone, nil
}
