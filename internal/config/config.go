// Package config is quell's configuration: a YAML file, overridden by the
// environment, checked as a whole.
//
// The struct Config is the reference. Its comments become docs/config.md and
// the commented default file, and a test holds both of them, and the defaults
// that the comments name, to the code.
package config

import (
	"cmp"
	_ "embed"
	"encoding"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"time"

	"quell/internal/outage"
)

// Config is the whole configuration. The zero value is of no use: begin with
// Default. Each comment ends with the default, or says that there is none. The
// tag reload says what becomes of a changed value when the file is read again:
// live, restart (needs one), or first (ignored once there is a value in the store).
// The tag nodes:"same" marks those that must be equal on all nodes of a database.
type Config struct {
	// The folder of everything that quell keeps: the database, the node's
	// journal, the audit trail. It is created if missing, and belongs to one
	// running quell at a time. A relative path starts at the working directory; a
	// path that begins with ~ is refused here and elsewhere.
	// Default: data.
	DataDir string `yaml:"data_dir" reload:"restart"`

	// The first value of the switch: on (suppress), shadow (log what would be
	// suppressed, forward everything) or off (pass everything, open no window).
	// It counts only until the store has a value; from then on the command
	// "quell switch" turns it.
	// Default: on.
	Switch outage.Switch `yaml:"switch" reload:"first"`

	// How long after a firmware activation the hub's outage alerts are
	// suppressed: the window is [start, start + window). More than 0, at most 1d.
	// A change counts for activations received from then on.
	// Default: 30m.
	Window Duration `yaml:"window" reload:"live" nodes:"same"`

	// The manufacturers whose meters are tracked, as the inventory writes them: by
	// name or by ZigBee manufacturer code, of which 1063 is Landis+Gyr's. Case and
	// blanks do not count: Landis + Gyr is Landis+Gyr. At least one.
	// Default: [Landis+Gyr, "1063"].
	Manufacturers []string `yaml:"manufacturers" reload:"live" nodes:"same"`

	// The file that lists the meters to track, one EUI-64 a line. Empty: the
	// list last imported by command, or else the one built into the program.
	// Default: empty.
	DeviceList string `yaml:"device_list" reload:"live"`

	// The files that say which devices there are, each CSV or a DUIS
	// DSPInventory. Empty: the inventory last imported by command.
	// Default: empty.
	Inventory []string `yaml:"inventory" reload:"live"`

	// The forms of a firmware activation that open and close windows:
	// service-request, signed-pre-command, or both. Only the Signed Pre-Command
	// reaches the meter, so [signed-pre-command] is recommended: the window of a
	// Service Request that is never signed withholds alerts for no reason. The
	// default is both, as the impact assessment words it.
	// Default: [service-request, signed-pre-command].
	Track []outage.Form `yaml:"track" reload:"live" nodes:"same"`

	// How far the clocks of hub and motorway may differ, and those of a node and
	// its PostgreSQL database. An outage that began earlier than the window by
	// more than this is marked in the log as started before the activation; a
	// node whose clock is off by more goes by the database's. More than 0.
	// Default: 1m.
	ClockTolerance Duration `yaml:"clock_tolerance" reload:"live" nodes:"same"`

	// Where windows and log are kept: sqlite, a database in data_dir, or the
	// address of a PostgreSQL database (13 or later) that one or more nodes use,
	// as libpq writes it: postgres://quell@db1,db2/quell?sslmode=verify-full. Of
	// several hosts the one that takes writes is used. What the address leaves
	// out comes from PGHOST, PGPASSWORD, PGPASSFILE and the like; a password
	// belongs there.
	// Default: sqlite.
	Store string `yaml:"store" reload:"restart"`

	// How long an alert waits for the store. When it has no decision by then,
	// it is forwarded. More than 0, at most 1m.
	// Default: 250ms.
	StoreTimeout Duration `yaml:"store_timeout" reload:"live"`

	// How long a node that is told to stop goes on taking messages while /readyz
	// says no, so that a load balancer sees it and sends no more. 0 to 1h.
	// Default: 3s.
	Drain Duration `yaml:"drain" reload:"live"`

	// The way from Service Users to devices.
	Southbound struct {
		// The address, host:port, that takes requests of Service Users.
		// Default: 127.0.0.1:8079.
		Listen string `yaml:"listen" reload:"restart"`

		// Where requests go on to: an http or https URL without user, query and
		// fragment, not quell's own. A request's path is added to its path.
		// Required.
		NextHop string `yaml:"next_hop" reload:"live"`
	} `yaml:"southbound"`

	// The way from communications service providers to Service Users.
	Northbound struct {
		// The address, host:port, that takes alerts and responses.
		// Default: 127.0.0.1:8089.
		Listen string `yaml:"listen" reload:"restart"`

		// Where alerts and responses go on to: an http or https URL without user,
		// query and fragment, not quell's own. A message's path is added to its path.
		// Required.
		NextHop string `yaml:"next_hop" reload:"live"`
	} `yaml:"northbound"`

	// How long a connection to a next hop is kept without a message. It must be
	// shorter than the next hop keeps it: many servers close at 5s (nginx at 75s,
	// gunicorn at 2s), and a message that is sent just then is answered 502, since
	// quell sends none a second time that may have arrived. More than 0.
	// Default: 4s.
	NextHopIdle Duration `yaml:"next_hop_idle" reload:"restart"`

	// The admin API, health and metrics.
	Console struct {
		// The address, host:port, of the console. Commands that act on a running
		// quell speak to it. There is no authentication yet: an address off
		// loopback is refused unless insecure is true.
		// Default: 127.0.0.1:8080.
		Listen string `yaml:"listen" reload:"restart"`

		// Whether the console may listen off loopback, open to whoever reaches it.
		// Default: false.
		Insecure bool `yaml:"insecure" reload:"restart"`
	} `yaml:"console"`

	// The Service Audit Trail: a JSON line for each message that passed, in
	// rotated files in data_dir.
	AuditTrail struct {
		// Whether the trail is written.
		// Default: true.
		Enabled bool `yaml:"enabled" reload:"live"`
	} `yaml:"audit_trail"`

	// Reports: files with the entries of the suppression log, and where they go.
	// They are kept in the folder reports of data_dir.
	Report struct {
		// What this system is called in its reports and in the names of their
		// files: up to 40 letters, digits and hyphens.
		// Default: quell.
		SystemID string `yaml:"system_id" reload:"live" nodes:"same"`

		// How often a report is cut, at round times in UTC: with 1h on the hour.
		// At least 1s; a part of a day without remainder, or whole days.
		// Default: 1h.
		Every Duration `yaml:"every" reload:"live" nodes:"same"`

		// The size of a file before which a report is cut early. At least 64KiB.
		// Default: 10MiB.
		MaxBytes Size `yaml:"max_bytes" reload:"live" nodes:"same"`

		// Whether a time in which nothing was logged yields a file that says so.
		// Default: true.
		Empty bool `yaml:"empty" reload:"live" nodes:"same"`

		// Whether there is, beside the consolidated file, one for each distributor.
		// Default: false.
		PerDistributor bool `yaml:"per_distributor" reload:"live" nodes:"same"`

		// The rclone configuration file that targets are looked up in; it may be
		// encrypted. Empty: the place where rclone looks for it by itself. Remotes
		// may also be defined by variables such as RCLONE_CONFIG_ESI_TYPE.
		// Default: empty.
		RcloneConfig string `yaml:"rclone_config" reload:"restart"`

		// Where files go: a list of {name, target, filter}. A name is up to 40
		// small letters, digits and hyphens. A target is written as for rclone:
		// "esi:/inbound/poas", a connection string or a folder, of the backends
		// local, sftp, webdav, onedrive, s3 and azureblob. A folder of this machine
		// must exist: of a share name a folder inside it, which is missing while the
		// share is not mounted. Secrets do not belong
		// here, but into rclone's configuration or environment. A filter is
		// consolidated, which is the default, a distributor's id such as "14", or
		// unknown; the last two need per_distributor.
		// Default: empty.
		Remotes []Remote `yaml:"remotes" reload:"live" nodes:"same"`

		// How long a report may be on its way before it is an error in the log
		// and a metric. More than 0.
		// Default: 1h.
		AlarmAfter Duration `yaml:"alarm_after" reload:"live" nodes:"same"`

		// How long files are kept in data_dir, from the end of their period on. A
		// file that a remote has not confirmed is kept until then. More than 0.
		// Default: 90d.
		Keep Duration `yaml:"keep" reload:"live"`
	} `yaml:"report"`

	// What is forgotten, and when. Housekeeping runs every hour.
	Housekeeping struct {
		// How long a window is kept after it is over. A message that is sent
		// again within this time gets the decision that it got before. A request is
		// kept as long as any earlier one of its meter. One that was not tracked is
		// kept this long after it was received. More than 0.
		// Default: 7d.
		KeepWindows Duration `yaml:"keep_windows" reload:"live" nodes:"same"`

		// How long an entry of the suppression log is kept. One that is in no
		// report yet, or in one that a remote has not confirmed, is kept longer.
		// What is known of reports, and who changed what, are kept as long, and for
		// report.keep at least.
		// More than 0.
		// Default: 400d.
		KeepLog Duration `yaml:"keep_log" reload:"live" nodes:"same"`
	} `yaml:"housekeeping"`
}

