// Package config is quell's configuration: a YAML file, overridden by environment
// variables, and checked as a whole.
//
// The struct Config is the reference. docs/config.md and the commented default file
// are made from its comments. A test compares both, and the defaults in the comments,
// with the code.
package config

import (
	"cmp"
	_ "embed"
	"encoding"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"quell/internal/outage"
	"quell/internal/role"
)

// Config is the whole configuration. The zero value is not useful: start with Default.
// Each comment ends with the default, or with "Required." The tag reload says what
// happens to a changed value when the file is read again: live (it takes effect),
// restart (it needs a restart), or first (it is ignored once the store has a value).
// The tag nodes:"same" marks values that must be equal on all nodes of a database.
type Config struct {
	// The folder for everything that quell keeps: the database, the node's
	// journal, the audit trail. quell creates it if it is missing. Only one running
	// quell can use it at a time. A relative path starts at the working directory. No
	// path in this configuration may begin with ~.
	// Default: data.
	DataDir string `yaml:"data_dir" reload:"restart"`

	// The first value of the switch: on (suppress), shadow (log what would be
	// suppressed, forward everything) or off (forward everything, open no window).
	// It is used only until the store has a value. After that, use the command
	// "quell switch" to change it.
	// Default: on.
	Switch outage.Switch `yaml:"switch" reload:"first"`

	// How long the hub's outage alerts are suppressed after a firmware activation:
	// the window is [start, start + window). More than 0, at most 1d. A change
	// applies to activations that are received after it.
	// Default: 30m.
	Window Duration `yaml:"window" reload:"live" nodes:"same"`

	// The windows of models that have their own, counted from the activation: {"Landis+Gyr
	// E470": {from: 165s, to: 12m}} is [activation + from, activation + to). A model is
	// its manufacturer and its model, as the inventory writes them. from is at least 0
	// and less than to, which is at most 1d. "quell advise window" says what a window
	// would do. Other models have the window above.
	// Default: empty.
	WindowByModel map[string]ModelWindow `yaml:"window_by_model" reload:"live" nodes:"same"`

	// The manufacturers whose meters are tracked, as the inventory writes them: the
	// name or the ZigBee manufacturer code (1063 is Landis+Gyr). Upper or lower case
	// and blanks do not matter: Landis + Gyr is Landis+Gyr. At least one.
	// Default: [Landis+Gyr, "1063"].
	Manufacturers []string `yaml:"manufacturers" reload:"live" nodes:"same"`

	// The file that lists the meters to track, one EUI-64 a line. Empty: the list
	// that was last imported by command, or else the one built into the program.
	// Default: empty.
	DeviceList string `yaml:"device_list" reload:"live"`

	// The files that say which devices there are, each CSV or a DUIS DSPInventory.
	// Empty: the inventory that was last imported by command.
	// Default: empty.
	Inventory []string `yaml:"inventory" reload:"live"`

	// The forms of a firmware activation that open and close windows:
	// service-request, signed-pre-command, or both. Only the Signed Pre-Command
	// reaches the meter, so [signed-pre-command] is recommended: a Service Request
	// that is never signed would suppress alerts for no reason. The default is
	// both, since that is what the impact assessment says.
	// Default: [service-request, signed-pre-command].
	Track []outage.Form `yaml:"track" reload:"live" nodes:"same"`

	// How far the clocks of a hub and of quell may differ, and those of a node and
	// its PostgreSQL database. If an outage started before the activation by more than
	// this, the log marks it as started before the activation. If a node's clock is
	// wrong by more than this, the node uses the database's clock. More than 0.
	// Default: 1m.
	ClockTolerance Duration `yaml:"clock_tolerance" reload:"live" nodes:"same"`

	// Where windows and log are kept: sqlite, a database in data_dir, or the address
	// of a PostgreSQL database (13 or later) for one or more nodes, in libpq's form:
	// postgres://quell@db1,db2/quell?sslmode=verify-full. Of several hosts, quell uses
	// the one that accepts writes. What the address leaves out comes from PGHOST,
	// PGPASSWORD, PGPASSFILE and the like. Put a password there.
	// Default: sqlite.
	Store string `yaml:"store" reload:"restart"`

	// How long an alert waits for the store. If there is no decision by then, the
	// alert is forwarded. More than 0, at most 1m.
	// Default: 250ms.
	StoreTimeout Duration `yaml:"store_timeout" reload:"live"`

	// How long a stopping node still takes messages while /readyz reports that it is
	// not ready, so that a load balancer sees this and sends no more. 0 to 1h.
	// Default: 3s.
	Drain Duration `yaml:"drain" reload:"live"`

	// How quell writes its log to standard error: text (key=value) or json, one object
	// a line. What it writes before the configuration is read is text, and a panic too.
	// Default: text.
	Log string `yaml:"log" reload:"restart"`

	// The way from Service Users to devices.
	Southbound struct {
		// The address, host:port, that takes requests from Service Users.
		// Default: 127.0.0.1:8079.
		Listen string `yaml:"listen" reload:"restart"`

		// TLS for those who send messages here. With cert and key the listener speaks
		// only TLS: HTTP/1.1, or HTTP/2 if the sender wants it. The files are PEM. They
		// are read again when they change. If they cannot be used, the ones before stay
		// in force, and "degraded" says so.
		TLS struct {
			// The file with quell's certificate, and after it those of the authorities in
			// between.
			// Default: empty.
			Cert string `yaml:"cert" reload:"restart"`

			// The file with the private key of the certificate.
			// Default: empty.
			Key string `yaml:"key" reload:"restart"`

			// The file with the authorities of the senders' certificates. A sender needs
			// such a certificate. It must be valid, and made for clients or for any use.
			// To revoke an authority, remove it from the file. A connection that is open
			// takes no further message then.
			// Default: empty.
			ClientCA string `yaml:"client_ca" reload:"restart"`

			// The senders that may speak, by a name in their certificates: CN=name, DNS:host,
			// URI:uri or IP:address. A sender needs one of these names. Empty: every sender
			// with a certificate of client_ca. To revoke a certificate, remove its name.
			// Default: empty.
			Allow []string `yaml:"allow" reload:"live"`

			// Whether senders may use TLS 1.2 too. Otherwise they need TLS 1.3.
			// Default: false.
			TLS12 bool `yaml:"tls12" reload:"restart"`
		} `yaml:"tls"`

		// Where requests are forwarded to: an http or https URL without user, query
		// and fragment, not quell's own. The request's path is added to its path.
		// Required.
		NextHop string `yaml:"next_hop" reload:"live"`

		// How far 11.3s must be signed (XMLDSIG, as DUIS has it). off: signatures
		// are not looked at. verify: a signature that is there must be right. require:
		// there must be a right one. An 11.3 that fails opens no window, and goes on
		// all the same. Needs certificates.
		// Default: off.
		Signatures outage.Signatures `yaml:"signatures" reload:"live" nodes:"same"`
		// TLS for a next hop that is an https URL. The next hop needs a certificate for the
		// host in the URL. The files are PEM, and are read again when they change. If they
		// cannot be read at the start, quell answers messages with 502.
		NextHopTLS struct {
			// The file with the authorities of the next hop's certificate. Empty: those
			// of the operating system.
			// Default: empty.
			CA string `yaml:"ca" reload:"live"`

			// The file with the certificate that quell shows the next hop, and after it
			// those of the authorities in between. Empty: none.
			// Default: empty.
			Cert string `yaml:"cert" reload:"live"`

			// The file with the private key of the certificate.
			// Default: empty.
			Key string `yaml:"key" reload:"live"`

			// Whether the next hop may use TLS 1.2 too. Otherwise it needs TLS 1.3.
			// Default: false.
			TLS12 bool `yaml:"tls12" reload:"live"`
		} `yaml:"next_hop_tls"`

		// Whether messages may come from and go to other machines without TLS, and from
		// senders without a certificate. Then others may read, change and forge them.
		// "degraded" says so as long as it is true.
		// Default: false.
		Insecure bool `yaml:"insecure" reload:"restart"`
	} `yaml:"southbound"`

	// The way from communications service providers to Service Users.
	Northbound struct {
		// The address, host:port, that takes alerts and responses.
		// Default: 127.0.0.1:8089.
		Listen string `yaml:"listen" reload:"restart"`

		// TLS for those who send messages here. With cert and key the listener speaks
		// only TLS: HTTP/1.1, or HTTP/2 if the sender wants it. The files are PEM. They
		// are read again when they change. If they cannot be used, the ones before stay
		// in force, and "degraded" says so.
		TLS struct {
			// The file with quell's certificate, and after it those of the authorities in
			// between.
			// Default: empty.
			Cert string `yaml:"cert" reload:"restart"`

			// The file with the private key of the certificate.
			// Default: empty.
			Key string `yaml:"key" reload:"restart"`

			// The file with the authorities of the senders' certificates. A sender needs
			// such a certificate. It must be valid, and made for clients or for any use.
			// To revoke an authority, remove it from the file. A connection that is open
			// takes no further message then.
			// Default: empty.
			ClientCA string `yaml:"client_ca" reload:"restart"`

			// The senders that may speak, by a name in their certificates: CN=name, DNS:host,
			// URI:uri or IP:address. A sender needs one of these names. Empty: every sender
			// with a certificate of client_ca. To revoke a certificate, remove its name.
			// Default: empty.
			Allow []string `yaml:"allow" reload:"live"`

			// Whether senders may use TLS 1.2 too. Otherwise they need TLS 1.3.
			// Default: false.
			TLS12 bool `yaml:"tls12" reload:"restart"`
		} `yaml:"tls"`

		// Where alerts and responses are forwarded to: an http or https URL without
		// user, query and fragment, not quell's own. The message's path is added to its
		// path.
		// Required.
		NextHop string `yaml:"next_hop" reload:"live"`

		// How far AD1s must be signed (XMLDSIG, as DUIS has it). off: signatures
		// are not looked at. verify: a signature that is there must be right. require:
		// there must be a right one. An AD1 that fails is forwarded. Only an AD1
		// whose hub may have a window is verified. Needs certificates.
		// Default: off.
		Signatures outage.Signatures `yaml:"signatures" reload:"live" nodes:"same"`
		// TLS for a next hop that is an https URL. The next hop needs a certificate for the
		// host in the URL. The files are PEM, and are read again when they change. If they
		// cannot be read at the start, quell answers messages with 502.
		NextHopTLS struct {
			// The file with the authorities of the next hop's certificate. Empty: those
			// of the operating system.
			// Default: empty.
			CA string `yaml:"ca" reload:"live"`

			// The file with the certificate that quell shows the next hop, and after it
			// those of the authorities in between. Empty: none.
			// Default: empty.
			Cert string `yaml:"cert" reload:"live"`

			// The file with the private key of the certificate.
			// Default: empty.
			Key string `yaml:"key" reload:"live"`

			// Whether the next hop may use TLS 1.2 too. Otherwise it needs TLS 1.3.
			// Default: false.
			TLS12 bool `yaml:"tls12" reload:"live"`
		} `yaml:"next_hop_tls"`

		// Whether messages may come from and go to other machines without TLS, and from
		// senders without a certificate. Then others may read, change and forge them.
		// "degraded" says so as long as it is true.
		// Default: false.
		Insecure bool `yaml:"insecure" reload:"restart"`
	} `yaml:"northbound"`

	// The folder with the certificates of those who sign messages, in PEM or DER. A
	// signature names its certificate by issuer and serial number. quell looks at the
	// folder at the start, on SIGHUP, and once a minute.
	// Default: empty.
	Certificates string `yaml:"certificates" reload:"live"`

	// The EUI-64s of the suppliers that may send 11.3s: the originators of their
	// requests. An 11.3 of another originator has no effect, and goes on. If the
	// inventory says who supplies a meter (import_supplier), only that one may. Empty:
	// anyone, with a warning.
	// Default: empty.
	Suppliers []string `yaml:"suppliers" reload:"live" nodes:"same"`

	// How many 11.3s of one originator are tracked on a node within an hour. Those
	// above open no window, and go on; quell reports that it is degraded. More than 0.
	// Default: 200000.
	MaxActivationsPerHour int `yaml:"max_activations_per_hour" reload:"live" nodes:"same"`

	// How long quell keeps an idle connection to a next hop open. It must be shorter
	// than the next hop keeps it: many servers close it after 5s (nginx 75s, gunicorn
	// 2s). A message that is sent at that moment is answered with 502, since quell
	// never sends a message twice that may have arrived. More than 0.
	// Default: 4s.
	NextHopIdle Duration `yaml:"next_hop_idle" reload:"restart"`

	// The pages for operators, the API, health and metrics.
	Console struct {
		// The address, host:port, of the console. Who sends a request there needs a
		// token, a client certificate or a login; over loopback, those who have none of
		// these may look, but see no MPxN. An address that is not loopback needs tls,
		// or insecure.
		// Default: 127.0.0.1:8080.
		Listen string `yaml:"listen" reload:"restart"`

		// TLS for the console. With cert and key the console speaks only TLS. The files
		// are PEM. They are read again when they change.
		TLS struct {
			// The file with the console's certificate, and after it those of the
			// authorities in between.
			// Default: empty.
			Cert string `yaml:"cert" reload:"restart"`

			// The file with the private key of the certificate.
			// Default: empty.
			Key string `yaml:"key" reload:"restart"`

			// The file with the authorities of the clients' certificates. A client may
			// have one. If it shows one, it must be valid.
			// Default: empty.
			ClientCA string `yaml:"client_ca" reload:"restart"`

			// Whether clients may use TLS 1.2 too. Otherwise they need TLS 1.3.
			// Default: false.
			TLS12 bool `yaml:"tls12" reload:"restart"`
		} `yaml:"tls"`
		// Whether the console may speak plain HTTP on an address that is not loopback.
		// Roles apply there too, but those who can read the network can read tokens.
		// "degraded" says so as long as it is true.
		// Default: false.
		Insecure bool `yaml:"insecure" reload:"restart"`

		// The Unix socket of the console. Commands on this machine use it, and the
		// operating system says who runs them. root and quell's user are admins there;
		// others whom the permissions of the socket (0660) and of its folder let in are
		// operators. Empty: console.sock in data_dir, where only root and quell's user
		// get.
		// Default: empty.
		Socket string `yaml:"socket" reload:"restart"`

		// The console's own URL, as browsers and other machines reach it, without a
		// path: https://quell.example:8443. oidc needs it: after a login the provider
		// leads back to it. Commands that have a token connect to it.
		// Default: empty.
		URL string `yaml:"url" reload:"live"`

		// How people log in with OpenID Connect, as {issuer, client_id,
		// client_secret_file, roles}. roles has the groups of each role: {viewer: [all],
		// analyst: [desk], operator: [duty], admin: [owners]}. Groups are those of the
		// claim "groups"; of several roles, the highest counts. The redirect URI to
		// register with the provider is the URL above and /callback.
		// Default: empty.
		OIDC *OIDC `yaml:"oidc" reload:"live"`

		// The roles of client certificates, by a name in the certificate: {"CN=grafana":
		// viewer, "DNS:esi.example": analyst}. A name is CN=, DNS: or URI: and what the
		// certificate has. The certificate must be of an authority in tls.client_ca.
		// Default: empty.
		ClientRoles map[string]role.Role `yaml:"client_roles" reload:"live"`
	} `yaml:"console"`

	// The Service Audit Trail: a JSON line for each message that passed, in rotated
	// files in data_dir.
	AuditTrail struct {
		// Whether the trail is written.
		// Default: true.
		Enabled bool `yaml:"enabled" reload:"live"`
	} `yaml:"audit_trail"`

	// The recording: 11.3s with their answers, AD1s, restoration alerts and outcomes
	// of activations, with their times, for "quell replay". Compressed files in the
	// folder recordings of data_dir.
	Record struct {
		// Whether traffic is recorded.
		// Default: false.
		Enabled bool `yaml:"enabled" reload:"live"`

		// What becomes of the MPxN of an AD1: hash (it is replaced by another that has
		// the same form and distributor; the key is in data_dir) or plain (it stays).
		// Default: hash.
		MPxN string `yaml:"mpxn" reload:"live"`

		// How large all files together may become. Then the oldest are deleted. At
		// least 1MiB.
		// Default: 10GiB.
		MaxBytes Size `yaml:"max_bytes" reload:"live"`

		// How long a file is kept. More than 0.
		// Default: 35d.
		Keep Duration `yaml:"keep" reload:"live"`
	} `yaml:"record"`

	// Where each record of the audit log is sent as a syslog message (RFC 5424):
	// udp://host:514, tcp://host:601 or tls://host:6514. Empty: nowhere. With tls the
	// receiver needs a certificate for host, from an authority that this machine
	// trusts. Of several nodes the leader sends.
	// Default: empty.
	Syslog string `yaml:"syslog" reload:"live" nodes:"same"`

	// Reports: files with the entries of the suppression log, and where they go.
	// They are kept in the folder reports of data_dir.
	Report struct {
		// The name of this system in its reports and in their file names: up to 40
		// letters, digits and hyphens.
		// Default: quell.
		SystemID string `yaml:"system_id" reload:"live" nodes:"same"`

		// How often a report is made, at round times in UTC: with 1h, on the hour. It
		// must be at least 1s and divide a day without remainder, or be whole days.
		// Default: 1h.
		Every Duration `yaml:"every" reload:"live" nodes:"same"`

		// A report is made early if its file would otherwise become larger than this.
		// At least 64KiB.
		// Default: 10MiB.
		MaxBytes Size `yaml:"max_bytes" reload:"live" nodes:"same"`

		// Whether an empty period still produces a file, which says so.
		// Default: true.
		Empty bool `yaml:"empty" reload:"live" nodes:"same"`

		// Whether to make a file for each distributor, beside the consolidated file.
		// Default: false.
		PerDistributor bool `yaml:"per_distributor" reload:"live" nodes:"same"`

		// The rclone configuration file that defines the targets. It may be encrypted.
		// Empty: rclone's usual place. Environment variables such as
		// RCLONE_CONFIG_ESI_TYPE can define remotes too.
		// Default: empty.
		RcloneConfig string `yaml:"rclone_config" reload:"restart"`

		// Where files go: a list of {name, target, filter}. A name is up to 40
		// lower-case letters, digits and hyphens. A target is in rclone's form:
		// "esi:/inbound/poas", a connection string or a folder. The backends are local,
		// sftp, webdav, onedrive, s3 and azureblob. A folder on this machine must
		// exist. For a share, name a folder inside it, which is missing while the share
		// is not mounted. Do not put secrets here, but into rclone's configuration or
		// environment. A filter is consolidated (the default), the id of a distributor
		// such as "14", or unknown. The last two need per_distributor.
		// Default: empty.
		Remotes []Remote `yaml:"remotes" reload:"live" nodes:"same"`

		// How long the delivery of a report may take. After that it is an error in the
		// log and in a metric. More than 0.
		// Default: 1h.
		AlarmAfter Duration `yaml:"alarm_after" reload:"live" nodes:"same"`

		// How long files are kept in data_dir after the end of their period. A file
		// that a remote has not confirmed is kept until it has. More than 0.
		// Default: 90d.
		Keep Duration `yaml:"keep" reload:"live"`
	} `yaml:"report"`

	// What quell finds out about the alerts that it suppressed.
	Evidence struct {
		// Whether quell looks at what passes for evidence that a suppressed alert was
		// genuine. Decisions do not depend on it.
		// Default: true.
		Enabled bool `yaml:"enabled" reload:"live" nodes:"same"`
		// Which suppressed alerts quell releases by itself: strong, those for which the
		// evidence of a genuine outage becomes strong; or off, none. quell release does
		// it by hand.
		// Default: off.
		Release string `yaml:"release" reload:"live" nodes:"same"`

		// Whether "quell advise supply" lists homes whose suppressed alert may have been
		// genuine, and where a Read Supply Status would settle it.
		// Default: false.
		Ask bool `yaml:"ask" reload:"live" nodes:"same"`
	} `yaml:"evidence"`

	// Personal data.
	Privacy struct {
		// How the inventory's columns postcode and group are stored: hash, as keyed
		// hashes alone, which is enough for evidence; or plain, as text too. A change
		// applies to inventories that are imported after it.
		// Default: hash.
		Postcode string `yaml:"postcode" reload:"live" nodes:"same"`
	} `yaml:"privacy"`

	// What is deleted, and when. Housekeeping runs every hour.
	Housekeeping struct {
		// How long a window is kept after it is over. A message that is sent again
		// within this time gets the same decision as before. A request is kept as long
		// as any earlier request for its meter. A request that was not tracked is kept
		// this long after it was received. More than 0.
		// Default: 7d.
		KeepWindows Duration `yaml:"keep_windows" reload:"live" nodes:"same"`

		// How long a node remembers that an AD1 passed because its hub had no window. If
		// the same alert is sent again within this time, it passes too, even if a
		// window of its hub is open by then. A note takes 12 to 29 bytes in the store,
		// and about 17 in memory. More than 0.
		// Default: 7d.
		KeepNotes Duration `yaml:"keep_notes" reload:"live" nodes:"same"`

		// How long an entry of the suppression log is kept. It is kept longer if it is
		// not in a report yet, or if a remote has not confirmed that report. Records of
		// reports, and of who changed what, are kept as long, and at least for
		// report.keep. Counts of AD1s, for "quell audit flow", are kept as long. More than 0.
		// Default: 400d.
		KeepLog Duration `yaml:"keep_log" reload:"live" nodes:"same"`
	} `yaml:"housekeeping"`
}

