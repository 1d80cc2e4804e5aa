package release_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"quell/internal/release"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// A search for a message that was not kept reads all that was kept since. Decisions do not wait for it.
func TestSearchDelaysNobody(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		at := storetest.T0.Add(time.Minute)
		s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Now = (&clock{at: at}).now })
		suppress(t, s, at, "a")
		seq := storetest.Decide(t, s, storetest.AD1(1, "bare", at)).Entry.Seq
		// While nothing can be written the search goes on, and finds a row that is damaged.
		storetest.Script(t, s, `INSERT INTO held (id, messages) VALUES (4000000000000000, CAST('damaged' AS `+map[bool]string{true: "BYTEA", false: "BLOB"}[storetest.OnPostgres(t)]+`))`)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		free := storetest.HoldWriter(t, s)
		_, err := s.Releases.Release(ctx, seq, "alice", "a reason")
		if !errors.Is(err, release.ErrRefused) || !strings.Contains(err.Error(), "corrupt") { // that says nothing of the store
			t.Errorf("while nothing can be written: %v", err)
		}
		free()
		storetest.Script(t, s, `DELETE FROM held WHERE id = (SELECT max(id) FROM held)`)
		if _, err := s.Releases.Release(t.Context(), seq, "alice", "a reason"); !errors.Is(err, release.ErrRefused) {
			t.Error(err)
		}
	})
}
