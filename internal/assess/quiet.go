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

	"quell/internal/evidence"
	"quell/internal/sqldb"

	"github.com/klauspost/compress/s2"
)

// In a campaign nothing speaks for a genuine outage of nearly all entries, at each of the five or six
// times at which they are assessed. The assessments of such quiet entries are written together: a row
// of the table quiet, a block, has those of blockSize entries in a row, compressed. An entry of which
// something speaks for a genuine outage gets a row of its own in evidence, and keeps it.

const blockSize = 128

func blockOf(seq int64) int64 { return seq / blockSize }

// blocksOf returns the numbers of the blocks that may have entries, apart from those with a row of their
// own.
func blocksOf[V any](seqs []int64, rows map[int64]V) (numbers []int64) {
	for _, seq := range seqs {
		if _, ok := rows[seq]; !ok {
			numbers = append(numbers, blockOf(seq))
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// maxBlock bounds a block when it is read, in bytes.
const maxBlock = 1 << 20

// A block has the assessments of entries by their numbers.
type block map[int64]quiet

// quiet is what a block has of an entry.
type quiet struct {
	at    int64  // when it was assessed, in microseconds since 1970
	facts []byte // the assessment as JSON
}

var errBlock = errors.New("a row of assessments is damaged")

// unpack reads the column entries: compressed lines, each with the number, the time and the JSON.
func unpack(data []byte) (block, error) {
	if n, err := s2.DecodedLen(data); err != nil || n > maxBlock {
		return nil, errBlock
	}
	data, err := s2.Decode(nil, data)
	if err != nil {
		return nil, errBlock
	}
	b := make(block, blockSize)
	for line := range bytes.Lines(data) {
		number, rest, _ := bytes.Cut(line, []byte{' '})
		at, facts, ok := bytes.Cut(rest, []byte{' '})
		seq, err1 := strconv.ParseInt(string(number), 10, 64)
		us, err2 := strconv.ParseInt(string(at), 10, 64)
		if !ok || err1 != nil || err2 != nil {
			return nil, errBlock
		}
		b[seq] = quiet{us, bytes.TrimSuffix(facts, []byte{'\n'})}
	}
	return b, nil
}

// pack returns what unpack reads.
func (b block) pack() []byte {
	var data []byte
	for _, seq := range slices.Sorted(maps.Keys(b)) {
		q := b[seq]
		data = append(strconv.AppendInt(data, seq, 10), ' ')
		data = append(strconv.AppendInt(data, q.at, 10), ' ')
		data = append(append(data, q.facts...), '\n')
	}
	return s2.Encode(nil, data)
}

// readBlocks returns the blocks of some numbers, as far as there are any. One that is damaged is left
// out, and logged: its entries count as not assessed.
func (a *Assessor) readBlocks(ctx context.Context, numbers []int64) (map[int64]block, error) {
	found := map[int64]block{}
	if len(numbers) == 0 {
		return found, nil
	}
	type row struct {
		block   int64
		entries []byte
	}
	rows, err := a.DB.Query(ctx, `SELECT block, entries FROM quiet WHERE block IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?))`, sqldb.Column(numbers))
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, r *row) error { return rows.Scan(&r.block, &r.entries) })
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	for _, r := range list {
		b, err := unpack(r.entries)
		if err != nil {
			a.Log.Error("the evidence on some entries cannot be read; it counts as not assessed", "first", r.block*blockSize, "error", err)
			continue
		}
		found[r.block] = b
	}
	return found, nil
}

// latest returns the latest assessments of entries, in order; an entry that has none is left out.
func (a *Assessor) latest(ctx context.Context, seqs []int64) (list []evidence.Assessment, err error) {
	texts := map[int64]string{}
	rows, err := a.DB.Query(ctx, `SELECT seq, facts FROM evidence WHERE seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?))`, sqldb.Column(seqs))
	if _, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, seq *int64) error {
		var text string
		err := rows.Scan(seq, &text)
		texts[*seq] = text
		return err
	}); err != nil {
		return nil, sqldb.Unavailable(err)
	}
	blocks, err := a.readBlocks(ctx, blocksOf(seqs, texts))
	if err != nil {
		return nil, err
	}
	for _, seq := range seqs {
		text, ok := texts[seq]
		if q, quiet := blocks[blockOf(seq)][seq]; !ok && quiet {
			text = string(q.facts)
		}
		var x evidence.Assessment
		if text != "" && json.Unmarshal([]byte(text), &x) == nil { // else a later version wrote it
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b evidence.Assessment) int { return cmp.Compare(a.Entry, b.Entry) })
	return list, nil
}

// writeBlock writes a block; it deletes one that is empty.
func writeBlock(ctx context.Context, tx sqldb.Tx, number int64, b block) error {
	if len(b) == 0 {
		return tx.Later(ctx, `DELETE FROM quiet WHERE block = ?`, number)
	}
	return tx.Later(ctx, `INSERT INTO quiet (block, entries) VALUES (?1, ?2) ON CONFLICT (block) DO UPDATE SET entries = ?2`, number, b.pack())
}

// forgetQuiet deletes the assessments of quiet entries after one.
func forgetQuiet(ctx context.Context, tx sqldb.Tx, seq int64) error {
	if err := tx.Later(ctx, `DELETE FROM quiet WHERE block > ?`, blockOf(seq)); err != nil {
		return err
	}
	var data []byte
	err := tx.QueryRow(ctx, `SELECT entries FROM quiet WHERE block = ?`, blockOf(seq)).Scan(&data)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	b, _ := unpack(data) // one that is damaged goes as a whole
	maps.DeleteFunc(b, func(n int64, _ quiet) bool { return n > seq })
	return writeBlock(ctx, tx, blockOf(seq), b)
}
