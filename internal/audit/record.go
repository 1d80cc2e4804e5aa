package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"quell/internal/sqldb"
)

// Record is one record of the log. Its JSON is part of the API.
type Record struct {
	No      int64     `json:"number"` // from 1, without gaps; Append sets it
	At      time.Time `json:"at"`
	Who     string    `json:"who"`
	Role    string    `json:"role"`
	From    string    `json:"from"`   // an address, Socket, or Quell
	What    string    `json:"what"`   // what was done or tried, in one word
	Object  string    `json:"object"` // to what; of a change, the new value
	Outcome Outcome   `json:"outcome"`
	Why     string    `json:"why"`    // the reason that who gave
	Detail  string    `json:"detail"` // of a change, the old value; else why it was refused or failed
	Count   int64     `json:"count"`  // how many times; 0 is 1
	Hash    string    `json:"hash"`   // Append sets it
}

// Outcome is what became of what somebody did or tried.
type Outcome string

const (
	Done    Outcome = "done"
	Refused Outcome = "refused"
	Failed  Outcome = "failed"
)

// Origins that are not addresses.
const (
	Socket = "socket" // this machine, through the console's socket
	Quell  = "quell"  // the program itself
)

// Caller is who calls the program.
type Caller struct{ Who, Role, From string }

type callerKey struct{}

// WithCaller returns a context of a call from an origin. Who calls may follow: see Identify.
func WithCaller(ctx context.Context, from string) context.Context {
	return context.WithValue(ctx, callerKey{}, &Caller{From: from})
}

// Identify says who calls, in a context of WithCaller and those that it came from. It must be
// called before others use the context.
func Identify(ctx context.Context, who, role string) {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		c.Who, c.Role = who, role
	}
}

// CallerOf returns who calls. If the context does not say, it is the program itself.
func CallerOf(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		return *c
	}
	return Caller{Who: Quell, From: Quell}
}

// Head is a record, by its number and hash. It fixes all records before it too. The zero Head is
// before the first record.
type Head struct {
	No   int64  `json:"number"`
	Hash string `json:"hash"`
}

// String returns the head as ParseHead reads it.
func (h Head) String() string { return strconv.FormatInt(h.No, 10) + ":" + h.Hash }

// ParseHead reads a head, such as 12:HASH.
func ParseHead(text string) (Head, error) {
	no, hash, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(no, 10, 64)
	if raw, hexErr := hex.DecodeString(hash); err != nil || n < 1 || hexErr != nil || len(raw) != sha256.Size {
		return Head{}, fmt.Errorf("%q is not a head: a number, a colon, and 64 hexadecimal digits", text)
	}
	return Head{n, strings.ToLower(hash)}, nil
}

// hashAfter returns the hash of a record that comes after a hash. See the package's comment.
func (r *Record) hashAfter(before string) string {
	var b []byte
	for _, text := range []string{before, strconv.FormatInt(r.No, 10), r.At.UTC().Format(time.RFC3339Nano), r.Who, r.Role, r.From, r.What, r.Object,
		string(r.Outcome), r.Why, r.Detail, strconv.FormatInt(r.Count, 10)} {
		b = strconv.AppendInt(b, int64(len(text)), 10)
		b = append(append(append(b, ':'), text...), ',')
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// storable returns the record as the database returns it later.
func (r Record) storable() Record {
	r.At = r.At.UTC().Truncate(sqldb.Precision)
	r.Count = max(r.Count, 1)
	for _, text := range []*string{&r.Who, &r.Role, &r.From, &r.What, &r.Object, (*string)(&r.Outcome), &r.Why, &r.Detail} {
		*text = sqldb.Text(*text)
	}
	return r
}

const columns = `no, at, who, role, origin, what, object, outcome, why, detail, count, hash`

// Append adds a record, in the transaction of the change that it is about: the record is there if
// the change is. At and What must be set. Call it once for each change, also if the transaction
// may be tried again.
func Append(ctx context.Context, tx sqldb.Tx, r Record) error {
	r = r.storable()
	var before string
	// No other transaction gets this number: it would wait for this row, if not for the writer's lock.
	if err := tx.QueryRow(ctx, `UPDATE audit_chain SET no = no + 1 WHERE which = 'head' RETURNING no, hash`).Scan(&r.No, &before); err != nil {
		return fmt.Errorf("the head of the audit log: %w", err)
	}
	r.Hash = r.hashAfter(before)
	return errors.Join(
		tx.Later(ctx, `INSERT INTO audit (`+columns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			r.No, sqldb.Micros(r.At), r.Who, r.Role, r.From, r.What, r.Object, string(r.Outcome), r.Why, r.Detail, r.Count, r.Hash),
		tx.Later(ctx, `UPDATE audit_chain SET hash = ? WHERE which = 'head'`, r.Hash))
}
