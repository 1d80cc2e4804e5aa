package devices

import (
	"context"
	"errors"
	"strconv"
	"time"

	"quell/internal/outage"
)

// For the tests in package devices_test.
const (
	ChangePage       = changePage
	ImportBatch      = importBatch
	ManufacturerStep = manufacturerStep
	MaxManufacturers = maxManufacturers
	OthersPause      = othersPause
)

var ErrDropped = errDropped

// WriteList writes one device of an import of a list.
func (ds *Devices) WriteList(ctx context.Context, no int64, id outage.DeviceID) error {
	w := ds.listWriter(no)
	return errors.Join(w.add(ctx, append(strconv.AppendInt([]byte("["), int64(id), 10), ']')), w.flush(ctx))
}

// FinishList puts an import of a list into force.
func (ds *Devices) FinishList(ctx context.Context, im *Import) error {
	return ds.finishImport(ctx, "devices", im, nil, nil)
}

// Checking reports whether a check is under way.
func (o *ManufacturerCheck) Checking() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.done != nil
}

// Failed returns when the last check failed.
func (o *ManufacturerCheck) Failed() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// SetFailed sets it.
func (o *ManufacturerCheck) SetFailed(at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = at
}
