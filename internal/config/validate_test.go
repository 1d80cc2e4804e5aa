package config

import (
	"strings"
	"testing"
	"time"
)

// TestTildes: no shell expands these paths, and nobody means a folder called ~.
func TestTildes(t *testing.T) {
	for key, set := range map[string]func(c *Config, path string){
		"data_dir":             func(c *Config, path string) { c.DataDir = path },
		"device_list":          func(c *Config, path string) { c.DeviceList = path },
		"inventory":            func(c *Config, path string) { c.Inventory = []string{"a.csv", path} },
		"report.rclone_config": func(c *Config, path string) { c.Report.RcloneConfig = path },
		"report.remotes":       func(c *Config, path string) { c.Report.Remotes = []Remote{{Name: "esi", Target: path}} },
	} {
		for path, fault := range map[string]bool{"~/x": true, "~": true, "~quell/x": true, "./~": false, "/a/~b": false} {
			c := valid()
			set(&c, path)
			if err := c.Validate(); (err != nil) != fault || err != nil && (!strings.HasPrefix(err.Error(), key+": ") || !strings.Contains(err.Error(), "write the whole path")) {
				t.Errorf("%s: %q: %v", key, path, err)
			}
		}
	}
}

// TestSameListeners: no two listeners can have one address, whatever name they use.
func TestSameListeners(t *testing.T) {
	for _, x := range []struct {
		a, b  string
		fault bool
	}{
		{"127.0.0.1:7001", "127.0.0.1:7001", true},
		{"127.0.0.1:7001", "127.0.0.1:07001", true},
		{"127.0.0.1:7001", "localhost:7001", true},
		{"127.0.0.1:7001", "[::ffff:127.0.0.1]:7001", true},
		{"127.0.0.1:7001", "0.0.0.0:7001", true},
		{"0.0.0.0:7001", "127.0.0.1:7001", true},
		{":7001", "127.0.0.1:7001", true},
		{"[::1]:7001", ":7001", true},
		{"[::]:7001", "127.0.0.1:7001", true},
		{"[::1]:7001", "0.0.0.0:7001", false},
		{"127.0.0.1:7001", "127.0.0.2:7001", false},
		{"127.0.0.1:7001", "127.0.0.1:7002", false},
	} {
		for name, set := range map[string]func(c *Config){
			"northbound.listen: ": func(c *Config) { c.Southbound.Listen, c.Northbound.Listen = x.a, x.b },
			"console.listen: ":    func(c *Config) { c.Southbound.Listen, c.Console.Listen, c.Console.Insecure = x.a, x.b, true },
		} {
			c := valid()
			c.Southbound.Insecure, c.Northbound.Insecure = true, true
			set(&c)
			if err := c.Validate(); (err != nil) != x.fault || err != nil && (!strings.HasPrefix(err.Error(), name) || !strings.Contains(err.Error(), "is the address of southbound.listen")) {
				t.Errorf("%s and %s: %v; want a fault: %t", x.a, x.b, err, x.fault)
			}
		}
	}
}

// TestBounds: a mistyped value makes no stop and no alert wait for years.
func TestBounds(t *testing.T) {
	for key, set := range map[string]func(c *Config, d Duration){
		"drain: ":         func(c *Config, d Duration) { c.Drain = d },
		"store_timeout: ": func(c *Config, d Duration) { c.StoreTimeout = d },
	} {
		most := map[string]Duration{"drain: ": maxDrain, "store_timeout: ": maxStoreTimeout}[key]
		for d, fault := range map[Duration]bool{most: false, most + 1: true, 100000 * Duration(day): true, 1: false} {
			c := valid()
			set(&c, d)
			if err := c.Validate(); (err != nil) != fault || err != nil && !strings.HasPrefix(err.Error(), key) {
				t.Errorf("%s%s: %v", key, d, err)
			}
		}
	}
}

// TestExactBounds: the least and the largest value that are allowed are, and the next are not.
func TestExactBounds(t *testing.T) {
	for _, x := range []struct {
		key    string
		set    func(c *Config, v int64)
		ok     []int64
		faults []int64
	}{
		{"window", func(c *Config, v int64) { c.Window = Duration(v) }, []int64{1, int64(maxWindow)}, []int64{0, int64(maxWindow) + 1}},
		{"clock_tolerance", func(c *Config, v int64) { c.ClockTolerance = Duration(v) }, []int64{1}, []int64{0}},
		{"store_timeout", func(c *Config, v int64) { c.StoreTimeout = Duration(v) }, []int64{1, int64(maxStoreTimeout)}, []int64{0, int64(maxStoreTimeout) + 1}},
		{"drain", func(c *Config, v int64) { c.Drain = Duration(v) }, []int64{0, int64(maxDrain)}, []int64{-1, int64(maxDrain) + 1}},
		{"next_hop_idle", func(c *Config, v int64) { c.NextHopIdle = Duration(v) }, []int64{1}, []int64{0}},
		{"report.every", func(c *Config, v int64) { c.Report.Every = Duration(v) }, []int64{int64(time.Second), int64(24 * time.Hour), int64(48 * time.Hour)},
			[]int64{int64(time.Second) - 1, int64(time.Second) / 2, int64(36 * time.Hour)}},
		{"report.max_bytes", func(c *Config, v int64) { c.Report.MaxBytes = Size(v) }, []int64{int64(minReport)}, []int64{int64(minReport) - 1, 0}},
		{"report.alarm_after", func(c *Config, v int64) { c.Report.AlarmAfter = Duration(v) }, []int64{1}, []int64{0}},
		{"report.keep", func(c *Config, v int64) { c.Report.Keep = Duration(v) }, []int64{1}, []int64{0}},
		{"record.max_bytes", func(c *Config, v int64) { c.Record.MaxBytes = Size(v) }, []int64{int64(minRecording)}, []int64{int64(minRecording) - 1, 0}},
		{"record.keep", func(c *Config, v int64) { c.Record.Keep = Duration(v) }, []int64{1}, []int64{0}},
		{"housekeeping.keep_windows", func(c *Config, v int64) { c.Housekeeping.KeepWindows = Duration(v) }, []int64{1}, []int64{0}},
		{"housekeeping.keep_notes", func(c *Config, v int64) { c.Housekeeping.KeepNotes = Duration(v) }, []int64{1}, []int64{0}},
		{"housekeeping.keep_log", func(c *Config, v int64) { c.Housekeeping.KeepLog = Duration(v) }, []int64{1}, []int64{0}},
	} {
		for i, v := range append(x.ok, x.faults...) {
			c := valid()
			x.set(&c, v)
			if err := c.Validate(); (err != nil) != (i >= len(x.ok)) || err != nil && !strings.HasPrefix(err.Error(), x.key+": ") {
				t.Errorf("%s: %d: %v; want a fault: %t", x.key, v, err, i >= len(x.ok))
			}
		}
	}
}
