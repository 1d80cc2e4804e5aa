package assess

import (
	"context"

	"quell/internal/evidence"
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
	var seqs []int64
	for seq := from; seq <= to; seq++ {
		seqs = append(seqs, seq)
	}
	return a.latest(ctx, seqs)
}
