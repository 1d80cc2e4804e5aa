// Package tokens keeps the tokens with which machines come to the console.
//
// A token is shown once, when it is created. The store has its id, its name and role, and a
// hash of its secret (Argon2id), so a copy of the store lets nobody in. A token expires, and
// can be revoked.
//
// A hash takes some 20 MiB and some milliseconds on purpose. So an unknown id is refused
// before any is made, only a few are made at once, and a token that was right is remembered
// for rememberFor. Revoking it ends that at once on the node that revokes, and within
// rememberFor on others.
package tokens

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"quell/internal/events"
	"quell/internal/role"
	"quell/internal/sqldb"

	"golang.org/x/crypto/argon2"
)

var (
	// ErrWrong says that a text is no token, or one that is unknown, revoked or expired.
	ErrWrong = errors.New("the token is not valid: it is unknown, revoked or expired")
	// ErrNone says that there is no token with an id.
	ErrNone = errors.New("there is no token with this id")
	// ErrName says that a name is in use, or cannot be one.
	ErrName = errors.New("the name of a token is 1 to 60 letters, digits, dots, hyphens and underscores, and no other token has it")
	// ErrExpiry says that a token would expire now or too late.
	ErrExpiry = errors.New("a token expires after 1 minute at least, and after 400 days at most")
	// ErrMany says that there are as many tokens as there may be.
	ErrMany = fmt.Errorf("there are %d tokens already: revoke those that are not in use", maxTokens)
)

// DefaultExpiry is how long a token is valid unless something else is asked for.
const DefaultExpiry = 90 * 24 * time.Hour

const (
	minExpiry   = time.Minute
	maxExpiry   = 400 * 24 * time.Hour
	maxTokens   = 1000
	rememberFor = time.Minute
)

// Token is what is known of a token. Its JSON is part of the API.
type Token struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Role    role.Role `json:"role"`
	Created time.Time `json:"created_at"`
	By      string    `json:"created_by"`
	Expires time.Time `json:"expires_at"`
}

// Tokens are the tokens of a store. Its methods may be called from any goroutine.
type Tokens struct {
	db      *sqldb.DB
	hashing chan struct{} // a slot for each hash that may be made at once

	mu         sync.Mutex // guards the fields below
	remembered map[[sha256.Size]byte]remembered
	changes    int // how many tokens this node has revoked
}

type remembered struct {
	Token
	until time.Time
}

// New returns the tokens of a store.
func New(db *sqldb.DB) *Tokens {
	return &Tokens{db: db, hashing: make(chan struct{}, 2), remembered: map[[sha256.Size]byte]remembered{}}
}

// The text of a token is prefix, id, "_" and secret. The prefix lets scanners for secrets that
// were published find it.
const (
	prefix     = "quell_"
	idBytes    = 8
	secretSize = 32 // bytes: 256 bits
)

func split(text string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(text, prefix)
	if n := hex.EncodedLen(idBytes); ok && len(rest) == n+1+base64.RawURLEncoding.EncodedLen(secretSize) && rest[n] == '_' {
		id, secret = rest[:n], rest[n+1:]
	}
	return id, secret, id != "" && strings.Trim(id, "0123456789abcdef") == ""
}

func isName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	return s != "" && len(s) <= 60 && strings.Trim(s, letters) == ""
}

