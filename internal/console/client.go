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

	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/report"
)

// ErrNotRunning says that no console answers at the client's address.
var ErrNotRunning = errors.New("no quell answers")

// Client speaks to the console of a running quell. An error that the console
// answers comes as its text.
type Client struct {
	Base string // such as http://127.0.0.1:8080
}

// direct speaks to consoles. HTTP_PROXY is not for them: a proxy elsewhere has no way
// to this machine's loopback, or to another quell's, and would see what is said.
var direct = func() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	return &http.Client{Transport: t}
}()

func (c *Client) call(ctx context.Context, method, path string, query url.Values, kind string, body io.Reader, out any) error {
	res, err := c.open(ctx, method, path, query, kind, body)
	if err != nil {
		return err
	}
	defer res.Close()
	return json.NewDecoder(res).Decode(out)
}

// open returns the body of an answer with success.
func (c *Client) open(ctx context.Context, method, path string, query url.Values, kind string, body io.Reader) (io.ReadCloser, error) {
	url := c.Base + path
	if len(query) > 0 {
		url += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
		// A refusal comes before a body of gigabytes is sent.
		req.Header.Set("Expect", "100-continue")
	}
	res, err := direct.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var e struct{ Error string }
	if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&e) != nil || e.Error == "" {
		return nil, fmt.Errorf("%s %s answered %s; is it quell's console?", method, path, res.Status)
	}
	return nil, errors.New(e.Error)
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

// Events asks for the last changes, the latest first.
func (c *Client) Events(ctx context.Context, limit int) ([]events.Event, error) {
	var out struct{ Events []events.Event }
	err := c.call(ctx, "GET", "/api/v1/events", url.Values{"limit": {strconv.Itoa(limit)}}, "", nil, &out)
	return out.Events, err
}

// Windows asks for up to limit windows that are open or pending; those of all if none
// are named.
func (c *Client) Windows(ctx context.Context, w Whose, limit int) (out Windows, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"target": w.Target, "supplier": w.Supplier} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return out, c.call(ctx, "GET", "/api/v1/windows", q, "", nil, &out)
}

// CloseWindows closes windows by hand.
func (c *Client) CloseWindows(ctx context.Context, what Close) (out Closed, err error) {
	body, err := json.Marshal(what)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "/api/v1/windows/close", nil, "application/json", bytes.NewReader(body), &out)
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
func (c *Client) Import(ctx context.Context, kind, who string, files []devices.File, how How) (out Imported, err error) {
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
	q := url.Values{"who": {who}}
	for name, on := range map[string]bool{"dry_run": how.DryRun, "force": how.Force} {
		if on {
			q.Set(name, "true")
		}
	}
	err = c.call(ctx, "POST", "/api/v1/"+kind, q, form.FormDataContentType(), r, &out)
	return out, err
}

// Reports asks for up to limit reports with numbers below before, the latest
// first.
func (c *Client) Reports(ctx context.Context, before int64, limit int) (out Reports, err error) {
	q := url.Values{"before": {strconv.FormatInt(before, 10)}, "limit": {strconv.Itoa(limit)}}
	return out, c.call(ctx, "GET", "/api/v1/reports", q, "", nil, &out)
}

// Report asks for one report.
func (c *Client) Report(ctx context.Context, no int64) (out report.Report, err error) {
	return out, c.call(ctx, "GET", fmt.Sprintf("/api/v1/reports/%d", no), nil, "", nil, &out)
}

// CutReport has a report cut now.
func (c *Client) CutReport(ctx context.Context) (out report.Report, err error) {
	return out, c.call(ctx, "POST", "/api/v1/reports", nil, "", nil, &out)
}

// ResumeReports has reports go on where the store does not know all that were
// delivered.
func (c *Client) ResumeReports(ctx context.Context, how Resume) error {
	body, err := json.Marshal(how)
	if err != nil {
		return err
	}
	var out Resume
	return c.call(ctx, "POST", "/api/v1/reports/resume", nil, "application/json", bytes.NewReader(body), &out)
}

// SendReport has a report delivered again, to one remote or, if the name is
// empty, to all. It does not wait until that is done.
func (c *Client) SendReport(ctx context.Context, no int64, remote string) (out report.Report, err error) {
	return out, c.call(ctx, "POST", fmt.Sprintf("/api/v1/reports/%d/send", no), url.Values{"remote": {remote}}, "", nil, &out)
}

// Export writes the entries received in [from, to) to w; a zero time is no
// bound.
func (c *Client) Export(ctx context.Context, w io.Writer, format string, from, to time.Time) error {
	q := url.Values{"format": {format}}
	for name, t := range map[string]time.Time{"from": from, "to": to} {
		if !t.IsZero() {
			q.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	res, err := c.open(ctx, "GET", "/api/v1/export", q, "", nil)
	if err != nil {
		return err
	}
	defer res.Close()
	if _, err = io.Copy(w, res); err != nil {
		return fmt.Errorf("the export is not complete: %w", err)
	}
	return nil
}
