package operator

import (
	"context"
	"io"
	"net/url"
	"strconv"

	"quell/internal/adviser"
)

// AdviceFlags say how to print advice.
type AdviceFlags struct {
	Model string // window: the curve of this model
	CSV   bool   // supply
}

// AdviceOn asks for advice on the list, the window, the forecast or the supply. limit is for the
// last. print writes the answer as text.
var AdviceOn = map[string]func(ctx context.Context, c *Client, limit int) (answer any, print func(w io.Writer, f AdviceFlags) error, err error){
	"list": func(ctx context.Context, c *Client, _ int) (any, func(io.Writer, AdviceFlags) error, error) {
		var a adviser.List
		err := c.advice(ctx, "list", nil, &a)
		return a, func(w io.Writer, _ AdviceFlags) error { a.Print(w); return nil }, err
	},
	"window": func(ctx context.Context, c *Client, _ int) (any, func(io.Writer, AdviceFlags) error, error) {
		var a adviser.Windows
		err := c.advice(ctx, "window", nil, &a)
		return a, func(w io.Writer, f AdviceFlags) error { return a.Print(w, f.Model) }, err
	},
	"forecast": func(ctx context.Context, c *Client, _ int) (any, func(io.Writer, AdviceFlags) error, error) {
		var a adviser.Forecast
		err := c.advice(ctx, "forecast", nil, &a)
		return a, func(w io.Writer, _ AdviceFlags) error { a.Print(w); return nil }, err
	},
	"supply": func(ctx context.Context, c *Client, limit int) (any, func(io.Writer, AdviceFlags) error, error) {
		var a adviser.Supply
		err := c.advice(ctx, "supply", url.Values{"limit": {strconv.Itoa(limit)}}, &a)
		return a, func(w io.Writer, f AdviceFlags) error {
			if f.CSV {
				return a.CSV(w)
			}
			a.Print(w)
			return nil
		}, err
	},
}

func (c *Client) advice(ctx context.Context, on string, query url.Values, out any) error {
	return c.call(ctx, "GET", "/api/v1/advice/"+on, query, "", nil, out)
}