// Create makes a token that is valid for the time given, and returns its text, which is kept
// nowhere. An event says who created it. The error may be ErrName, ErrExpiry, ErrMany or
// sqldb.ErrUnavailable.
func (ts *Tokens) Create(ctx context.Context, name string, r role.Role, valid time.Duration, who string, at time.Time) (text string, t Token, err error) {
	if !isName(name) {
		return "", t, ErrName
	}
	if valid < minExpiry || valid > maxExpiry {
		return "", t, ErrExpiry
	}
	random := make([]byte, idBytes+secretSize)
	rand.Read(random)
	id, secret := hex.EncodeToString(random[:idBytes]), base64.RawURLEncoding.EncodeToString(random[idBytes:])
	at = sqldb.Instant(sqldb.Micros(at))
	t = Token{id, name, r, at, who, at.Add(valid)}
	hash, err := ts.newHash(ctx, secret)
	if err != nil {
		return "", t, err
	}
	e := events.Event{At: at, Who: who, What: "token", New: fmt.Sprintf("%s (%s), %s, until %s", name, id, r, t.Expires.Format(time.RFC3339)), Why: "created"}.By(ctx)
	err = ts.db.Do(ctx, sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) error {
		var other string
		var n int
		err := tx.QueryRow(ctx, `SELECT id FROM token WHERE name = ?`, name).Scan(&other)
		switch {
		case err == nil && other == id:
			return nil // the answer of an earlier try was lost
		case err == nil:
			return sqldb.Unchanged(fmt.Errorf("%q: %w", name, ErrName))
		case !errors.Is(err, sqldb.ErrNoRows):
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM token`).Scan(&n); err != nil {
			return err
		}
		if n >= maxTokens {
			return sqldb.Unchanged(ErrMany)
		}
		if err := tx.Later(ctx, `INSERT INTO token (id, name, role, hash, created_at, created_by, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			id, name, r.String(), hash, sqldb.Micros(t.Created), sqldb.Text(who), sqldb.Micros(t.Expires)); err != nil {
			return err
		}
		return events.Insert(ctx, tx, e)
	})
	if err != nil {
		return "", t, err
	}
	return prefix + id + "_" + secret, t, nil
}

// Revoke ends a token, and returns what it was. An event says who did that. The error may be
// ErrNone or sqldb.ErrUnavailable.
func (ts *Tokens) Revoke(ctx context.Context, id, who string, at time.Time) (Token, error) {
	ts.forget() // also those that are checked now
	defer ts.forget()
	e := events.Event{At: at, Who: who, What: "token", Why: "revoked"}.By(ctx)
	var was Token // of an earlier try, whose answer may be lost; only the writer uses it
	return sqldb.Write(ctx, ts.db, sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) (Token, error) {
		list, _, err := read(ctx, tx, `WHERE id = ?`, id)
		if err != nil || len(list) == 0 {
			if err == nil && was.ID == "" {
				err = sqldb.Unchanged(ErrNone)
			}
			return was, err
		}
		was = list[0]
		if err := tx.Later(ctx, `DELETE FROM token WHERE id = ?`, id); err != nil {
			return was, err
		}
		e.Old = fmt.Sprintf("%s (%s), %s", was.Name, id, was.Role)
		return was, events.Insert(ctx, tx, e)
	})
}

// List returns all tokens in order of their names, also those that have expired.
func (ts *Tokens) List(ctx context.Context) ([]Token, error) {
	list, _, err := read(ctx, ts.db, `ORDER BY name`)
	return list, sqldb.Unavailable(err)
}

// InForce reports whether there is a token with an id that has not expired. The error is
// sqldb.ErrUnavailable.
func (ts *Tokens) InForce(ctx context.Context, id string, now time.Time) (bool, error) {
	list, _, err := read(ctx, ts.db, `WHERE id = ?`, id)
	return len(list) > 0 && now.Before(list[0].Expires), sqldb.Unavailable(err)
}

func read(ctx context.Context, q sqldb.Querier, cond string, args ...any) (list []Token, hashes []string, err error) {
	rows, err := q.Query(ctx, `SELECT id, name, role, hash, created_at, created_by, expires_at FROM token `+cond, args...)
	list, err = sqldb.Scan(rows, err, func(rows sqldb.Rows, t *Token) error {
		var name, hash string
		var created, expires int64
		if err := rows.Scan(&t.ID, &t.Name, &name, &hash, &created, &t.By, &expires); err != nil {
			return err
		}
		t.Created, t.Expires = sqldb.Instant(created), sqldb.Instant(expires)
		hashes = append(hashes, hash)
		var err error
		t.Role, err = role.Parse(name)
		return err
	})
	return list, hashes, err
}

