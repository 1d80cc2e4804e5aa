package adviser

import (
	"context"
	"fmt"
	"io"
	"strings"

	"quell/internal/advice"
	"quell/internal/devices"
	"quell/internal/outage"
)

// addUpdates adds what is known of firmware on its way to a forecast.
func (a *Adviser) addUpdates(ctx context.Context, f *advice.Forecast, times []advice.Times) error {
	list, err := a.Updates.Waiting(ctx, devices.Newest, f.Now)
	if err != nil {
		return err
	}
	known, err := a.Updates.Waits(ctx)
	if err != nil {
		return err
	}
	var waiting []advice.Waiting
	for _, w := range list {
		if !outage.IsDistributor(w.Distributor) {
			w.Distributor = ""
		}
		waiting = append(waiting, advice.Waiting{Model: strings.TrimSpace(w.Manufacturer + " " + w.Model), Distributor: w.Distributor, Supplier: w.Supplier.String(), Arrived: w.Arrived, Since: w.Since, Count: w.Count})
	}
	var waits []advice.Wait
	for _, w := range known {
		waits = append(waits, advice.Wait{Supplier: w.Supplier.String(), Arrived: w.Arrived, Hours: w.Hours, Count: w.Count})
	}
	f.AddUpdates(waiting, waits, times)
	return nil
}

// printUpdates writes what is announced and not ordered.
func (f *Forecast) printUpdates(w io.Writer) {
	if len(f.Updates) == 0 {
		return
	}
	fmt.Fprintf(w, "\nThese meters have new firmware on its way, and no 11.3 yet:\n\n%-23s %-23s %8s %8s %7s %6s\n", "MODEL", "SUPPLIER", "ORDERED", "ARRIVED", "AD1S", "SOON")
	number := func(n float64) string {
		if n < 0 {
			return "?"
		}
		return fmt.Sprintf("%.0f", n)
	}
	for _, u := range f.Updates {
		fmt.Fprintf(w, "%-23s %-23s %8d %8d %7s %6s\n", clip(u.Model, 23), u.Supplier, u.Ordered, u.Arrived, number(u.Alerts), number(u.Likely))
	}
	fmt.Fprintf(w, "\nORDERED by an 11.1; ARRIVED at the hub, by an N60. AD1S are what they cause when\nall are activated. No message says when that is. SOON are the activations until\n%s UTC, if the supplier waits as long as before. ? is not known.\n", f.Until.UTC().Format(clock))
	if len(f.Likely) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%-18s %-12s %12s %15s\n", "HOUR (UTC)", "DISTRIBUTOR", "LIKELY", "AD1S LIKELY")
	for _, h := range f.Likely {
		distributor := h.Distributor
		if distributor == "" {
			distributor = "unknown"
		}
		fmt.Fprintf(w, "%-18s %-12s %12.1f %15.1f\n", h.From.UTC().Format(clock), distributor, h.Activations, h.Alerts)
	}
}