// ModelWindow is one value of window_by_model.
type ModelWindow struct {
	From Duration `yaml:"from"`
	To   Duration `yaml:"to"`
}

// Spans returns window_by_model for the rules.
func (c *Config) Spans() outage.Spans {
	spans := outage.Spans{}
	for model, w := range c.WindowByModel {
		spans[outage.ModelKey(model)] = outage.Span{From: time.Duration(w.From), To: time.Duration(w.To)}
	}
	return spans
}

// OIDC is console.oidc.
type OIDC struct {
	Issuer           string    `yaml:"issuer"`
	ClientID         string    `yaml:"client_id"`
	ClientSecretFile string    `yaml:"client_secret_file"`
	Roles            OIDCRoles `yaml:"roles"`
}

// OIDCRoles has the groups of each role.
type OIDCRoles struct {
	Viewer   []string `yaml:"viewer"`
	Analyst  []string `yaml:"analyst"`
	Operator []string `yaml:"operator"`
	Admin    []string `yaml:"admin"`
}

// ByRole returns the groups by their roles.
func (r OIDCRoles) ByRole() map[role.Role][]string {
	return map[role.Role][]string{role.Viewer: r.Viewer, role.Analyst: r.Analyst, role.Operator: r.Operator, role.Admin: r.Admin}
}

