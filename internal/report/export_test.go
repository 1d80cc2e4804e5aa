package report

import "context"

// Before gives the tests in package report_test the method before.
func (reg *Register) Before(ctx context.Context, r Report) (Report, error) { return reg.before(ctx, r) }