// Remembered returns a token that was right within the last minute, and has not expired at
// the instant now. It costs nothing.
func (ts *Tokens) Remembered(text string, now time.Time) (Token, bool) {
	if _, _, ok := split(text); !ok { // it may be a megabyte
		return Token{}, false
	}
	key := sha256.Sum256([]byte(text))
	ts.mu.Lock()
	defer ts.mu.Unlock()
	r, ok := ts.remembered[key]
	if ok && (time.Now().After(r.until) || !now.Before(r.Expires)) {
		delete(ts.remembered, key)
		ok = false
	}
	return r.Token, ok
}

// Check returns the token that a text is. The error is ErrWrong, or sqldb.ErrUnavailable.
func (ts *Tokens) Check(ctx context.Context, text string, now time.Time) (Token, error) {
	if t, ok := ts.Remembered(text, now); ok {
		return t, nil
	}
	id, secret, ok := split(text)
	if !ok {
		return Token{}, ErrWrong
	}
	ts.mu.Lock()
	changes := ts.changes
	ts.mu.Unlock()
	list, hashes, err := read(ctx, ts.db, `WHERE id = ?`, id)
	if err != nil {
		return Token{}, sqldb.Unavailable(err)
	}
	if len(list) == 0 || !now.Before(list[0].Expires) {
		return Token{}, ErrWrong
	}
	switch ok, err := ts.checkHash(ctx, secret, hashes[0]); {
	case errors.Is(err, sqldb.ErrUnavailable):
		return Token{}, err
	case err != nil || !ok:
		return Token{}, errors.Join(ErrWrong, err)
	}
	if ts.remember(text, list[0], changes) {
		return list[0], nil
	}
	return ts.Check(ctx, text, now) // a token was revoked meanwhile, perhaps this one
}

// remember notes that a token is right, unless this node has revoked one since there were so
// many changes.
func (ts *Tokens) remember(text string, t Token, changes int) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.changes != changes {
		return false
	}
	if len(ts.remembered) >= maxTokens {
		clear(ts.remembered)
	}
	ts.remembered[sha256.Sum256([]byte(text))] = remembered{t, time.Now().Add(rememberFor)}
	return true
}

// forget forgets which tokens were right.
func (ts *Tokens) forget() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.changes++
	clear(ts.remembered)
}

// The cost of a hash: memory in KiB, passes, threads. The secret is random, so the cost is
// only for the case that random numbers are worse than they should be.
const (
	hashMemory  = 19 << 10
	hashPasses  = 2
	hashThreads = 1
	hashSize    = 32
	saltSize    = 16
)

// newHash returns the hash of a secret, with its salt and cost, in the usual form.
func (ts *Tokens) newHash(ctx context.Context, secret string) (string, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	sum, err := ts.hash(ctx, secret, salt, hashMemory, hashPasses, hashThreads)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, hashMemory, hashPasses, hashThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum)), err
}

// checkHash reports whether a hash is that of a secret. The costs of the hash count, within
// bounds, so they can change between versions.
func (ts *Tokens) checkHash(ctx context.Context, secret, hash string) (bool, error) {
	var version int
	var memory, passes uint32
	var threads uint8
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errors.New("the hash of the token cannot be read")
	}
	_, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &threads)
	salt, err2 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err3 := base64.RawStdEncoding.DecodeString(parts[5])
	if errors.Join(err, err2, err3) != nil || version != argon2.Version || memory > 1<<18 || passes < 1 || passes > 10 || threads < 1 || threads > 8 || len(want) != hashSize {
		return false, errors.New("the hash of the token cannot be read")
	}
	have, err := ts.hash(ctx, secret, salt, memory, passes, threads)
	return err == nil && subtle.ConstantTimeCompare(have, want) == 1, err
}

// hash makes a hash when there is a slot for it.
func (ts *Tokens) hash(ctx context.Context, secret string, salt []byte, memory, passes uint32, threads uint8) ([]byte, error) {
	select {
	case ts.hashing <- struct{}{}:
		defer func() { <-ts.hashing }()
		return argon2.IDKey([]byte(secret), salt, passes, memory, threads, hashSize), nil
	case <-ctx.Done():
		return nil, sqldb.Unavailable(ctx.Err())
	}
}
