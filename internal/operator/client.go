// Package operator is for the commands: it talks to the console of a running quell.
package operator

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"quell/internal/access"
	"quell/internal/audit"
	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/flow"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/release"
	"quell/internal/report"
	"quell/internal/tokens"
)

// ErrNotRunning says that nothing answers at the client's address.
var ErrNotRunning = errors.New("no quell answers")

// ErrNotQuell says that what answers at the client's address is not a console.
var ErrNotQuell = errors.New("is no quell console")

// Client is a client of the console of a running quell. If the console answers with an
// error, the client returns an error with the same text.
type Client struct {
	Base        string // such as http://127.0.0.1:8080
	Certificate []byte // with https, the only one that is accepted, in DER; nil: any of a known authority
	Token       string // sent with each request, if it is not empty
	Socket      string // the path of the console's Unix socket, instead of Base

	tailSilence time.Duration // of tests; 0: the constant

	once   sync.Once // sets the field below
	client *http.Client
}

// http returns what sends requests.
func (c *Client) http() *http.Client {
	if c.Socket == "" && c.Certificate == nil {
		return direct
	}
	c.once.Do(func() {
		t := direct.Transport.(*http.Transport).Clone()
		t.IdleConnTimeout = 10 * time.Second
		if c.Socket != "" {
			t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return access.Dial(ctx, c.Socket) }
		} else {
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // VerifyConnection is stricter
				VerifyConnection: func(s tls.ConnectionState) error {
					if !bytes.Equal(s.PeerCertificates[0].Raw, c.Certificate) {
						return errors.New("the console has another certificate than its configuration")
					}
					return nil
				}}
		}
		c.client = &http.Client{Transport: t}
	})
	return c.client
}

// direct ignores HTTP_PROXY: a proxy cannot reach this machine's loopback, or another
// quell's, and would see what is sent.
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
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); kind != "application/json" {
		return c.notQuell("its answer to %s %s is of the type %q", method, path, kind)
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("the answer to %s %s cannot be read: %w", method, path, err)
	}
	return nil
}

// notQuell is the error for another program at the console's address.
func (c *Client) notQuell(why string, args ...any) error {
	return fmt.Errorf("what answers at %s %w: %s", cmp.Or(c.Socket, strings.TrimPrefix(c.Base, "http://")), ErrNotQuell, fmt.Sprintf(why, args...))
}

