package operator

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"quell/internal/console"
)

// ErrEnded says that the console ended the answer to Tail.
var ErrEnded = errors.New("quell ends this")

// tailSilence is how long the console may send nothing: it has an empty line more often.
const tailSilence = 3*console.TailIdle + 5*time.Second

var errSilent = fmt.Errorf("%w: it has sent nothing for %v, not even that it is there", ErrNotRunning, tailSilence)

func (c *Client) silence() time.Duration { return cmp.Or(c.tailSilence, tailSilence) }

// silence returns errSilent if that is what has ended a context.
func silence(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), errSilent) {
		return errSilent
	}
	return nil
}

// Tail calls each for the decisions of a node as they fall, until ctx ends, each returns an error,
// or the console ends it (ErrEnded). q are the parameters of /api/v1/tail.
func (c *Client) Tail(ctx context.Context, q url.Values, each func(console.TailLine) error) error {
	asked, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(c.silence(), func() { cancel(errSilent) })
	defer silent.Stop()
	res, err := c.open(asked, "GET", "/api/v1/tail", q, "", nil)
	if err != nil {
		return cmp.Or(silence(asked), err)
	}
	defer res.Body.Close()
	in := bufio.NewScanner(res.Body)
	for in.Scan() {
		silent.Reset(c.silence())
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
	if err := silence(asked); err != nil {
		return err
	}
	if in.Err() != nil {
		return fmt.Errorf("the connection to quell broke: %w", in.Err())
	}
	return errors.New("the connection to quell broke")
}
