package release

import "context"

// Deliver gives the tests in package release_test the method deliver.
func (r *Releases) Deliver(ctx context.Context, send Send) (more bool, err error) {
	return r.deliver(ctx, send)
}
