package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"quell/internal/devices"
	"quell/internal/guard"
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

// parts returns the files of a multipart request, one after the other as they arrive, under
// the file names of the parts.
func parts(r *http.Request) (next func() (devices.File, error), err error) {
	m, err := r.MultipartReader()
	if err != nil {
		return nil, badRequest{err}
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
	}, nil
}

// ImportOptions are options of an import.
type ImportOptions struct {
	DryRun bool // only say what it would change
	// Force imports what would be refused: a list that shrinks by more than a fifth, or
	// files that replace those that the configuration names.
	Force bool
}

// errStopping ends an import that is under way when quell stops.
var errStopping = errors.New("quell is stopping: nothing was imported")

// untilDrain ends a request when Drain is called, at whatever step it is.
func (c *Console) untilDrain(f func(*http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer context.AfterFunc(c.Draining(), func() {
			cancel(errStopping)
			r.Body.Close() // the sender may have stopped sending
		})()
		v, err := f(r.WithContext(ctx))
		if err != nil && context.Cause(ctx) == errStopping {
			err = errStopping
		}
		return v, err
	}
}

// errDryRun ends a dry run before anything is imported.
var errDryRun = errors.New("a dry run")

// importRequest is one import through the API.
type importRequest struct {
	ImportOptions
	result Imported // of a dry run
}

// newImport reads the options of an import, and checks that an import by hand is allowed.
func (c *Console) newImport(r *http.Request, kind string) (*importRequest, error) {
	var in importRequest
	for name, to := range map[string]*bool{"dry_run": &in.DryRun, "force": &in.Force} {
		switch text := r.URL.Query().Get(name); text {
		case "", "false":
		case "true":
			*to = true
		default:
			return nil, badRequest{fmt.Errorf("%s=%q is not true or false", name, text)}
		}
	}
	if in.DryRun || in.Force {
		return &in, nil
	}
	return &in, c.checkConfigured(kind)
}

// checkDryRun is a devices.Check. It notes the result of a dry run, and ends it.
func (in *importRequest) checkDryRun(im devices.Import, change devices.Change) error {
	if !in.DryRun {
		return nil
	}
	in.result = Imported{Import: im, Change: &change}
	if err := devices.RefuseShrinking(im, change); err != nil {
		in.result.Refused = err.Error()
	}
	return errDryRun
}

func (in *importRequest) checks() []devices.Check {
	if in.Force && !in.DryRun {
		return nil
	}
	return []devices.Check{in.checkDryRun, devices.RefuseShrinking}
}

func (c *Console) importInventory(r *http.Request) (any, error) {
	next, err := parts(r)
	if err != nil {
		return nil, err
	}
	in, err := c.newImport(r, "inventory")
	if err != nil {
		return nil, err
	}
	im, err := c.Devices.ImportInventory(r.Context(), guard.Caller(r).Name, c.Motorway.Now(), next, in.checks()...)
	return c.imported(r, "inventory", in, im, err)
}

func (c *Console) importDevices(r *http.Request) (any, error) {
	next, err := parts(r)
	if err != nil {
		return nil, err
	}
	in, err := c.newImport(r, "devices")
	if err != nil {
		return nil, err
	}
	f, err := next()
	if err != nil {
		return nil, badRequest{fmt.Errorf("the request has no file: %w", err)}
	}
	im, err := c.Devices.ImportList(r.Context(), guard.Caller(r).Name, c.Motorway.Now(), f, in.checks()...)
	return c.imported(r, "devices", in, im, err)
}

// Imported is the answer to an import.
type Imported struct {
	devices.Import
	// Others are the other manufacturers of listed meters; nil if they are not known yet.
	Others *devices.OtherManufacturers `json:"other_manufacturers,omitempty"`
	// Change is what a dry run found. Refused says why the import would be refused; "" if it
	// would not be. A dry run changes nothing.
	Change  *devices.Change `json:"change,omitempty"`
	Refused string          `json:"refused,omitempty"`
}

// othersWait is how long an import waits for what the check of manufacturers says.
const othersWait = 30 * time.Second

// imported logs an import and returns its answer.
func (c *Console) imported(r *http.Request, kind string, in *importRequest, im devices.Import, err error) (any, error) {
	if errors.Is(err, errDryRun) {
		return in.result, nil
	}
	if err != nil {
		io.Copy(io.Discard, r.Body) // otherwise the sender sees a broken connection instead of the answer
		c.Log.Warn("import failed, nothing was changed", "kind", kind, "error", err)
		return nil, err
	}
	c.Log.Info("imported", "kind", kind, "devices", im.Rows, "skipped", im.Skipped, "source", im.Source, "sha256", im.SHA256, "who", im.Who)
	ctx, cancel := context.WithTimeout(r.Context(), othersWait)
	defer cancel()
	others, err := c.Manufacturers.Run(ctx)
	if err != nil {
		c.Log.Warn("the manufacturers of the listed meters are not known yet", "error", err)
		return Imported{Import: im}, nil
	}
	return Imported{Import: im, Others: &others}, nil
}

// Devices is the answer to GET /api/v1/devices: ids from the device list in force. Next is
// the value of "after" for the next page; "" if there is none.
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

// DeviceStatus is the answer to GET /api/v1/devices/ID.
type DeviceStatus struct {
	ID      outage.DeviceID `json:"device_id"`
	Listed  bool            `json:"listed"`  // it is in the device list in force
	Known   bool            `json:"known"`   // it is in the inventory
	Tracked bool            `json:"tracked"` // an 11.3 for it would be tracked
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
	return DeviceStatus{id, listed, d != nil, ok, reason, reason.Text()}, nil
}
