package assess

import (
	"context"

	"quell/internal/evidence"
)

// Write writes assessments, as Run does.
func (a *Assessor) Write(ctx context.Context, list []evidence.Assessment) error {
	return a.write(ctx, &work{unwritten: list})
}