// SocketPath returns the path of the console's Unix socket.
func (c *Config) SocketPath() string {
	return cmp.Or(c.Console.Socket, filepath.Join(c.DataDir, "console.sock"))
}

// Remote is one item of report.remotes.
type Remote struct {
	Name   string `yaml:"name"`
	Target string `yaml:"target"`
	Filter string `yaml:"filter"`
}

// FilterOrDefault returns the filter, or its default.
func (r Remote) FilterOrDefault() string { return cmp.Or(r.Filter, "consolidated") }

// Originators returns the suppliers as ids. They must be valid.
func (c *Config) Originators() (list []outage.DeviceID) {
	for _, text := range c.Suppliers {
		id, _ := outage.ParseAnyDeviceID(text)
		list = append(list, id)
	}
	return list
}

// Database returns the address of the PostgreSQL database; "" if the store is SQLite.
func (c *Config) Database() string {
	if IsPostgres(c.Store) {
		return c.Store
	}
	return ""
}

// IsPostgres reports whether store is the address of a PostgreSQL database.
func IsPostgres(store string) bool {
	return strings.HasPrefix(store, "postgres://") || strings.HasPrefix(store, "postgresql://")
}

// Default returns the configuration with every default. It is not valid: the two next
// hops are missing.
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
	c.Log = "text"
	c.NextHopIdle = Duration(4 * time.Second)
	c.Southbound.Listen = "127.0.0.1:8079"
	c.Southbound.Signatures = outage.SignaturesOff
	c.Northbound.Listen = "127.0.0.1:8089"
	c.Northbound.Signatures = outage.SignaturesOff
	c.MaxActivationsPerHour = 200_000
	c.Console.Listen = "127.0.0.1:8080"
	c.AuditTrail.Enabled = true
	c.Record.MPxN = "hash"
	c.Record.MaxBytes = 10 << 30
	c.Record.Keep = Duration(35 * day)
	c.Report.SystemID = "quell"
	c.Report.Every = Duration(time.Hour)
	c.Report.MaxBytes = 10 << 20
	c.Report.Empty = true
	c.Report.AlarmAfter = Duration(time.Hour)
	c.Report.Keep = Duration(90 * day)
	c.Evidence.Enabled = true
	c.Privacy.Postcode = "hash"
	c.Evidence.Release = "off"
	c.Housekeeping.KeepWindows = Duration(7 * day)
	c.Housekeeping.KeepNotes = Duration(7 * day)
	c.Housekeeping.KeepLog = Duration(400 * day)
	return c
}

//go:embed default.yaml
var defaultYAML string

// DefaultYAML returns a file that has every key with its default, and its meaning
// above it. Only the two next hops are missing.
func DefaultYAML() string { return defaultYAML }

// Changes returns the keys whose values differ: live are those that a running quell
// can adopt, restart those that need a restart. The key switch is never among them:
// a running quell no longer uses its first value.
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

// SharedSettings returns the values that must be equal on all nodes of a database, by
// key, as text that is equal if the values are.
func SharedSettings(c Config) map[string]string {
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
			// A target must not be in a log: it may contain a secret.
			list = append(list, fmt.Sprintf("%s (%s, target #%08x)", r.Name, r.FilterOrDefault(), crc32.ChecksumIEEE([]byte(r.Target))))
		}
		return strings.Join(list, ", ")
	}
	return strings.Trim(fmt.Sprint(v.Interface()), "[]")
}

// equal compares two values of one key. An empty list equals no list.
func equal(a, b reflect.Value) bool {
	if (a.Kind() == reflect.Slice || a.Kind() == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// leaf is a key of Config that has a value.
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