// open returns an answer with status 200. The caller closes its body. If this client asks more
// often than its rate allows, open waits as long as the console says.
func (c *Client) open(ctx context.Context, method, path string, query url.Values, kind string, body io.Reader) (*http.Response, error) {
	for {
		res, err := c.try(ctx, method, path, query, kind, body)
		var often *tooOften
		if !errors.As(err, &often) || body != nil || often.wait > maxWait {
			return res, err
		}
		select {
		case <-time.After(often.wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// maxWait is how long a client waits at most because of its rate.
const maxWait = 5 * time.Second

// tooOften says that this client asks more often than its rate allows.
type tooOften struct {
	text string
	wait time.Duration
}

func (e *tooOften) Error() string { return e.text }

func (c *Client) try(ctx context.Context, method, path string, query url.Values, kind string, body io.Reader) (*http.Response, error) {
	url := c.Base + path
	if c.Socket != "" {
		url = "http://localhost" + path
	}
	if len(query) > 0 {
		url += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
		// So the console can refuse before gigabytes are sent.
		req.Header.Set("Expect", "100-continue")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := c.http().Do(req)
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // who waits has stopped: that says nothing of quell
		if err == nil {
			res.Body.Close()
		}
		return nil, context.Canceled
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNotRunning, c.cause(err))
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var e struct{ Error string }
	if json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&e) != nil || e.Error == "" {
		return nil, c.notQuell("its answer to %s %s is %s", method, path, res.Status)
	}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && res.StatusCode == http.StatusTooManyRequests {
		return nil, &tooOften{e.Error, time.Duration(seconds) * time.Second}
	}
	return nil, errors.New(e.Error)
}

// cause returns why there is no answer. On the socket it names that: the URL is one of no machine, and
// access.Dial may open the socket by another path.
func (c *Client) cause(err error) error {
	var request *url.Error
	var dial *net.OpError
	switch {
	case c.Socket == "":
		return err
	case errors.As(err, &dial):
		err = dial.Err
	case errors.As(err, &request):
		err = request.Err
	}
	return fmt.Errorf("%s: %w", c.Socket, err)
}

// statusWait bounds the wait for a status, with which each command begins: a process that hangs takes
// connections all the same.
const statusWait = 10 * time.Second

// Status returns the status of the node.
func (c *Client) Status(ctx context.Context) (s console.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	err = c.call(ctx, "GET", "/api/v1/status", nil, "", nil, &s)
	if err == nil && s.Version == "" {
		err = c.notQuell("its status names no version")
	}
	return s, err
}

// SetSwitch changes the switch.
func (c *Client) SetSwitch(ctx context.Context, change console.SwitchChange) (out console.SwitchChanged, err error) {
	body, err := json.Marshal(change)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "PUT", "/api/v1/switch", nil, "application/json", bytes.NewReader(body), &out)
}

// LastSwitchChange returns the last change of the switch; nil if there was none.
func (c *Client) LastSwitchChange(ctx context.Context) (*events.Event, error) {
	var out struct{ Changes []events.Event }
	if err := c.call(ctx, "GET", "/api/v1/switch", url.Values{"limit": {"1"}}, "", nil, &out); err != nil || len(out.Changes) == 0 {
		return nil, err
	}
	return &out.Changes[0], nil
}

// Windows returns up to limit windows that are open or pending; of all, unless w selects
// some.
func (c *Client) Windows(ctx context.Context, w console.Selection, limit int) (out console.Windows, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	for name, value := range map[string]string{"target": w.Target, "supplier": w.Supplier} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return out, c.call(ctx, "GET", "/api/v1/windows", q, "", nil, &out)
}

// CloseWindows closes windows by hand.
func (c *Client) CloseWindows(ctx context.Context, in console.CloseRequest) (out console.Closed, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "/api/v1/windows/close", nil, "application/json", bytes.NewReader(body), &out)
}

// Suppressions returns up to limit log entries with numbers above after.
func (c *Client) Suppressions(ctx context.Context, after int64, limit int) (out console.Suppressions, err error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
	return out, c.call(ctx, "GET", "/api/v1/suppressions", q, "", nil, &out)
}

// Explain returns why alerts of an id are suppressed or not, at an instant; a zero time is
// now.
func (c *Client) Explain(ctx context.Context, id string, at time.Time) (x motorway.Explanation, err error) {
	q := url.Values{"id": {id}}
	if !at.IsZero() {
		q.Set("at", at.Format(time.RFC3339Nano))
	}
	return x, c.call(ctx, "GET", "/api/v1/explain", q, "", nil, &x)
}

// OneID returns the arguments of a command as one id, without the blanks in it: people write an MPAN in
// groups of digits. Several arguments are one id only if they are the digits of an MPxN, or "entry" and a number.
func OneID(args []string) (id string, one bool) {
	text := strings.Join(args, " ")
	joined := strings.Join(strings.Fields(text), "")
	if _, ok := motorway.EntryNumber(text); ok {
		return text, true
	}
	if len(args) > 1 {
		return joined, strings.Trim(joined, "0123456789") == "" && len(joined) <= 13
	}
	if strings.Trim(joined, "0123456789abcdefABCDEF-:") == "" {
		text = joined
	}
	return text, len(args) == 1
}

// Devices returns up to limit devices of the device list in force: those with higher ids
// than after, or the first ones if after is "".
func (c *Client) Devices(ctx context.Context, after string, limit int) (out console.Devices, err error) {
	q := url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}
	return out, c.call(ctx, "GET", "/api/v1/devices", q, "", nil, &out)
}

// Check returns whether a device is listed, known and tracked.
func (c *Client) Check(ctx context.Context, id outage.DeviceID) (out console.DeviceStatus, err error) {
	return out, c.call(ctx, "GET", "/api/v1/devices/"+id.String(), nil, "", nil, &out)
}

// Import imports files as the "inventory" or the "devices". It sends them while it reads
// them, as fast as they are imported.
func (c *Client) Import(ctx context.Context, kind string, files []devices.File, o console.ImportOptions) (out console.Imported, err error) {
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
	q := url.Values{}
	for name, on := range map[string]bool{"dry_run": o.DryRun, "force": o.Force} {
		if on {
			q.Set(name, "true")
		}
	}
	err = c.call(ctx, "POST", "/api/v1/"+kind, q, form.FormDataContentType(), r, &out)
	return out, err
}

