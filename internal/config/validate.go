package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"quell/internal/outage"
)

const maxWindow = Duration(outage.MaxWindow)

// maxDrain limits how long a stop takes if drain is mistyped.
const maxDrain = Duration(time.Hour)

// maxStoreTimeout limits how long every alert waits if the store hangs.
const maxStoreTimeout = Duration(time.Minute)

// fault is what is wrong with one key.
type fault struct {
	key string
	err error
}

func (f fault) Error() string { return f.key + ": " + f.err.Error() }

func (f fault) Unwrap() error { return f.err }

// Validate returns everything that is wrong with c, joined by errors.Join. Each error
// begins with its key. Validate looks at no file, but looks up the host names of next
// hops and listeners.
func (c *Config) Validate() error {
	var errs []error
	for _, f := range c.faults() {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

func (c *Config) faults() (faults []fault) {
	check := func(key string, err error) {
		if err != nil {
			faults = append(faults, fault{key, err})
		}
	}
	check("data_dir", cmp.Or(checkNonEmpty(c.DataDir), checkPaths(c.DataDir)))
	check("device_list", checkPaths(c.DeviceList))
	if !c.Switch.Valid() {
		check("switch", fmt.Errorf("%q is not on, shadow or off", c.Switch))
	}
	check("window", checkPositive(c.Window))
	if c.Window > maxWindow {
		check("window", fmt.Errorf("must be at most %s, not %s", maxWindow, c.Window))
	}
	check("window_by_model", checkModelWindows(c.WindowByModel))
	check("manufacturers", checkNames(c.Manufacturers))
	if len(c.Manufacturers) == 0 {
		check("manufacturers", errors.New("needs at least one name; to suppress nothing, set the switch to off"))
	}
	check("inventory", cmp.Or(checkNames(c.Inventory), checkPaths(c.Inventory...)))
	check("track", checkForms(c.Track))
	check("clock_tolerance", checkPositive(c.ClockTolerance))
	if c.Store != "sqlite" && c.Database() == "" {
		check("store", errors.New("must be sqlite, or an address that begins with postgres://")) // not repeated: it may contain a password
	}
	if c.Log != "text" && c.Log != "json" {
		check("log", fmt.Errorf("%q is neither text nor json", c.Log))
	}
	if c.Privacy.Postcode != "hash" && c.Privacy.Postcode != "plain" {
		check("privacy.postcode", fmt.Errorf("%q is neither hash nor plain", c.Privacy.Postcode))
	}
	check("store_timeout", checkPositive(c.StoreTimeout))
	if c.StoreTimeout > maxStoreTimeout {
		check("store_timeout", fmt.Errorf("must be at most %s, not %s", maxStoreTimeout, c.StoreTimeout))
	}
	switch {
	case c.Drain < 0:
		check("drain", fmt.Errorf("must be at least 0, not %s", c.Drain))
	case c.Drain > maxDrain:
		check("drain", fmt.Errorf("must be at most %s, not %s", maxDrain, c.Drain))
	}
	check("southbound.listen", checkAddress(c.Southbound.Listen))
	check("southbound.next_hop", checkNextHop(c.Southbound.NextHop))
	check("northbound.listen", checkAddress(c.Northbound.Listen))
	check("northbound.next_hop", checkNextHop(c.Northbound.NextHop))
	if c.Evidence.Release != "off" && c.Evidence.Release != "strong" {
		check("evidence.release", fmt.Errorf("%q is not off or strong", c.Evidence.Release))
	}
	check("syslog", checkSyslog(c.Syslog))
	check("next_hop_idle", checkPositive(c.NextHopIdle))
	check("southbound.signatures", c.checkSignatures(c.Southbound.Signatures))
	check("northbound.signatures", c.checkSignatures(c.Northbound.Signatures))
	check("certificates", checkPaths(c.Certificates))
	check("suppliers", checkSuppliers(c.Suppliers))
	if c.MaxActivationsPerHour < 1 {
		check("max_activations_per_hour", fmt.Errorf("must be more than 0, not %d", c.MaxActivationsPerHour))
	}
	c.channelFaults(check)
	err := checkAddress(c.Console.Listen)
	if err == nil && !c.Console.Insecure && c.Console.TLS.Cert == "" && !isLoopback(c.Console.Listen) {
		err = fmt.Errorf("%q is not a loopback address, so tokens would cross the network without TLS: set console.tls, "+
			"or set console.insecure: true, which lets others read them", c.Console.Listen)
	}
	check("console.listen", err)
	c.consoleFaults(check)
	c.sameListeners(check)
	c.ownListeners(check)
	c.reportFaults(check)
	if r := c.Record.MPxN; r != "hash" && r != "plain" {
		check("record.mpxn", fmt.Errorf("%q is not hash or plain", r))
	}
	if n := c.Record.MaxBytes; n < minRecording {
		check("record.max_bytes", fmt.Errorf("must be at least %s, not %s", minRecording, n))
	}
	check("record.keep", checkPositive(c.Record.Keep))
	check("housekeeping.keep_windows", checkPositive(c.Housekeeping.KeepWindows))
	check("housekeeping.keep_notes", checkPositive(c.Housekeeping.KeepNotes))
	check("housekeeping.keep_log", checkPositive(c.Housekeeping.KeepLog))
	return faults
}

// minReport is the smallest report.max_bytes: a file needs room for some records
// before its entries.
const minReport = Size(64 << 10)

// minRecording is the smallest record.max_bytes: a recording has four files at least.
const minRecording = Size(1 << 20)

var (
	systemID   = regexp.MustCompile(`^[A-Za-z0-9-]{1,40}$`)
	remoteName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
)

func (c *Config) reportFaults(check func(key string, err error)) {
	r := &c.Report
	if !systemID.MatchString(r.SystemID) {
		check("report.system_id", fmt.Errorf("%q is not 1 to 40 letters, digits and hyphens", r.SystemID))
	}
	if every := time.Duration(r.Every); every < time.Second || day%every != 0 && every%day != 0 {
		check("report.every", fmt.Errorf("must be at least 1s and divide a day without remainder, or be whole days, not %s", r.Every))
	}
	if r.MaxBytes < minReport {
		check("report.max_bytes", fmt.Errorf("must be at least %s, not %s", minReport, r.MaxBytes))
	}
	check("report.rclone_config", checkPaths(r.RcloneConfig))
	check("report.remotes", checkRemotes(r.Remotes, r.PerDistributor))
	check("report.alarm_after", checkPositive(r.AlarmAfter))
	check("report.keep", checkPositive(r.Keep))
}

// checkRemotes does not repeat targets in its error: they may contain a password.
func checkRemotes(list []Remote, perDistributor bool) error {
	seen := map[string]bool{}
	for i, r := range list {
		fault := func(format string, args ...any) error {
			return fmt.Errorf("item %d: "+format, append([]any{i + 1}, args...)...)
		}
		switch filter := r.FilterOrDefault(); {
		case !remoteName.MatchString(r.Name):
			return fault("name: %q is not 1 to 40 lower-case letters, digits and hyphens", r.Name)
		case seen[r.Name]:
			return fault("name: %q is used twice", r.Name)
		case checkNonEmpty(r.Target) != nil:
			return fault("target: must not be empty")
		case strings.HasPrefix(r.Target, "~"):
			return fault("target: %w", errTilde)
		case filter == "consolidated":
		case filter != outage.UnknownDistributor && !outage.IsDistributor(filter):
			return fault("filter: %q is not consolidated, unknown, or the id of a distributor such as \"14\"", r.Filter)
		case !perDistributor:
			return fault("filter: %q needs report.per_distributor: true", r.Filter)
		}
		seen[r.Name] = true
	}
	return nil
}

func checkNonEmpty(s string) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// errTilde refuses a path that only a shell would expand. quell does not expand it: the
// operator means the operator's home, and a service has another one or none.
var errTilde = errors.New("begins with ~, which only a shell replaces with a home folder: write the whole path, or ./~ for a name that begins with ~")

func checkPaths(paths ...string) error {
	for _, path := range paths {
		if strings.HasPrefix(path, "~") {
			return fmt.Errorf("%q %w", path, errTilde)
		}
	}
	return nil
}

func checkPositive(d Duration) error {
	if d <= 0 {
		return fmt.Errorf("must be more than 0, not %s", d)
	}
	return nil
}

func checkModelWindows(windows map[string]ModelWindow) error {
	seen := map[string]string{}
	for _, model := range slices.Sorted(maps.Keys(windows)) {
		w, key := windows[model], outage.ModelKey(model)
		switch before, twice := seen[key]; {
		case key == "":
			return errors.New("a model has no name")
		case twice:
			return fmt.Errorf("%q and %q are the same model", before, model)
		case w.From < 0:
			return fmt.Errorf("%s: from must be at least 0s, not %s", model, w.From)
		case w.From >= w.To:
			return fmt.Errorf("%s: from must be less than to, but %s is not less than %s", model, w.From, w.To)
		case w.To > maxWindow:
			return fmt.Errorf("%s: to must be at most %s, not %s", model, maxWindow, w.To)
		}
		seen[key] = model
	}
	return nil
}

func checkNames(list []string) error {
	for i, s := range list {
		if checkNonEmpty(s) != nil {
			return fmt.Errorf("item %d is empty", i+1)
		}
	}
	return nil
}

func (c *Config) checkSignatures(mode outage.Signatures) error {
	switch {
	case !mode.Valid():
		return fmt.Errorf("%q is not off, verify or require", mode)
	case mode != outage.SignaturesOff && c.Certificates == "":
		return fmt.Errorf("%s needs certificates: the folder with the certificates of those who sign", mode)
	}
	return nil
}

func checkSuppliers(list []string) error {
	seen := map[outage.DeviceID]bool{}
	for i, text := range list {
		id, err := outage.ParseAnyDeviceID(text)
		switch {
		case err != nil || id == 0:
			return fmt.Errorf("item %d: %q is %w", i+1, text, outage.ErrDeviceID)
		case seen[id]:
			return fmt.Errorf("item %d: %q is there twice", i+1, text)
		}
		seen[id] = true
	}
	return nil
}

func checkForms(track []outage.Form) error {
	for _, f := range track {
		if f != outage.ServiceRequest && f != outage.SignedPreCommand {
			return fmt.Errorf("%q is not %s or %s", f, outage.ServiceRequest, outage.SignedPreCommand)
		}
	}
	if len(track) == 0 {
		return errors.New("needs at least one form; to track nothing, set the switch to off")
	}
	return nil
}
