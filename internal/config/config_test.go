package config

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

const hops = `
southbound: {next_hop: "https://dsp.example:8079/"}
northbound: {next_hop: https://users.example}
`

// valid returns the default with the next hops in hops.
func valid() Config {
	c := Default()
	c.Southbound.NextHop = "https://dsp.example:8079/"
	c.Northbound.NextHop = "https://users.example"
	return c
}

func TestParse(t *testing.T) {
	everything := valid()
	everything.DataDir = "/var/lib/quell"
	everything.Switch = outage.SwitchShadow
	everything.Window = Duration(45 * time.Minute)
	everything.Manufacturers = []string{"Landis+Gyr", "L+G"}
	everything.DeviceList = "list.txt"
	everything.Inventory = []string{"a.csv", "b.xml"}
	everything.Track = []outage.Form{outage.SignedPreCommand}
	everything.ClockTolerance = Duration(5 * time.Second)
	everything.StoreTimeout = Duration(time.Second)
	everything.Southbound.Listen = "0.0.0.0:1"
	everything.Northbound.Listen = ":2"
	everything.Southbound.Signatures = outage.SignaturesRequire
	everything.Northbound.Signatures = outage.SignaturesVerify
	everything.Certificates = "/etc/quell/signers"
	everything.Suppliers = []string{"90-B3-D5-1F-30-01-00-00", "90b3d51f30010001"}
	everything.MaxActivationsPerHour = 500
	everything.Console.Listen = "[::]:3"
	everything.Console.Insecure = true
	everything.Southbound.TLS.Cert, everything.Southbound.TLS.Key, everything.Southbound.TLS.ClientCA = "a.crt", "a.key", "ca.crt"
	everything.Southbound.TLS.Allow, everything.Southbound.TLS.TLS12 = []string{"CN=supplier-1", "DNS:gw.supplier.example"}, true
	everything.Southbound.NextHopTLS.CA, everything.Southbound.NextHopTLS.Cert, everything.Southbound.NextHopTLS.Key = "dsp.crt", "b.crt", "b.key"
	everything.Southbound.NextHopTLS.TLS12 = true
	everything.Northbound.Insecure = true
	everything.Console.TLS.Cert, everything.Console.TLS.Key = "c.crt", "c.key"
	everything.AuditTrail.Enabled = false
	everything.Record.Enabled = true
	everything.Record.MPxN = "plain"
	everything.Record.MaxBytes = 5_000_000
	everything.Record.Keep = Duration(48 * time.Hour)
	everything.Report.SystemID = "DSP-1"
	everything.Report.Every = Duration(15 * time.Minute)
	everything.Report.MaxBytes = 500_000
	everything.Report.Empty = false
	everything.Report.PerDistributor = true
	everything.Report.RcloneConfig = "/etc/rclone.conf"
	everything.Report.Remotes = []Remote{{"esi", "esi:/inbound", ""}, {"dno-14", "dno:a, b", "14"}}
	everything.Report.AlarmAfter = Duration(2 * time.Hour)
	everything.Report.Keep = Duration(day)
	everything.Housekeeping.KeepWindows = Duration(36 * time.Hour)
	everything.Housekeeping.KeepNotes = Duration(50 * time.Hour)
	everything.Housekeeping.KeepLog = Duration(10 * day)
	off := valid()
	off.Switch = outage.SwitchOff

	for name, c := range map[string]struct {
		text    string
		environ []string
		want    Config
	}{
		"defaults":         {hops, nil, valid()},
		"environment only": {"", []string{"QUELL_SOUTHBOUND_NEXT_HOP=https://dsp.example:8079/", "QUELL_NORTHBOUND_NEXT_HOP=https://users.example"}, valid()},
		"the default file": {DefaultYAML(), []string{"QUELL_SOUTHBOUND_NEXT_HOP=https://dsp.example:8079/", "QUELL_NORTHBOUND_NEXT_HOP=https://users.example"}, valid()},
		"plain off":        {"switch: off" + hops, nil, off},
		"empty section":    {"console:\n  # listen: x\n" + hops, nil, valid()},
		"alias":            {"southbound: {next_hop: &h \"https://dsp.example:8079/\"}\nnorthbound: {next_hop: *h}", []string{"QUELL_NORTHBOUND_NEXT_HOP=https://users.example"}, valid()},
		"BOM and CRLF":     {"\ufeff" + strings.ReplaceAll(hops, "\n", "\r\n"), nil, valid()},
		"other variables":  {hops, []string{"PATH=/bin", "QUELL_CONFIG=x", "QUELL_TEST_KILL=1", "window=x", "QUELLWINDOW=x"}, valid()},
		"everything": {`
data_dir: /var/lib/quell
switch: shadow
window: 45m
manufacturers: [Landis+Gyr, "L+G"]
device_list: list.txt
inventory:
  - a.csv
  - b.xml
track: [signed-pre-command]
clock_tolerance: 5s
store: sqlite
store_timeout: 1s
certificates: /etc/quell/signers
suppliers: [90-B3-D5-1F-30-01-00-00, 90b3d51f30010001]
max_activations_per_hour: 500
southbound:
  listen: 0.0.0.0:1
  signatures: require
  tls: {cert: a.crt, key: a.key, client_ca: ca.crt, allow: ["CN=supplier-1", "DNS:gw.supplier.example"], tls12: true}
  next_hop: https://dsp.example:8079/
  next_hop_tls: {ca: dsp.crt, cert: b.crt, key: b.key, tls12: true}
northbound: {listen: ":2", next_hop: https://users.example, signatures: verify, insecure: true}
console: {listen: "[::]:3", insecure: true, tls: {cert: c.crt, key: c.key}}
audit_trail: {enabled: false}
record: {enabled: true, mpxn: plain, max_bytes: 5000000, keep: 2d}
report:
  system_id: DSP-1
  every: 15m
  max_bytes: 500000
  empty: false
  per_distributor: true
  rclone_config: /etc/rclone.conf
  remotes:
  - name: esi
    target: esi:/inbound
  - {name: dno-14, target: "dno:a, b", filter: "14"}
  alarm_after: 2h
  keep: 1d
housekeeping: {keep_windows: 1d12h, keep_notes: 2d2h, keep_log: 10d}
`, nil, everything},
		"everything from the environment": {"window: 3m\nmanufacturers: [x]\naudit_trail: {enabled: true}" + hops, []string{
			"QUELL_DATA_DIR=/var/lib/quell", "QUELL_SWITCH=shadow", "QUELL_WINDOW=45m", "QUELL_MANUFACTURERS=Landis+Gyr, L+G",
			"QUELL_DEVICE_LIST=list.txt", "QUELL_INVENTORY=a.csv,b.xml", "QUELL_TRACK=signed-pre-command", "QUELL_CLOCK_TOLERANCE=5s",
			"QUELL_STORE=sqlite", "QUELL_STORE_TIMEOUT=1000ms", "QUELL_SOUTHBOUND_LISTEN=0.0.0.0:1", "QUELL_NORTHBOUND_LISTEN=:2",
			"QUELL_SOUTHBOUND_SIGNATURES=require", "QUELL_NORTHBOUND_SIGNATURES=verify", "QUELL_CERTIFICATES=/etc/quell/signers",
			"QUELL_SUPPLIERS=90-B3-D5-1F-30-01-00-00,90b3d51f30010001", "QUELL_MAX_ACTIVATIONS_PER_HOUR=500",
			"QUELL_SOUTHBOUND_TLS_CERT=a.crt", "QUELL_SOUTHBOUND_TLS_KEY=a.key", "QUELL_SOUTHBOUND_TLS_CLIENT_CA=ca.crt",
			"QUELL_SOUTHBOUND_TLS_ALLOW=CN=supplier-1, DNS:gw.supplier.example", "QUELL_SOUTHBOUND_TLS_TLS12=true",
			"QUELL_SOUTHBOUND_NEXT_HOP_TLS_CA=dsp.crt", "QUELL_SOUTHBOUND_NEXT_HOP_TLS_CERT=b.crt", "QUELL_SOUTHBOUND_NEXT_HOP_TLS_KEY=b.key",
			"QUELL_SOUTHBOUND_NEXT_HOP_TLS_TLS12=true", "QUELL_NORTHBOUND_INSECURE=true", "QUELL_CONSOLE_TLS_CERT=c.crt", "QUELL_CONSOLE_TLS_KEY=c.key",
			"QUELL_CONSOLE_LISTEN=[::]:3", "QUELL_CONSOLE_INSECURE=true", "QUELL_AUDIT_TRAIL_ENABLED=false", "QUELL_RECORD_ENABLED=true", "QUELL_RECORD_MPXN=plain", "QUELL_RECORD_MAX_BYTES=5000000", "QUELL_RECORD_KEEP=2d",
			"QUELL_REPORT_SYSTEM_ID=DSP-1", "QUELL_REPORT_EVERY=15m", "QUELL_REPORT_MAX_BYTES=500kB", "QUELL_REPORT_EMPTY=false", "QUELL_REPORT_PER_DISTRIBUTOR=true",
			"QUELL_REPORT_RCLONE_CONFIG=/etc/rclone.conf", `QUELL_REPORT_REMOTES=[{name: esi, target: "esi:/inbound"}, {name: dno-14, target: "dno:a, b", filter: "14"}]`,
			"QUELL_REPORT_ALARM_AFTER=2h", "QUELL_REPORT_KEEP=24h",
			"QUELL_HOUSEKEEPING_KEEP_WINDOWS=36h", "QUELL_HOUSEKEEPING_KEEP_NOTES=50h", "QUELL_HOUSEKEEPING_KEEP_LOG=240h"}, everything},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := Parse("quell.yaml", []byte(c.text), c.environ)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(have, c.want) {
				t.Errorf("have %+v\nwant %+v", have, c.want)
			}
		})
	}
}

