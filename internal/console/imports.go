package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"quell/internal/devices"
	"quell/internal/outage"
)

var errConfigured = errors.New("comes from the configuration: change that file, and send SIGHUP")

func (c *Console) checkConfigured(kind string) error {
	if c.Configured != nil {
		if key := c.Configured(kind); key != "" {
			return fmt.Errorf("%s %w", key, errConfigured)
		}
	}
	return nil
}

// parts gives the files of a multipart request, one after the other as they
// arrive; their names are the parts' file names.
func parts(r *http.Request) (next func() (devices.File, error), who string, err error) {
	who = strings.TrimSpace(r.URL.Query().Get("who"))
	if !isText(who) {
		return nil, "", badRequest{errors.New("needs who")}
	}
	m, err := r.MultipartReader()
	if err != nil {
		return nil, "", badRequest{err}
	}
	return func() (devices.File, error) {
		p, err := m.NextPart()
		if err == io.EOF {
			return devices.File{}, io.EOF
		}
		if err != nil {
			return devices.File{}, badRequest{err}
		}
		if !isText(p.FileName()) {
			return devices.File{}, badRequest{errors.New("a file needs a name")}
		}
		return devices.File{Name: p.FileName(), Reader: p}, nil
	}, who, nil
}

// How says how an import is made.
type How struct {
	DryRun bool // only say what it would change
	// Force imports what would be refused: a list that shrinks by more than a fifth,
	// and one in the place of that which the configuration names.
	Force bool
}

// errStopping ends an import that is under way when quell stops.
var errStopping = errors.New("quell is stopping: nothing was imported")

// untilDrain has a request end when Drain is called, wherever it is.
func (c *Console) untilDrain(f func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer context.AfterFunc(c.draining(), func() {
			cancel(errStopping)
			r.Body.Close() // its sender may have stalled
		})()
		v, err := f(r.WithContext(ctx))
		if err != nil && context.Cause(ctx) == errStopping {
			err = errStopping
		}
		return v, err
	}
}

// errDryRun ends an import that is only asked about.
var errDryRun = errors.New("a dry run")

// An attempt is one import by the API.
type attempt struct {
	How
	result Imported // of a dry run
}

// newAttempt reads what a request says of how an import is made, and whether it may be.
func (c *Console) newAttempt(r *http.Request, kind string) (*attempt, error) {
	var a attempt
	for name, to := range map[string]*bool{"dry_run": &a.DryRun, "force": &a.Force} {
		switch text := r.URL.Query().Get(name); text {
		case "", "false":
		case "true":
			*to = true
		default:
			return nil, badRequest{fmt.Errorf("%s=%q is not true or false", name, text)}
		}
	}
	if a.DryRun || a.Force {
		return &a, nil
	}
	return &a, c.checkConfigured(kind)
}

// check is the store's check of the import.
func (a *attempt) check(im devices.Import, change devices.Change) error {
	if !a.DryRun {
		return nil
	}
	a.result = Imported{Import: im, Change: &change}
	if err := devices.Careful(im, change); err != nil {
		a.result.Refused = err.Error()
	}
	return errDryRun
}

func (a *attempt) checks() []devices.Check {
	if a.Force && !a.DryRun {
		return nil
	}
	return []devices.Check{a.check, devices.Careful}
}

func (c *Console) importInventory(r *http.Request) (any, error) {
	next, who, err := parts(r)
	if err != nil {
		return nil, err
	}
	a, err := c.newAttempt(r, "inventory")
	if err != nil {
		return nil, err
	}
	im, err := c.Devices.ImportInventory(r.Context(), who, c.Motorway.Now(), next, a.checks()...)
	return c.imported(r, "inventory", a, im, err)
}

func (c *Console) importDevices(r *http.Request) (any, error) {
	next, who, err := parts(r)
	if err != nil {
		return nil, err
	}
	a, err := c.newAttempt(r, "devices")
	if err != nil {
		return nil, err
	}
	f, err := next()
	if err != nil {
		return nil, badRequest{fmt.Errorf("no file: %w", err)}
	}
	im, err := c.Devices.ImportList(r.Context(), who, c.Motorway.Now(), f, a.checks()...)
	return c.imported(r, "devices", a, im, err)
}

// Imported is what an import answers.
type Imported struct {
	devices.Import
	// Others are the other manufacturers of listed meters now; nil: not known yet.
	Others *OtherManufacturers `json:"other_manufacturers,omitempty"`
	// Change is what a dry run has found, and Refused why the import would be
	// refused, if it would. Nothing was changed.
	Change  *devices.Change `json:"change,omitempty"`
	Refused string          `json:"refused,omitempty"`
}

// imported logs an import and makes its answer.
func (c *Console) imported(r *http.Request, kind string, a *attempt, im devices.Import, err error) (any, error) {
	if errors.Is(err, errDryRun) {
		return a.result, nil
	}
	if err != nil {
		io.Copy(io.Discard, r.Body) // else the sender sees a broken connection instead of the answer
		c.Log.Warn("import failed, nothing was changed", "kind", kind, "error", err)
		return nil, err
	}
	c.Log.Info("imported", "kind", kind, "devices", im.Rows, "skipped", im.Skipped, "source", im.Source, "sha256", im.SHA256, "who", im.Who)
	ctx, cancel := context.WithTimeout(r.Context(), othersWait)
	defer cancel()
	others, err := c.CheckManufacturers(ctx)
	if err != nil {
		c.Log.Warn("the manufacturers of the listed meters are not known yet", "error", err)
		return Imported{Import: im}, nil
	}
	return Imported{Import: im, Others: &others}, nil
}

// Devices is what GET /api/v1/devices answers: device ids of the list in
// force. Next is the value of "after" for what follows; "" at the end.
type Devices struct {
	List    devices.Import    `json:"list"`
	Devices []outage.DeviceID `json:"devices"`
	Next    string            `json:"next"`
}

func (c *Console) listDevices(r *http.Request) (any, error) {
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	var after *outage.DeviceID
	if text := r.URL.Query().Get("after"); text != "" {
		id, err := outage.ParseAnyDeviceID(text)
		if err != nil {
			return nil, badRequest{fmt.Errorf("after=%q: %w", text, err)}
		}
		after = &id
	}
	im, err := c.Devices.LastImport(r.Context(), "devices")
	if err != nil {
		return nil, err
	}
	ids, err := c.Devices.List(r.Context(), after, int(limit))
	out := Devices{List: im, Devices: append([]outage.DeviceID{}, ids...)}
	if len(ids) == int(limit) {
		out.Next = ids[len(ids)-1].String()
	}
	return out, err
}

// Checked is what GET /api/v1/devices/ID answers.
type Checked struct {
	ID      outage.DeviceID `json:"device_id"`
	Listed  bool            `json:"listed"`  // stands in the device list in force
	Known   bool            `json:"known"`   // to the inventory
	Tracked bool            `json:"tracked"` // an 11.3 for it would be
	Reason  outage.Reason   `json:"reason"`
	Text    string          `json:"text"` // the reason in plain words
}

func (c *Console) checkDevice(r *http.Request) (any, error) {
	id, err := outage.ParseAnyDeviceID(r.PathValue("id"))
	if err != nil {
		return nil, fmt.Errorf("%q is %w", r.PathValue("id"), err)
	}
	d, listed, err := c.Devices.Device(r.Context(), id)
	if err != nil {
		return nil, err
	}
	ok, reason := outage.Eligible(d, listed, c.Motorway.Rules().Manufacturers)
	return Checked{id, listed, d != nil, ok, reason, reason.Text()}, nil
}