// Remote is one item of report.remotes.
type Remote struct {
	Name   string `yaml:"name"`
	Target string `yaml:"target"`
	Filter string `yaml:"filter"`
}

// Takes is the filter, or its default.
func (r Remote) Takes() string { return cmp.Or(r.Filter, "consolidated") }

// Database is the address of the PostgreSQL database, "" if the store is SQLite.
func (c *Config) Database() string {
	if IsPostgres(c.Store) {
		return c.Store
	}
	return ""
}

// IsPostgres reports whether a store is the address of a PostgreSQL database.
func IsPostgres(store string) bool {
	return strings.HasPrefix(store, "postgres://") || strings.HasPrefix(store, "postgresql://")
}

// Default is the configuration with every default, and so without the two next
// hops that it needs to be valid.
func Default() Config {
	var c Config
	c.DataDir = "data"
	c.Switch = outage.SwitchOn
	c.Window = Duration(30 * time.Minute)
	c.Manufacturers = []string{"Landis+Gyr", "1063"}
	c.Track = []outage.Form{outage.ServiceRequest, outage.SignedPreCommand}
	c.ClockTolerance = Duration(time.Minute)
	c.Store = "sqlite"
	c.StoreTimeout = Duration(250 * time.Millisecond)
	c.Drain = Duration(3 * time.Second)
	c.NextHopIdle = Duration(4 * time.Second)
	c.Southbound.Listen = "127.0.0.1:8079"
	c.Northbound.Listen = "127.0.0.1:8089"
	c.Console.Listen = "127.0.0.1:8080"
	c.AuditTrail.Enabled = true
	c.Report.SystemID = "quell"
	c.Report.Every = Duration(time.Hour)
	c.Report.MaxBytes = 10 << 20
	c.Report.Empty = true
	c.Report.AlarmAfter = Duration(time.Hour)
	c.Report.Keep = Duration(90 * day)
	c.Housekeeping.KeepWindows = Duration(7 * day)
	c.Housekeeping.KeepLog = Duration(400 * day)
	return c
}