// TestParseFaults has faulty files, and the faults in each, one a line, in order.
func TestParseFaults(t *testing.T) {
	const missing = `
q.yaml: southbound.next_hop: is required: the URL to forward messages to, such as https://dsp.example/
q.yaml: northbound.next_hop: is required: the URL to forward messages to, such as https://dsp.example/`
	// hop returns the place of the n-th next hop in the default file.
	hop := func(n int) string {
		before := strings.Split(DefaultYAML(), "  next_hop: ")[:n+1]
		return fmt.Sprintf("q.yaml:%d", strings.Count(strings.Join(before, ""), "\n")+1)
	}
	for name, c := range map[string]struct {
		text    string
		environ []string
		want    string
	}{
		"empty":            {"# nothing\n", nil, missing},
		"the default file": {DefaultYAML(), nil, strings.ReplaceAll(strings.Replace(missing, "q.yaml", hop(0), 1), "q.yaml: north", hop(1)+": north")},
		"syntax":           {"window: 30m\nstore: [\n" + hops, nil, "q.yaml:1: did not find expected ',' or ']' (in this line or soon after)"},
		"unknown anchor":   {"window: *w" + hops, nil, "q.yaml: unknown anchor 'w' referenced"},
		"two documents":    {hops + "---\nwindow: 1m\n", nil, "q.yaml:4: a second YAML document; the configuration must be one document"},
		"no mapping":       {"- window\n", nil, "q.yaml:1: the file: must be keys and values, but is a list" + missing},
		"section is text":  {"console: here" + hops, nil, `q.yaml:1: console: must be keys and values, but is text`},
		"unknown keys": {"windw: 1m\nkeep_log: 1d\nNext-Hop: x\nconsole:\n  listn: x\n<<: {window: 1m}\nhousekeeping.keep_log: 1d\n" + hops, nil, `
q.yaml:1: unknown key "windw"; did you mean window?
q.yaml:2: unknown key "keep_log"; did you mean housekeeping.keep_log?
q.yaml:3: unknown key "Next-Hop"; did you mean southbound.next_hop?
q.yaml:5: unknown key "console.listn"; did you mean console.listen?
q.yaml:6: unknown key "<<"
q.yaml:7: unknown key "housekeeping.keep_log"; put it under housekeeping:`},
		"duplicates": {"window: 1m" + hops + "console: {}\nwindow: 2m\nconsole: {}\n", nil, `
q.yaml:5: window: is there twice; the first is in line 1
q.yaml:6: console: is there twice; the first is in line 4`},
		"types": {"data_dir: 7\nwindow: 30\nmanufacturers: Landis+Gyr\ninventory: [a, [b]]\ndevice_list:\nstore: {}\nconsole: {insecure: yes}\naudit_trail: {enabled: \"true\"}" + hops, nil, `
q.yaml:1: data_dir: must be text, but is the int 7 (in quotes it would be text)
q.yaml:2: window: must be a duration such as 30m, but is the int 30 (in quotes it would be text)
q.yaml:3: manufacturers: must be a list, but is "Landis+Gyr"
q.yaml:4: inventory: item 2: must be text, but is a list
q.yaml:5: device_list: must be text, but is empty; for the default, leave the key out
q.yaml:6: store: must be text, but is keys and values
q.yaml:7: console.insecure: must be true or false, but is "yes"
q.yaml:8: audit_trail.enabled: must be true or false, but is "true"`},
		"values": {"data_dir: ' '\nswitch: maybe\nwindow: 25h\nmanufacturers: []\ntrack: [both]\nclock_tolerance: 0s\nstore: mysql://u:hunter2@x\n" +
			"store_timeout: -1s\ninventory: [\"\"]\nconsole:\n  listen: 0.0.0.0:8080\ndrain: -1s\nhousekeeping: {keep_log: 1y}" + hops, nil, `
q.yaml:13: housekeeping.keep_log: "1y" is not a duration such as 250ms, 90s, 30m or 1d12h
q.yaml:1: data_dir: must not be empty
q.yaml:2: switch: "maybe" is not on, shadow or off
q.yaml:3: window: must be at most 1d, not 1d1h
q.yaml:4: manufacturers: needs at least one name; to suppress nothing, set the switch to off
q.yaml:9: inventory: item 1 is empty
q.yaml:5: track: "both" is not service-request or signed-pre-command
q.yaml:6: clock_tolerance: must be more than 0, not 0s
q.yaml:7: store: must be sqlite, or an address that begins with postgres://
q.yaml:8: store_timeout: must be more than 0, not -1s
q.yaml:12: drain: must be at least 0, not -1s
q.yaml:11: console.listen: "0.0.0.0:8080" is not a loopback address, so tokens would cross the network without TLS: set console.tls, or set console.insecure: true, which lets others read them`},
		"reports": {"report:\n  every: 7m\n  max_bytes: 10\n  system_id: a_b\n  remotes: [{name: esi, target: x, filtr: y}]" + hops, nil, `
q.yaml:5: report.remotes: item 1: unknown key "filtr"; did you mean filter?
q.yaml:4: report.system_id: "a_b" is not 1 to 40 letters, digits and hyphens
q.yaml:2: report.every: must be at least 1s and divide a day without remainder, or be whole days, not 7m
q.yaml:3: report.max_bytes: must be at least 64KiB, not 10`},
		"remotes": {"report:\n  remotes: [esi]\n  max_bytes: 1MB/s" + hops, []string{"QUELL_REPORT_KEEP=1"}, `
q.yaml:2: report.remotes: item 1: must have the keys name, target, filter, but is text
q.yaml:3: report.max_bytes: "1MB/s" is not a size such as 10MiB, 500kB or 65536
QUELL_REPORT_KEEP: report.keep: "1" is not a duration such as 250ms, 90s, 30m or 1d12h`},
		"a remote twice":             {"report: {remotes: [{name: esi, target: x}, {name: esi, target: y}]}" + hops, nil, `q.yaml:1: report.remotes: item 2: name: "esi" is used twice`},
		"remotes in the environment": {hops, []string{"QUELL_REPORT_REMOTES=esi:/inbound"}, `QUELL_REPORT_REMOTES: report.remotes: must be a list, but is text`},
		"environment": {hops, []string{"QUELL_WINDOWS=1m", "QUELL_KEEP=1", "QUELL_WINDOW=x", "QUELL_CONSOLE_INSECURE=yes", "QUELL_TRACK=", "QUELL_SWITCH=maybe"}, `
unknown environment variable QUELL_WINDOWS; did you mean QUELL_WINDOW?
unknown environment variable QUELL_KEEP
QUELL_WINDOW: window: "x" is not a duration such as 250ms, 90s, 30m or 1d12h
QUELL_CONSOLE_INSECURE: console.insecure: must be true or false, but is "yes"
QUELL_SWITCH: switch: "maybe" is not on, shadow or off
QUELL_TRACK: track: needs at least one form; to track nothing, set the switch to off`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("q.yaml", []byte(c.text), c.environ)
			if err == nil {
				t.Fatal("no fault found")
			}
			if want := strings.TrimPrefix(c.want, "\n"); err.Error() != want {
				t.Errorf("have\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "quell.yaml")
	if err := os.WriteFile(path, []byte(hops+"window: 1h"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, nil)
	if err != nil || c.Window != Duration(time.Hour) {
		t.Errorf("window %v, error %v", c.Window, err)
	}
	if _, err := Load(path+"x", nil); !os.IsNotExist(err) && !strings.Contains(err.Error(), path+"x") {
		t.Errorf("a missing file: %v", err)
	}
	_, err = Load("", []string{"QUELL_SOUTHBOUND_NEXT_HOP=http://a"})
	if err == nil || !strings.HasPrefix(err.Error(), "northbound.next_hop: is required") {
		t.Errorf("no file, one next hop: %v", err)
	}
}

func TestValidate(t *testing.T) {
	southHop := func(c *Config, s string) { c.Southbound.NextHop = s }
	northHop := func(c *Config, s string) { c.Northbound.NextHop = s }
	southListen := func(c *Config, s string) { c.Southbound.Listen = s }
	northListen := func(c *Config, s string) { c.Northbound.Listen = s }
	console := func(c *Config, s string) { c.Console.Listen = s }
	for _, x := range []struct {
		set       func(*Config, string)
		key       string
		good, bad []string
	}{
		{southHop, "southbound.next_hop", []string{"http://h", "https://h:1/a/b", "http://[::1]:8080"},
			[]string{"", "h:1", "/a", "ftp://h", "http://", "http://:80", "http:h", "http://u:p@h", "http://h?", "http://h/?a=b", "http://h#", "http://h/#f", "http://h:x", "http://a b", "http://h:1/ ", " http://h", "http://h/a b", "http://h/\u00a0", "http://h:0", "http://h:65536", "http://h:99999/", "http://h:", "http://h|x"}},
		{northHop, "northbound.next_hop", []string{"http://h"}, []string{"", "//h"}},
		{southListen, "southbound.listen", []string{"127.0.0.1:8079", ":8079", "[::]:1", "host:65535"}, []string{"", "8079", "host", "host:", "host:http", "host:0", "127.0.0.1:0", "host:65536", "host:99999", "host:80 ", "a|b:1", "a\tb:1", "h:1:2", "::1:80", "http://h:1", "a b:1"}},
		{northListen, "northbound.listen", []string{"10.0.0.1:1"}, []string{"x"}},
		{console, "console.listen", []string{"localhost:1", "LOCALHOST:1", "127.0.0.1:1", "127.255.1.2:1", "[::1]:1", "[::ffff:127.0.0.1]:1"},
			[]string{"x", ":1", "0.0.0.0:1", "[::]:1", "126.255.255.255:1", "128.0.0.1:1", "10.0.0.1:1", "localhost.example:1", "[::2]:1"}},
	} {
		for _, s := range x.good {
			c := valid()
			c.Southbound.Insecure, c.Northbound.Insecure = true, true
			x.set(&c, s)
			if err := c.Validate(); err != nil {
				t.Errorf("%s %q: %v", x.key, s, err)
			}
		}
		for _, s := range x.bad {
			c := valid()
			c.Southbound.Insecure, c.Northbound.Insecure = true, true
			x.set(&c, s)
			if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), x.key+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %q: %v", x.key, s, err)
			}
		}
	}
	for d, ok := range map[time.Duration]bool{-1: false, 0: false, 1: true, 24 * time.Hour: true, 24*time.Hour + 1: false} {
		c := valid()
		c.Window = Duration(d)
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("window %v: %v", c.Window, err)
		}
	}
	c := valid()
	c.Console.Listen, c.Console.Insecure = ":8080", true
	if err := c.Validate(); err != nil {
		t.Error("insecure:", err)
	}
	c = valid()
	c.Console.Listen, c.Console.TLS.Cert, c.Console.TLS.Key = ":8443", "c.crt", "c.key"
	if err := c.Validate(); err != nil {
		t.Error("with TLS:", err)
	}
	c = valid()
	c.Southbound.NextHop = "http://user:secret@h"
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a password in a next hop: %v", err)
	}
	c = Config{}
	if err := c.Validate(); strings.Count(err.Error(), "\n") != 30 {
		t.Errorf("the zero Config has these faults:\n%v", err)
	}
}

// TestOwnListeners: no next hop may lead to quell itself, whatever name it uses.
func TestOwnListeners(t *testing.T) {
	own := "127.0.0.1"
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			own = n.IP.String()
		}
	}
	for _, x := range []struct {
		listen, hop string
		fault       bool
	}{
		{"127.0.0.1:7001", "http://127.0.0.1:7001", true},
		{"127.0.0.1:7001", "http://127.0.0.1:7001/path", true},
		{"127.0.0.1:7001", "https://localhost:7001", true},
		{"127.0.0.1:7001", "http://[::ffff:127.0.0.1]:7001", true},
		{"127.0.0.1:7001", "http://0.0.0.0:7001", true},
		{"127.0.0.1:7001", "http://127.0.0.1:7002", false},
		{"127.0.0.1:7001", "http://127.0.0.2:7001", false},
		{"localhost:7001", "http://127.0.0.1:7001", true},
		{"localhost:7001", "http://LOCALHOST:7001", true},
		{"0.0.0.0:7001", "http://127.0.0.2:7001", true},
		{":7001", "http://" + own + ":7001", true},
		{":7001", "http://[::1]:7001", true},
		{":7001", "http://192.0.2.1:7001", false}, // no address of this machine
		{own + ":7001", "http://" + own + ":7001", true},
		{":7001", "http://no.such.name.invalid:7001", false},
		{":80", "http://localhost", true},
		{":443", "https://localhost/", true},
		{":80", "https://localhost/", false},
	} {
		for name, set := range map[string]func(*Config){
			"southbound.next_hop: leads to quell itself, to southbound.listen": func(c *Config) { c.Southbound.Listen, c.Southbound.NextHop = x.listen, x.hop },
			"southbound.next_hop: leads to quell itself, to northbound.listen": func(c *Config) { c.Northbound.Listen, c.Southbound.NextHop = x.listen, x.hop },
			"northbound.next_hop: leads to quell itself, to console.listen": func(c *Config) {
				c.Console.Listen, c.Console.Insecure, c.Northbound.NextHop = x.listen, true, x.hop
			},
		} {
			c := valid()
			c.Southbound.Insecure, c.Northbound.Insecure = true, true
			set(&c)
			if err := c.Validate(); (err != nil) != x.fault || err != nil && !strings.HasPrefix(err.Error(), name) {
				t.Errorf("%s, next hop %s: %v; want a fault: %t", x.listen, x.hop, err, x.fault)
			}
		}
	}
}

