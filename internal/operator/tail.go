package operator

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"quell/internal/console"
)

// ErrEnded says that the console ended the answer to Tail.
var ErrEnded = errors.New("quell ends this")

// Tail calls each for the decisions of a node as they fall, until ctx ends, each returns an error,
// or the console ends it (ErrEnded). q are the parameters of /api/v1/tail.
func (c *Client) Tail(ctx context.Context, q url.Values, each func(console.TailLine) error) error {
	res, err := c.open(ctx, "GET", "/api/v1/tail", q, "", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	in := bufio.NewScanner(res.Body)
	for in.Scan() {
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		var l console.TailLine
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return c.notQuell("a line of its answer cannot be read: %v", err)
		}
		if l.Ends != "" {
			return fmt.Errorf("%w: %s", ErrEnded, l.Ends)
		}
		if err := each(l); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if in.Err() != nil {
		return fmt.Errorf("the connection to quell broke: %w", in.Err())
	}
	return errors.New("the connection to quell broke")
}