//go:embed default.yaml
var defaultYAML string

// DefaultYAML is a file with every key at its default and its meaning above
// it. It lacks only the two next hops.
func DefaultYAML() string { return defaultYAML }

// Changes names the keys whose values differ: live are those that a running
// quell can take over, restart those that it cannot. The key switch is never
// among them: it is a first value, which a running quell has behind it.
func Changes(old, changed Config) (live, restart []string) {
	was, is := leaves(&old), leaves(&changed)
	for i, l := range is {
		if equal(was[i].value, l.value) {
			continue
		}
		switch l.reload {
		case "live":
			live = append(live, l.key)
		case "restart":
			restart = append(restart, l.key)
		}
	}
	return live, restart
}

// Same is what must be equal on all nodes of a database, by key, as text that is
// equal if the values are.
func Same(c Config) map[string]string {
	same := map[string]string{}
	for _, l := range leaves(&c) {
		if l.same {
			same[l.key] = text(l.value)
		}
	}
	return same
}

func text(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, _ := m.MarshalText()
		return string(b)
	}
	if remotes, ok := v.Interface().([]Remote); ok {
		var list []string
		for _, r := range remotes {
			// A target is nothing for a log.
			list = append(list, fmt.Sprintf("%s (%s, target #%08x)", r.Name, r.Takes(), crc32.ChecksumIEEE([]byte(r.Target))))
		}
		return strings.Join(list, ", ")
	}
	return strings.Trim(fmt.Sprint(v.Interface()), "[]")
}

// equal compares two values of one key; an empty list is as good as none.
func equal(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// leaf is one value of a Config.
type leaf struct {
	key    string // "southbound.next_hop"
	reload string
	same   bool          // must be equal on all nodes
	value  reflect.Value // settable
}

// leaves lists the values of c in the order of the struct.
func leaves(c *Config) []leaf {
	var all []leaf
	var walk func(prefix string, v reflect.Value)
	walk = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			key := prefix + f.Tag.Get("yaml")
			if f.Type.Kind() == reflect.Struct {
				walk(key+".", v.Field(i))
				continue
			}
			all = append(all, leaf{key, f.Tag.Get("reload"), f.Tag.Get("nodes") == "same", v.Field(i)})
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	return all
}