func TestRemotes(t *testing.T) {
	for _, x := range []struct {
		remote         Remote
		perDistributor bool
		fault          string
	}{
		{Remote{"esi", "esi:/inbound", ""}, false, ""},
		{Remote{"esi", "esi:/inbound", "consolidated"}, false, ""},
		{Remote{"esi", "esi:/inbound", "14"}, true, ""},
		{Remote{"esi", "esi:/inbound", "99"}, true, ""},
		{Remote{"esi", "esi:/inbound", "unknown"}, true, ""},
		{Remote{"esi", "esi:/inbound", "14"}, false, "needs report.per_distributor"},
		{Remote{"esi", "esi:/inbound", "09"}, true, "is not consolidated"},
		{Remote{"esi", "esi:/inbound", "+5"}, true, "is not consolidated"},
		{Remote{"ESI", "esi:/inbound", ""}, false, "lower-case letters"},
		{Remote{"", "esi:/inbound", ""}, false, "lower-case letters"},
		{Remote{"esi", " ", ""}, false, "must not be empty"},
	} {
		c := valid()
		c.Report.Remotes, c.Report.PerDistributor = []Remote{x.remote}, x.perDistributor
		if err := c.Validate(); (err == nil) != (x.fault == "") || err != nil && !strings.Contains(err.Error(), x.fault) {
			t.Errorf("%+v: %v, want %q", x, err, x.fault)
		}
	}
	for every, ok := range map[time.Duration]bool{time.Second: true, time.Hour: true, 24 * time.Hour: true, 48 * time.Hour: true, 8 * time.Hour: true,
		0: false, time.Millisecond: false, 7 * time.Hour: false, 36 * time.Hour: false} {
		c := valid()
		c.Report.Every = Duration(every)
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("every %v: %v", every, err)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[string]string{"10MiB": "10MiB", "10485760": "10MiB", "1.5KiB": "1536", "500kB": "500000", "3 GiB": "3GiB", "0": "0"} {
		s, err := ParseSize(in)
		if err != nil || s.String() != want {
			t.Errorf("%s: %v %v, want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"", "x", "-1", "10 apples", "99999999EiB", "90000000TB", "1e6"} {
		if s, err := ParseSize(in); err == nil {
			t.Errorf("%q is %v", in, s)
		}
	}
}

func TestChanges(t *testing.T) {
	old, changed := valid(), valid()
	changed.Inventory = []string{}
	changed.Switch = outage.SwitchOff
	if live, restart := Changes(old, changed); len(live)+len(restart) > 0 {
		t.Errorf("no change: live %v, restart %v", live, restart)
	}
	// Every value but the switch, one after the other.
	wantRestart := []string{"data_dir", "store", "log", "next_hop_idle", "southbound.listen", "northbound.listen", "console.listen", "console.insecure", "console.socket", "report.rclone_config",
		"southbound.insecure", "northbound.insecure"}
	for _, section := range []string{"southbound", "northbound", "console"} {
		for _, name := range []string{"cert", "key", "client_ca", "tls12"} {
			wantRestart = append(wantRestart, section+".tls."+name)
		}
	}
	for i, l := range leaves(&changed) {
		if l.key == "switch" {
			continue
		}
		changed := valid()
		v := leaves(&changed)[i].value
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int, reflect.Int64:
			v.SetInt(v.Int() + 1)
		case reflect.String:
			v.SetString(v.String() + "x")
		case reflect.Slice:
			v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case reflect.Map:
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.ValueOf("x"), reflect.New(v.Type().Elem()).Elem())
		}
		live, restart := Changes(old, changed)
		if slices.Contains(wantRestart, l.key) {
			live, restart = restart, live
		}
		if !slices.Equal(live, []string{l.key}) || len(restart) > 0 {
			t.Errorf("%s: %v, not %v", l.key, live, restart)
		}
	}
}

// Values that must be equal on all nodes are compared as text. It differs if the value
// does, and contains no target.
func TestSharedSettings(t *testing.T) {
	a, b := Default(), Default()
	if was := SharedSettings(a); !maps.Equal(was, SharedSettings(b)) || was["window"] != "30m" || was["manufacturers"] != "Landis+Gyr 1063" {
		t.Errorf("%v", was)
	}
	a.Report.Remotes = []Remote{{"esi", "esi:secret/a", ""}}
	b.Report.Remotes = []Remote{{"esi", "esi:secret/b", ""}}
	x, y := SharedSettings(a)["report.remotes"], SharedSettings(b)["report.remotes"]
	if x == y || !strings.HasPrefix(x, "esi (consolidated") || strings.Contains(x, "secret") {
		t.Errorf("%q %q", x, y)
	}
	if _, ok := SharedSettings(a)["southbound.listen"]; ok {
		t.Error("nodes have their own addresses")
	}
}

func TestDatabase(t *testing.T) {
	for store, want := range map[string]string{"sqlite": "", "postgres://a,b/quell": "postgres://a,b/quell", "postgresql://": "postgresql://", "postgres": ""} {
		c := Default()
		c.Store = store
		if got := c.Database(); got != want {
			t.Errorf("%s: %q", store, got)
		}
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]string{
		"30m": "30m", "90s": "1m30s", "7d": "7d", "400d": "400d", "1d12h": "1d12h", "36h": "1d12h", "0": "0s", "0d": "0s", "60s": "1m",
		"250ms": "250ms", "1.5s": "1s500ms", "1h0m5s": "1h5s", "-5m": "-5m", "-1d1ns": "-1d1ns", "1d30m": "1d30m", "24h": "1d",
		"106751d23h47m16s854ms775us807ns": "106751d23h47m16s854ms775us807ns",
	} {
		d, err := ParseDuration(in)
		if err != nil || d.String() != want {
			t.Errorf("%q: %v, %v; want %s", in, d, err, want)
			continue
		}
		if again, err := ParseDuration(d.String()); again != d || err != nil {
			t.Errorf("%q: %v does not read back: %v, %v", in, d, again, err)
		}
	}
	for _, in := range []string{"", "d", "5", "1d-2h", "1d+2h", "--1d", "+1d", "1.5d", "1d2d", "2h1d", "1d 2h", "30 m", "1y", "106752d", "106751d24h", "99999999999d", "1dd"} {
		if d, err := ParseDuration(in); err == nil {
			t.Errorf("%q is %v", in, d)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(hops)
	f.Add(DefaultYAML())
	f.Add("a: &a [*a]\n")
	f.Add("&a southbound: *a\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("q.yaml", []byte(text), nil)
		if err == nil {
			err = c.Validate()
			if err != nil {
				t.Errorf("parsed, but not valid: %v", err)
			}
		}
	})
}