// Audit returns up to limit records of the audit log with numbers above after, in order, and the
// ends of its chain. audit.Verify can use it.
func (c *Client) Audit(ctx context.Context, after int64, limit int) (p audit.Page, err error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
	return p, c.call(ctx, "GET", "/api/v1/audit", q, "", nil, &p)
}

// Tokens returns all tokens of machines.
func (c *Client) Tokens(ctx context.Context) (out console.TokenList, err error) {
	return out, c.call(ctx, "GET", "/api/v1/tokens", nil, "", nil, &out)
}

// CreateToken creates a token.
func (c *Client) CreateToken(ctx context.Context, in console.TokenRequest) (out console.NewToken, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "/api/v1/tokens", nil, "application/json", bytes.NewReader(body), &out)
}

// RevokeToken ends a token, and returns what it was.
func (c *Client) RevokeToken(ctx context.Context, id string) (out tokens.Token, err error) {
	return out, c.call(ctx, "DELETE", "/api/v1/tokens/"+url.PathEscape(id), nil, "", nil, &out)
}

// Reports returns up to limit reports with numbers below before, the latest first.
func (c *Client) Reports(ctx context.Context, before int64, limit int) (out console.Reports, err error) {
	q := url.Values{"before": {strconv.FormatInt(before, 10)}, "limit": {strconv.Itoa(limit)}}
	return out, c.call(ctx, "GET", "/api/v1/reports", q, "", nil, &out)
}

// Report returns one report.
func (c *Client) Report(ctx context.Context, no int64) (out report.Report, err error) {
	return out, c.call(ctx, "GET", fmt.Sprintf("/api/v1/reports/%d", no), nil, "", nil, &out)
}

// CutReport cuts a report now.
func (c *Client) CutReport(ctx context.Context) (out report.Report, err error) {
	return out, c.call(ctx, "POST", "/api/v1/reports", nil, "", nil, &out)
}

// ResumeReports starts cutting and delivering again, after a store that lacks delivered
// reports was put back.
func (c *Client) ResumeReports(ctx context.Context, in console.ResumeRequest) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var out console.ResumeRequest
	return c.call(ctx, "POST", "/api/v1/reports/resume", nil, "application/json", bytes.NewReader(body), &out)
}

// SendReport asks for a report to be delivered again: to one remote, or to all if the name
// is empty. It does not wait for the delivery.
func (c *Client) SendReport(ctx context.Context, no int64, remote string) (out report.Report, err error) {
	return out, c.call(ctx, "POST", fmt.Sprintf("/api/v1/reports/%d/send", no), url.Values{"remote": {remote}}, "", nil, &out)
}

// Export writes the log entries received in [from, to) to w. A zero time is no bound.
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
	defer res.Body.Close()
	if _, err = io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("the export is not complete: %w", err)
	}
	return nil
}

// Release asks for the alert of an entry to be delivered after all. It does not wait for that.
func (c *Client) Release(ctx context.Context, in console.ReleaseRequest) (out release.Release, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "/api/v1/releases", nil, "application/json", bytes.NewReader(body), &out)
}

// ReleaseOf returns how far the release of an entry is.
func (c *Client) ReleaseOf(ctx context.Context, seq int64) (release.Release, error) {
	var out console.ReleaseList
	err := c.call(ctx, "GET", "/api/v1/releases", url.Values{"entry": {strconv.FormatInt(seq, 10)}}, "", nil, &out)
	if err == nil && len(out.Releases) != 1 {
		err = c.notQuell("it does not know the release of entry %d", seq)
	}
	if err != nil {
		return release.Release{}, err
	}
	return out.Releases[0], nil
}

// Flow returns what became of the AD1s that were received in [from, to). A zero time is the default:
// now, and a day before.
func (c *Client) Flow(ctx context.Context, query flow.Query) (out flow.Result, err error) {
	q := url.Values{}
	for name, t := range map[string]time.Time{"from": query.From, "to": query.To} {
		if !t.IsZero() {
			q.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	if query.Minutes {
		q.Set("minutes", "true")
	}
	return out, c.call(ctx, "GET", "/api/v1/flow", q, "", nil, &out)
}
