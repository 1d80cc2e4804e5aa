package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/events"
	"quell/internal/role"
	"quell/internal/sqldb"
	"quell/internal/store/storetest"
	"quell/internal/tokens"
)

// TestTokens: a token is right until it expires or is revoked, and nothing else is. The store
// has no secret.
func TestTokens(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s := storetest.Open(t, t.TempDir())
		ts := tokens.New(s.DB)
		ctx, now := t.Context(), storetest.T0
		text, made, err := ts.Create(ctx, "grafana", role.Viewer, time.Hour, "alice", now)
		if err != nil {
			t.Fatal(err)
		}
		other, _, err := ts.Create(ctx, "esi", role.Analyst, 2*time.Hour, "alice", now)
		if err != nil {
			t.Fatal(err)
		}
		fresh := func() *tokens.Tokens { return tokens.New(s.DB) } // remembers nothing, as another node
		for _, x := range []struct {
			what, text string
			at         time.Time
			right      bool
		}{
			{"the token", text, now, true},
			{"just before it expires", text, made.Expires.Add(-time.Microsecond), true},
			{"when it expires", text, made.Expires, false},
			{"the other", other, now, true},
			{"nothing", "", now, false},
			{"no token", "quell", now, false},
			{"without its prefix", text[6:], now, false},
			{"cut", text[:len(text)-1], now, false},
			{"longer", text + "A", now, false},
			{"another secret", text[:23] + other[23:], now, false},
			{"another id", other[:23] + text[23:], now, false},
			{"an unknown id", "quell_0123456789abcdef" + text[22:], now, false},
			{"upper case", strings.ToUpper(text), now, false},
			{"an id that is SQL", "quell_' OR 1=1 OR 'a=" + text[22:], now, false},
		} {
			for who, ts := range map[string]*tokens.Tokens{"remembering": ts, "another node": fresh()} {
				have, err := ts.Check(ctx, x.text, x.at)
				if (err == nil) != x.right || err != nil && !errors.Is(err, tokens.ErrWrong) {
					t.Errorf("%s, %s: %v", x.what, who, err)
				}
				if x.right && have.ID == "" {
					t.Errorf("%s, %s: %+v", x.what, who, have)
				}
			}
		}
		if have, err := ts.Check(ctx, text, now); err != nil || have != made {
			t.Errorf("%+v, want %+v: %v", have, made, err)
		}
		list, err := ts.List(ctx)
		if err != nil || len(list) != 2 || list[1] != made || list[0].Name != "esi" {
			t.Errorf("%+v %v", list, err)
		}
		var hash string
		if err := s.DB.QueryRow(ctx, `SELECT hash FROM token WHERE id = ?`, made.ID).Scan(&hash); err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(hash, text[23:]) {
			t.Errorf("%q %v", hash, err)
		}
		// Revoked, it ends at once here, and on another node that does not remember it.
		if was, err := ts.Revoke(ctx, made.ID, "bob", now); err != nil || was != made {
			t.Errorf("%+v %v", was, err)
		}
		for _, ts := range []*tokens.Tokens{ts, fresh()} {
			if _, err := ts.Check(ctx, text, now); !errors.Is(err, tokens.ErrWrong) {
				t.Errorf("revoked: %v", err)
			}
		}
		if _, err := ts.Revoke(ctx, made.ID, "bob", now); !errors.Is(err, tokens.ErrNone) {
			t.Errorf("revoked twice: %v", err)
		}
		var log []string
		list2, err := events.Latest(ctx, s.DB, 10)
		for _, e := range list2 {
			if e.What == "token" {
				log = append(log, fmt.Sprintf("%s %s: %s%s", e.Who, e.Why, e.Old, e.New))
			}
		}
		if want := "bob revoked: grafana (" + made.ID + "), viewer\nalice created: esi (" + other[6:22] + "), analyst, until 2026-03-01T12:00:00Z\nalice created: grafana (" + made.ID + "), viewer, until 2026-03-01T11:00:00Z"; err != nil || strings.Join(log, "\n") != want {
			t.Errorf("events:\n%s\nwant:\n%s\n%v", strings.Join(log, "\n"), want, err)
		}
	})
}

