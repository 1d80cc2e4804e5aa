package assess

import (
	"context"
	"encoding/json"

	"quell/internal/evidence"
	"quell/internal/sqldb"
)

// Learned returns what was learned of models, as it was written last; nil if nothing was. Any node
// may ask. The error is sqldb.ErrUnavailable.
func (a *Assessor) Learned(ctx context.Context) (*evidence.Learning, error) {
	l, _, _, _, err := a.readLearned(ctx)
	return l, err
}

// Assessed returns the latest assessments of the entries from one number to another, in order.
// Entries without one are left out. The error is sqldb.ErrUnavailable.
func (a *Assessor) Assessed(ctx context.Context, from, to int64) (list []evidence.Assessment, err error) {
	texts, err := sqldb.Texts(a.DB.Query(ctx, `SELECT facts FROM evidence WHERE seq BETWEEN ? AND ? ORDER BY seq`, from, to))
	for _, text := range texts {
		var x evidence.Assessment
		if json.Unmarshal([]byte(text), &x) == nil { // else a later version wrote it
			list = append(list, x)
		}
	}
	return list, sqldb.Unavailable(err)
}
