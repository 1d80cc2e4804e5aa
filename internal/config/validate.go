package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"quell/internal/outage"
)

// maxWindow bounds the harm that a mistyped window can do.
const maxWindow = Duration(day)

// maxDrain bounds how long a stop can take by a slip of the finger.
const maxDrain = Duration(time.Hour)

// maxStoreTimeout bounds how long every alert waits if the store hangs.
const maxStoreTimeout = Duration(time.Minute)

// fault is what is wrong with one key.
type fault struct {
	key string
	err error
}

func (f fault) Error() string { return f.key + ": " + f.err.Error() }

func (f fault) Unwrap() error { return f.err }

// Validate says what is wrong with c: all of it at once, joined by
// errors.Join, each error beginning with its key. It looks at no file, but looks
// up the names of next hops and listeners.
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
	check("data_dir", cmp.Or(nonEmpty(c.DataDir), wholePath(c.DataDir)))
	check("device_list", wholePath(c.DeviceList))
	if !c.Switch.Valid() {
		check("switch", fmt.Errorf("%q is not on, shadow or off", c.Switch))
	}
	check("window", positive(c.Window))
	if c.Window > maxWindow {
		check("window", fmt.Errorf("%s is more than %s", c.Window, maxWindow))
	}
	check("manufacturers", names(c.Manufacturers))
	if len(c.Manufacturers) == 0 {
		check("manufacturers", errors.New("needs at least one name; to suppress nothing, turn the switch off"))
	}
	check("inventory", cmp.Or(names(c.Inventory), wholePath(c.Inventory...)))
	check("track", forms(c.Track))
	check("clock_tolerance", positive(c.ClockTolerance))
	if c.Store != "sqlite" && c.Database() == "" {
		check("store", errors.New("is neither sqlite nor an address that begins with postgres://")) // not repeated: it may hold a password
	}
	check("store_timeout", positive(c.StoreTimeout))
	if c.StoreTimeout > maxStoreTimeout {
		check("store_timeout", fmt.Errorf("%s is more than %s", c.StoreTimeout, maxStoreTimeout))
	}
	switch {
	case c.Drain < 0:
		check("drain", fmt.Errorf("%s is less than 0", c.Drain))
	case c.Drain > maxDrain:
		check("drain", fmt.Errorf("%s is more than %s", c.Drain, maxDrain))
	}
	check("southbound.listen", address(c.Southbound.Listen))
	check("southbound.next_hop", nextHop(c.Southbound.NextHop))
	check("northbound.listen", address(c.Northbound.Listen))
	check("northbound.next_hop", nextHop(c.Northbound.NextHop))
	check("next_hop_idle", positive(c.NextHopIdle))
	err := address(c.Console.Listen)
	if err == nil && !c.Console.Insecure && !loopback(c.Console.Listen) {
		err = fmt.Errorf("%q is not a loopback address, and the console has no authentication yet; "+
			"console.insecure: true opens it to whoever reaches it", c.Console.Listen)
	}
	check("console.listen", err)
	c.sameListeners(check)
	c.ownListeners(check)
	c.reportFaults(check)
	check("housekeeping.keep_windows", positive(c.Housekeeping.KeepWindows))
	check("housekeeping.keep_log", positive(c.Housekeeping.KeepLog))
	return faults
}

// minReport is the least report.max_bytes: a file begins with some records
// besides its entries.
const minReport = Size(64 << 10)

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
		check("report.every", fmt.Errorf("%s is not at least 1s and a part of a day without remainder, or whole days", r.Every))
	}
	if r.MaxBytes < minReport {
		check("report.max_bytes", fmt.Errorf("%s is less than %s", r.MaxBytes, minReport))
	}
	check("report.rclone_config", wholePath(r.RcloneConfig))
	check("report.remotes", remotes(r.Remotes, r.PerDistributor))
	check("report.alarm_after", positive(r.AlarmAfter))
	check("report.keep", positive(r.Keep))
}

// remotes does not repeat targets, which may hold a password.
func remotes(list []Remote, perDistributor bool) error {
	seen := map[string]bool{}
	for i, r := range list {
		fault := func(format string, args ...any) error {
			return fmt.Errorf("item %d: "+format, append([]any{i + 1}, args...)...)
		}
		switch takes := r.Takes(); {
		case !remoteName.MatchString(r.Name):
			return fault("name: %q is not 1 to 40 small letters, digits and hyphens", r.Name)
		case seen[r.Name]:
			return fault("name: %q a second time", r.Name)
		case nonEmpty(r.Target) != nil:
			return fault("target: must not be empty")
		case strings.HasPrefix(r.Target, "~"):
			return fault("target: %w", errTilde)
		case takes == "consolidated":
		case takes != outage.UnknownDistributor && !outage.IsDistributor(takes):
			return fault("filter: %q is not consolidated, unknown, or the id of a distributor such as \"14\"", r.Filter)
		case !perDistributor:
			return fault("filter: %q needs report.per_distributor: true", r.Filter)
		}
		seen[r.Name] = true
	}
	return nil
}

func nonEmpty(s string) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// errTilde refuses what only a shell makes a path of. It is not done here: the home
// that is meant is the operator's, and a service has another or none.
var errTilde = errors.New("begins with ~, which only a shell takes for a home: write the whole path, or ./~ for a name that begins so")

func wholePath(paths ...string) error {
	for _, path := range paths {
		if strings.HasPrefix(path, "~") {
			return fmt.Errorf("%q %w", path, errTilde)
		}
	}
	return nil
}

func positive(d Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s is not more than 0", d)
	}
	return nil
}

func names(list []string) error {
	for i, s := range list {
		if nonEmpty(s) != nil {
			return fmt.Errorf("item %d is empty", i+1)
		}
	}
	return nil
}

func forms(track []outage.Form) error {
	for _, f := range track {
		if f != outage.ServiceRequest && f != outage.SignedPreCommand {
			return fmt.Errorf("%q is not %s or %s", f, outage.ServiceRequest, outage.SignedPreCommand)
		}
	}
	if len(track) == 0 {
		return errors.New("needs at least one form; to track nothing, turn the switch off")
	}
	return nil
}