// TestCreateRefuses: names, times and numbers of tokens are bounded.
func TestCreateRefuses(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s := storetest.Open(t, t.TempDir())
		ts := tokens.New(s.DB)
		create := func(name string, valid time.Duration) error {
			_, _, err := ts.Create(t.Context(), name, role.Viewer, valid, "alice", storetest.T0)
			return err
		}
		for _, name := range []string{"", " ", "a b", "a:b", "ä", "a\n", "x'", strings.Repeat("x", 61)} {
			if err := create(name, time.Hour); !errors.Is(err, tokens.ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
		for valid, ok := range map[time.Duration]bool{time.Minute - 1: false, time.Minute: true, 400 * 24 * time.Hour: true, 400*24*time.Hour + 1: false, -1: false} {
			if err := create(fmt.Sprint("t", int64(valid)), valid); (err == nil) != ok && (ok || !errors.Is(err, tokens.ErrExpiry)) {
				t.Errorf("%s: %v", valid, err)
			}
		}
		if err := create("twice", time.Hour); err != nil {
			t.Error(err)
		}
		if err := create("twice", time.Hour); !errors.Is(err, tokens.ErrName) {
			t.Errorf("twice: %v", err)
		}
		storetest.Script(t, s, `INSERT INTO token (id, name, role, hash, created_at, created_by, expires_at) SELECT 'id' || seq, 'name' || seq, 'viewer', '', 0, '', 0 FROM (WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 1000) SELECT seq FROM n) numbers`)
		if err := create("more", time.Hour); !errors.Is(err, tokens.ErrMany) {
			t.Errorf("with 1000 others: %v", err)
		}
	})
}

// TestRevokeWhileChecked: tokens are revoked while many requests use them. None is right after
// its revocation has returned.
func TestRevokeWhileChecked(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	ts := tokens.New(s.DB)
	for round := range 10 {
		text, made, err := ts.Create(t.Context(), fmt.Sprint("t", round), role.Admin, time.Hour, "alice", storetest.T0)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		revoked := make(chan struct{})
		for range 4 {
			wg.Go(func() {
				for {
					after := false
					select {
					case <-revoked:
						after = true
					default:
					}
					_, err := ts.Check(t.Context(), text, storetest.T0)
					if err == nil && after {
						t.Error("it is right after it was revoked")
						return
					}
					if err != nil {
						return
					}
				}
			})
		}
		if _, err := ts.Revoke(t.Context(), made.ID, "bob", storetest.T0); err != nil {
			t.Error(err)
		}
		close(revoked)
		wg.Wait()
	}
}

// TestWithoutStore: while the store does not answer, a token is not wrong, and one that was right
// within the last minute stays right.
func TestWithoutStore(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	ts := tokens.New(s.DB)
	remembered, _, err := ts.Create(t.Context(), "a", role.Viewer, time.Hour, "alice", storetest.T0)
	if err == nil {
		_, err = ts.Check(t.Context(), remembered, storetest.T0)
	}
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ts.Create(t.Context(), "b", role.Viewer, time.Hour, "alice", storetest.T0)
	if err != nil {
		t.Fatal(err)
	}
	s.DB.Close()
	if _, err := ts.Check(t.Context(), remembered, storetest.T0); err != nil {
		t.Error(err)
	}
	if _, err := ts.Check(t.Context(), other, storetest.T0); !errors.Is(err, sqldb.ErrUnavailable) || errors.Is(err, tokens.ErrWrong) {
		t.Errorf("%v", err)
	}
}

// TestRevokedElsewhere: what another node revokes ends here within a minute.
func TestRevokedElsewhere(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	here, there := tokens.New(s.DB), tokens.New(s.DB)
	text, made, err := here.Create(t.Context(), "a", role.Viewer, time.Hour, "alice", storetest.T0)
	if err == nil {
		_, err = here.Check(t.Context(), text, storetest.T0)
	}
	if err == nil {
		_, err = there.Revoke(t.Context(), made.ID, "bob", storetest.T0)
	}
	if err != nil {
		t.Fatal(err)
	}
	here.Age(tokens.RememberFor / 2)
	if _, err := here.Check(t.Context(), text, storetest.T0); err != nil {
		t.Errorf("it is not remembered: %v", err)
	}
	here.Age(tokens.RememberFor / 2)
	if _, err := here.Check(t.Context(), text, storetest.T0); !errors.Is(err, tokens.ErrWrong) {
		t.Errorf("after %s: %v", tokens.RememberFor, err)
	}
	if tokens.RememberFor > time.Minute {
		t.Error("docs/operations.md says a minute")
	}
}

// TestNoSlot: a token that is not checked, since others are and its client does not wait, is not wrong.
func TestNoSlot(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	text, _, err := tokens.New(s.DB).Create(t.Context(), "a", role.Viewer, time.Hour, "alice", storetest.T0)
	if err != nil {
		t.Fatal(err)
	}
	ts := tokens.New(s.DB) // remembers nothing
	ts.TakeSlots()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := ts.Check(ctx, text, storetest.T0); !errors.Is(err, sqldb.ErrUnavailable) || errors.Is(err, tokens.ErrWrong) {
		t.Error(err)
	}
}
