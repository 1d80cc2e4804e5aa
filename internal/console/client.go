package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/store"
)

// ErrNotRunning says that no console answers at the client's address.
var ErrNotRunning = errors.New("no quell answers")

// Client speaks to the console of a running quell. An error that the console
// answers comes as its text.
type Client struct {
	Base string // such as http://127.0.0.1:8080
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, kind string, body io.Reader, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
		// A refusal comes before a body of gigabytes is sent.
		req.Header.Set("Expect", "100-continue")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var e struct{ Error string }
		if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&e) != nil || e.Error == "" {
			return fmt.Errorf("%s %s answered %s; is it quell's console?", method, path, res.Status)
		}
		return errors.New(e.Error)
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// Status asks how the system is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, "GET", "/api/v1/status", nil, "", nil, &s)
}

// TurnSwitch turns the switch.
func (c *Client) TurnSwitch(ctx context.Context, t Turn) (out Turned, err error) {
	body, err := json.Marshal(t)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "PUT", "/api/v1/switch", nil, "application/json", bytes.NewReader(body), &out)
}

// Suppressions asks for up to limit log entries with numbers above after.
func (c *Client) Suppressions(ctx context.Context, after int64, limit int) (out Suppressions, err error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
	return out, c.call(ctx, "GET", "/api/v1/suppressions", q, "", nil, &out)
}

// Explain asks why alerts of an id are suppressed or not; a zero time is now.
func (c *Client) Explain(ctx context.Context, id string, at time.Time) (x motorway.Explanation, err error) {
	q := url.Values{"id": {id}}
	if !at.IsZero() {
		q.Set("at", at.Format(time.RFC3339Nano))
	}
	return x, c.call(ctx, "GET", "/api/v1/explain", q, "", nil, &x)
}

// Devices asks for the device list in force, from the one behind after on ("" is the first).
func (c *Client) Devices(ctx context.Context, after string, limit int) (out Devices, err error) {
	q := url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}
	return out, c.call(ctx, "GET", "/api/v1/devices", q, "", nil, &out)
}

// Check asks what is known of one device.
func (c *Client) Check(ctx context.Context, id outage.DeviceID) (out Checked, err error) {
	return out, c.call(ctx, "GET", "/api/v1/devices/"+id.String(), nil, "", nil, &out)
}

// Import sends files to be imported as "inventory" or "devices". It streams;
// the files are read at the pace at which they are imported.
func (c *Client) Import(ctx context.Context, kind, who string, files []store.File) (out store.Import, err error) {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		for _, f := range files {
			part, err := form.CreateFormFile("file", f.Name)
			if err == nil {
				_, err = io.Copy(part, f)
			}
			if err != nil {
				w.CloseWithError(err)
				return
			}
		}
		w.CloseWithError(form.Close())
	}()
	defer r.Close()
	err = c.call(ctx, "POST", "/api/v1/"+kind, url.Values{"who": {who}}, form.FormDataContentType(), r, &out)
	return out, err
}
