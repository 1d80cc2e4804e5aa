package report

import "context"

// Before is before, for the tests in package report_test.
func (g *Register) Before(ctx context.Context, r Report) (Report, error) { return g.before(ctx, r) }
