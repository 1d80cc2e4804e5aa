package config

import (
	"strings"
	"testing"
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
