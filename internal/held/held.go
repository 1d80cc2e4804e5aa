package held

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"time"

	"quell/internal/sqldb"

	"github.com/klauspost/compress/s2"
)

// Keep is how long a message is kept.
const Keep = 48 * time.Hour

// MaxMessage is the size of the largest message that is kept. An alert has 64 KiB at most, and the
// rest is its head.
const MaxMessage = 128 << 10

// maxRow is the size of a row from which on the next message begins another.
const maxRow = 1 << 20

// Message is an alert as it came.
type Message struct {
	Key      uint64 // of the alert: passed.Key
	Received time.Time
	Bytes    []byte
}

// insertSQL adds a row. Ids rise in the order of commits; but rows that were written while the clock was a day
// ahead, or more, do not count, or else no later row would be deleted before that time.
const insertSQL = `INSERT INTO held (id, messages) VALUES ((SELECT CASE WHEN CAST(?1 AS BIGINT) > coalesce(max(id), 0) THEN CAST(?1 AS BIGINT) ELSE max(id) + 1 END FROM held
	WHERE id < CAST(?1 AS BIGINT) + 86400000000), ?2)`

// headSize is the size of what is in front of a message.
const headSize = 8 + 4

// Insert keeps messages.
func Insert(ctx context.Context, tx sqldb.Tx, list []Message) error {
	for len(list) > 0 {
		n, size, last := 0, 0, int64(0)
		for ; n < len(list) && (n == 0 || size < maxRow); n++ {
			size += headSize + len(list[n].Bytes)
			last = max(last, sqldb.Micros(list[n].Received))
		}
		row := make([]byte, 0, size)
		for _, m := range list[:n] {
			row = binary.LittleEndian.AppendUint64(row, m.Key)
			row = binary.LittleEndian.AppendUint32(row, uint32(len(m.Bytes)))
			row = append(row, m.Bytes...)
		}
		if err := tx.Later(ctx, insertSQL, last, s2.Encode(nil, row)); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// ErrDamaged says that a row of the messages cannot be read.
var ErrDamaged = errors.New("a row of the messages that are kept is damaged")

// Find returns the message of an alert; nil if it is not kept. The error is ErrDamaged if it may be in a row
// that cannot be read.
func Find(ctx context.Context, q sqldb.Querier, key uint64, received time.Time) ([]byte, error) {
	rows, err := q.Query(ctx, `SELECT messages FROM held WHERE id >= ? ORDER BY id`, sqldb.Micros(received))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var damaged error
	for rows.Next() {
		var row []byte
		if err := rows.Scan(&row); err != nil {
			return nil, err
		}
		if row, err = unpack(row); err != nil {
			damaged = err // another row may have it
		}
		for len(row) >= headSize {
			k, n := binary.LittleEndian.Uint64(row), uint64(binary.LittleEndian.Uint32(row[8:]))
			row = row[headSize:]
			if n > uint64(len(row)) {
				break // not written by Insert
			}
			if k == key {
				return bytes.Clone(row[:n]), nil
			}
			row = row[n:]
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return nil, damaged
}

// unpack returns what Insert has written of messages. The error is ErrDamaged.
func unpack(row []byte) ([]byte, error) {
	if n, err := s2.DecodedLen(row); err != nil || n > maxRow+headSize+MaxMessage {
		return nil, ErrDamaged
	}
	row, err := s2.Decode(nil, row)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return row, nil
}

// Delete deletes up to limit rows whose messages were all received before an instant, the oldest
// first, and returns how many.
func Delete(ctx context.Context, tx sqldb.Tx, before time.Time, limit int) (int, error) {
	n, err := tx.Exec(ctx, `DELETE FROM held WHERE id IN (SELECT id FROM held WHERE id < ? ORDER BY id LIMIT ?)`, sqldb.Micros(before), limit)
	return int(n), err
}

// Write returns a message that net/http has read, with its whole body, as it is kept.
func Write(r *http.Request, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Host)
	r.Header.Write(&b)
	if r.Header.Get("Content-Length") == "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body)) // it came in chunks, or with HTTP/2
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// Read reads a message that is kept, and returns it as net/http would have got it, with the names
// of its header lines as they came. Lines that are for one connection are left out.
func Read(message []byte) (*http.Request, []byte, error) {
	head, body, ok := bytes.Cut(message, []byte("\r\n\r\n"))
	if !ok {
		return nil, nil, fmt.Errorf("the message has no end of its head")
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(message)))
	if err != nil {
		return nil, nil, err
	}
	drop := map[string]bool{}
	for _, name := range []string{"Host", "Content-Length", "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"} {
		drop[name] = true
	}
	for _, list := range r.Header["Connection"] {
		for name := range bytes.SplitSeq([]byte(list), []byte(",")) {
			drop[http.CanonicalHeaderKey(string(bytes.TrimSpace(name)))] = true
		}
	}
	r.Header = http.Header{"User-Agent": nil} // net/http must not add its own
	for i, line := range bytes.Split(head, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if n := string(name); i > 0 && !drop[http.CanonicalHeaderKey(n)] {
			r.Header[n] = append(r.Header[n], string(bytes.TrimSpace(value)))
		}
	}
	r.ContentLength = int64(len(body))
	return r, body, nil
}
