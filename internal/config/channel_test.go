package config

import (
	"slices"
	"strings"
	"testing"
)

// TestChannels: what would pass in clear, or does not fit together, is refused with what to
// do about it.
func TestChannels(t *testing.T) {
	for name, x := range map[string]struct {
		set  func(c *Config)
		want []string // how each fault begins, or part of it; nil if there is none
	}{
		"TLS with client certificates": {func(c *Config) {
			c.Southbound.Listen = "0.0.0.0:1"
			c.Southbound.TLS.Cert, c.Southbound.TLS.Key, c.Southbound.TLS.ClientCA = "a", "b", "c"
		}, nil},
		"plain elsewhere": {func(c *Config) { c.Northbound.Listen = "192.0.2.1:1" },
			[]string{`northbound.listen: "192.0.2.1:1" is not a loopback address, so messages would come without TLS: set tls.cert, tls.key and tls.client_ca, or northbound.insecure: true`}},
		"plain elsewhere, insecure":      {func(c *Config) { c.Northbound.Listen, c.Northbound.Insecure = "192.0.2.1:1", true }, nil},
		"the other direction's insecure": {func(c *Config) { c.Northbound.Listen, c.Southbound.Insecure = "192.0.2.1:1", true }, []string{"northbound.listen: "}},
		"TLS without client certificates": {func(c *Config) {
			c.Southbound.Listen = ":1"
			c.Southbound.TLS.Cert, c.Southbound.TLS.Key = "a", "b"
		}, []string{`southbound.tls.client_ca: is missing, so that everyone who reaches ":1" could send messages: set it, or southbound.insecure: true`}},
		"TLS without client certificates on loopback": {func(c *Config) { c.Southbound.TLS.Cert, c.Southbound.TLS.Key = "a", "b" }, nil},
		"cert alone": {func(c *Config) { c.Southbound.TLS.Cert = "a" },
			[]string{"southbound.tls.cert: needs tls.key too"}},
		"key alone": {func(c *Config) { c.Console.TLS.Key = "a" }, []string{"console.tls.key: needs tls.cert too"}},
		"authorities alone": {func(c *Config) { c.Northbound.TLS.ClientCA = "a" },
			[]string{"northbound.tls.client_ca: needs tls.cert and tls.key"}},
		"names without authorities": {func(c *Config) {
			c.Southbound.TLS.Cert, c.Southbound.TLS.Key, c.Southbound.TLS.Allow = "a", "b", []string{"CN=x"}
		}, []string{"southbound.tls.allow: needs tls.client_ca"}},
		"a name that is none": {func(c *Config) {
			c.Southbound.TLS.Cert, c.Southbound.TLS.Key, c.Southbound.TLS.ClientCA, c.Southbound.TLS.Allow = "a", "b", "c", []string{"CN=x", "supplier"}
		}, []string{`southbound.tls.allow: item 2: "supplier" is not a name: write CN=name, DNS:host, URI:uri or IP:address`}},
		"home": {func(c *Config) {
			c.Southbound.TLS.Cert, c.Southbound.TLS.Key, c.Southbound.NextHopTLS.CA = "~/a", "~/b", "~/c"
		}, []string{"southbound.tls.cert: ", "southbound.tls.key: ", "southbound.next_hop_tls.ca: "}},
		"http elsewhere": {func(c *Config) { c.Southbound.NextHop = "http://dsp.example" },
			[]string{"southbound.next_hop: is an http URL of another machine, so messages would go there without TLS: write https, or set southbound.insecure: true"}},
		"http elsewhere, insecure": {func(c *Config) { c.Southbound.NextHop, c.Southbound.Insecure = "http://dsp.example", true }, nil},
		"http to an address":       {func(c *Config) { c.Southbound.NextHop = "http://[2001:db8::1]:80" }, []string{"southbound.next_hop: is an http URL of another machine"}},
		"http here":                {func(c *Config) { c.Southbound.NextHop = "http://127.1.2.3/" }, nil},
		"http here, IPv6":          {func(c *Config) { c.Southbound.NextHop = "http://[::1]:80" }, nil},
		"http here, by name":       {func(c *Config) { c.Southbound.NextHop = "http://localhost" }, nil},
		"TLS for http": {func(c *Config) { c.Southbound.NextHop, c.Southbound.NextHopTLS.CA = "http://localhost", "a" },
			[]string{"southbound.next_hop: is an http URL, so next_hop_tls has no meaning: write https, or remove next_hop_tls"}},
		"client certificate": {func(c *Config) { c.Northbound.NextHopTLS.Cert, c.Northbound.NextHopTLS.Key = "a", "b" }, nil},
		"half a client certificate": {func(c *Config) { c.Northbound.NextHopTLS.Cert = "a" },
			[]string{"northbound.next_hop_tls.cert: needs next_hop_tls.key too"}},
	} {
		c := valid()
		x.set(&c)
		err := c.Validate()
		var have []string
		if err != nil {
			have = strings.Split(err.Error(), "\n")
		}
		if !slices.EqualFunc(have, x.want, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", name, have, x.want)
		}
	}
}

// TestInsecure: what is open is said as long as it may be.
func TestInsecure(t *testing.T) {
	closed, open := valid(), valid()
	open.Southbound.Insecure, open.Northbound.Insecure, open.Console.Insecure = true, true, true
	for _, x := range []struct {
		now, started *Config
		want         int
	}{{&closed, &closed, 0}, {&open, &open, 3}, {&closed, &open, 3}, {&open, &closed, 2}} {
		if have := x.now.Insecure(x.started); len(have) != x.want {
			t.Errorf("%q, want %d", have, x.want)
		}
	}
}

// TestNestedSections: a section in a section is read, and faults in it have their place.
func TestNestedSections(t *testing.T) {
	_, err := Parse("q.yaml", []byte("southbound:\n  next_hop: https://a.example\n  tls:\n    crt: x\n    cert: [a]\n  next_hop_tls: here\n  tls.key: x\nnorthbound: {next_hop: https://b.example}\n"), nil)
	want := `q.yaml:4: unknown key "southbound.tls.crt"; did you mean southbound.tls.cert?
q.yaml:5: southbound.tls.cert: must be text, but is a list
q.yaml:6: southbound.next_hop_tls: must be keys and values, but is text
q.yaml:7: unknown key "southbound.tls.key"; put it under tls:`
	if err == nil || err.Error() != want {
		t.Errorf("have\n%v\nwant\n%s", err, want)
	}
}
